import { expect, it } from 'vitest';
import { keyOf, type Pod, splitKey } from './core.ts';
import { Store } from './store.ts';

const pod = (name: string, nodeName: string | undefined, uid = name): Pod => ({
  metadata: { namespace: 'shop', name, uid },
  spec: nodeName === undefined ? {} : { nodeName },
});
const names = (pods: readonly Pod[]): (string | undefined)[] => pods.map(({ metadata }) => metadata.name);

function setUp(): Store<Pod> {
  return new Store<Pod>({
    node: ({ spec }) => (spec?.nodeName === undefined ? [] : [spec.nodeName]),
    letters: ({ metadata }) => (metadata.name ?? '').split(''),
  });
}

it('objects are found by namespace/name, cluster-wide ones by name', () => {
  const store = setUp();
  const web = pod('web', 'n1');
  store.set(web);
  expect(store.get('shop/web')).toBe(web);
  expect(store.get('web')).toBeUndefined();
  expect(keyOf({ metadata: { name: 'node-1' } })).toBe('node-1');
  expect(splitKey('shop/web')).toEqual({ namespace: 'shop', name: 'web' });
  expect(splitKey('node-1')).toEqual({ name: 'node-1' });
});

it('set and delete answer with what was there', () => {
  const store = setUp();
  const [first, second] = [pod('web', 'n1', 'u1'), pod('web', 'n1', 'u2')];
  expect(store.set(first)).toBeUndefined();
  expect(store.set(second)).toBe(first);
  expect(store.delete('shop/web')).toBe(second);
  expect(store.delete('shop/web')).toBeUndefined();
  expect(store.size).toBe(0);
});

it('indexes are exact after every change', () => {
  const store = setUp();
  store.set(pod('a', 'n1'));
  store.set(pod('b', 'n1'));
  expect(names(store.byIndex('node', 'n1'))).toEqual(['a', 'b']);
  store.set(pod('a', 'n2'));
  expect(names(store.byIndex('node', 'n1'))).toEqual(['b']);
  expect(names(store.byIndex('node', 'n2'))).toEqual(['a']);
  store.set(pod('a', undefined));
  expect(store.byIndex('node', 'n2')).toEqual([]);
  store.delete('shop/b');
  expect(store.indexValues('node')).toEqual([]);
});

it('an object may be under several values', () => {
  const store = setUp();
  store.set(pod('ab', undefined));
  store.set(pod('b', undefined));
  expect(names(store.byIndex('letters', 'b'))).toEqual(['ab', 'b']);
  expect(names(store.byIndex('letters', 'a'))).toEqual(['ab']);
});

it('an index that does not exist is refused by name', () => {
  expect(() => setUp().byIndex('zone', 'a')).toThrow('no index "zone": the store has node, letters');
});
