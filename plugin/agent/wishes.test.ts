import { describe, expect, test } from 'vitest';
import type { IPPoolSpec } from '../../crds/types.ts';
import { formatAddress } from '../../ipam/address.ts';
import type { PodFacts } from './owners.ts';
import { poolEntry } from './pools.ts';
import { type ParsedRequest, parseRequest } from './request.ts';
import { usablePools } from './select.ts';
import { refusal } from './testing/refusal.ts';
import { aPool, type PoolShape } from './testing/world.ts';
import { annotationFor, placeWishes, poolSources, type Wish, wishesOf } from './wishes.ts';

function pod(annotations: Record<string, string> = {}): PodFacts {
  return {
    namespace: 'shop',
    name: 'web',
    uid: 'u',
    nodeName: 'node-1',
    labels: {},
    annotations,
    ownerReferences: [],
    isTerminal: false,
  };
}

function request(config: object = {}, args = ''): ParsedRequest {
  return parseRequest({
    command: 'ADD',
    env: { CNI_CONTAINERID: 'c1', CNI_IFNAME: 'net1', CNI_ARGS: args },
    config: JSON.stringify({ cniVersion: '1.1.0', name: 'storage', ipam: { type: 'berth' }, ...config }),
  });
}

describe('annotationFor', () => {
  const read = (value: string | undefined): string[] | undefined =>
    annotationFor('annotation x', value, 'net1', 'storage');

  test.each<[string, string | undefined, string[] | undefined]>([
    ['absent', undefined, undefined],
    ['empty', ' ', undefined],
    ['a comma list is for every interface', 'a, b,,', ['a', 'b']],
    ['JSON by ifname', '{"net1": ["a", "b"], "eth0": ["c"]}', ['a', 'b']],
    ['JSON by cniNetwork', '{"storage": "a"}', ['a']],
    ['the ifname comes before the cniNetwork', '{"storage": "a", "net1": "b"}', ['b']],
    ['a value may be one string, a list too', '{"net1": "a,b"}', ['a', 'b']],
    ['an interface that is not mentioned', '{"eth0": "a"}', undefined],
    ['an empty value says nothing', '{"net1": []}', undefined],
    ['an empty value of the ifname leaves the cniNetwork', '{"net1": "", "storage": "a"}', ['a']],
    ['an empty object', '{}', undefined],
    ['a key that JavaScript has ideas about', '{"__proto__": "a", "net1": "b"}', ['b']],
  ])('%s: %j', (_rule, value, list) => {
    expect(read(value)).toEqual(list);
  });

  test.each(['{', '{"net1": 3}', '{"net1": [3]}', '{"eth0": {"a": "b"}}', '["a"]', '"a"'])(
    '%s is malformed: code 7 that names the annotation and shows both forms',
    (value) => {
      const error = refusal(() => read(value));
      expect(error).toMatchObject({ code: 7, message: expect.stringContaining('annotation x is malformed') });
      expect(error.details).toContain('{"net1": ["a", "b"]}');
    },
  );
});

describe('poolSources', () => {
  test('are args.cni.pools, the pod, the namespace, ipam.pools, in this order', () => {
    const config = { args: { cni: { pools: 'a,b' } }, ipam: { type: 'berth', pools: ['e'] } };
    const annotations = { 'ipam.berth.dev/pools': 'd' };
    const found = poolSources(request(config), pod({ 'ipam.berth.dev/pools': '{"net1": "c"}' }), annotations);
    expect(found.map((source) => source.pools)).toEqual([['a', 'b'], ['c'], ['d'], ['e']]);
    expect(found.map((source) => source.byInterface)).toEqual([
      undefined,
      undefined,
      '{"net1":["d"]}',
      undefined,
    ]);
    expect(found[1]?.from).toBe('annotation ipam.berth.dev/pools of pod shop/web');
    expect(found[2]?.from).toBe('annotation ipam.berth.dev/pools of namespace shop');
  });

  test('an owner that is no pod has only those of the configuration', () => {
    const found = poolSources(request(), undefined, undefined);
    expect(found.map((source) => source.pools)).toEqual([undefined, undefined, undefined, undefined]);
  });
});

describe('wishesOf', () => {
  const texts = (wishes: readonly Wish[]): string[] => wishes.map((w) => formatAddress(w.address));

  test('come from annotation, runtimeConfig, args.cni and CNI_ARGS, in this order, the same one once', () => {
    const config = {
      runtimeConfig: { ips: ['10.0.0.3/29', 'FD00::0003'] },
      args: { cni: { ips: ['10.0.0.4', 'fd00::3'] } },
    };
    const wishes = wishesOf(
      request(config, 'IP=10.0.0.3,10.0.0.5'),
      pod({ 'ipam.berth.dev/ips': '10.0.0.2' }),
    );
    expect(texts(wishes)).toEqual(['10.0.0.2', '10.0.0.3', 'fd00::3', '10.0.0.4', '10.0.0.5']);
    expect(wishes.map((w) => w.prefixLength)).toEqual([undefined, 29, undefined, undefined, undefined]);
  });

  test('a prefix length counts also when only a later source gives it', () => {
    const config = { args: { cni: { ips: ['10.0.0.2/29'] } } };
    expect(wishesOf(request(config), pod({ 'ipam.berth.dev/ips': '10.0.0.2' }))).toMatchObject([
      { prefixLength: 29 },
    ]);
  });

  test('two prefix lengths for one address are 103', () => {
    const config = { runtimeConfig: { ips: ['10.0.0.2/24'] }, args: { cni: { ips: ['10.0.0.2/25'] } } };
    const error = refusal(() => wishesOf(request(config), pod()));
    expect(error).toMatchObject({ code: 103, message: expect.stringContaining('/24 by runtimeConfig.ips') });
  });

  test.each([
    '10.0.0',
    '10.0.0.01',
    '10.0.0.1/',
    '10.0.0.1/33',
    '10.0.0.1/24/2',
    'fe80::1%eth0',
    '::ffff:10.0.0.1',
  ])('%s is no address: code 7 that says where it came from', (text) => {
    const error = refusal(() => wishesOf(request(), pod({ 'ipam.berth.dev/ips': text })));
    expect(error).toMatchObject({
      code: 7,
      message: expect.stringContaining('annotation ipam.berth.dev/ips of pod shop/web'),
    });
  });
});

describe('placeWishes', () => {
  function place(wish: string, ...pools: [string, Partial<IPPoolSpec>?, PoolShape?][]): string | undefined {
    const wishes = wishesOf(request({ args: { cni: { ips: [wish] } } }), undefined);
    const entries = pools.map(([name, spec, shape]) => poolEntry(aPool(name, spec, shape)));
    const subject = { node: { labels: {} }, namespace: { labels: {} }, pod: { labels: {} } };
    return placeWishes(wishes, usablePools(entries, subject, undefined))[0]?.pool.name;
  }
  const pool: Partial<IPPoolSpec> = {
    subnet: '10.0.0.0/24',
    ranges: ['10.0.0.16/28'],
    gateway: '10.0.0.1',
    excludes: ['10.0.0.9'],
  };

  test('an address inside the subnet can be had also outside the ranges', () => {
    expect(place('10.0.0.200', ['a', pool])).toBe('a');
    expect(place('10.0.0.20/24', ['a', pool])).toBe('a');
  });

  test('the first pool that gives it is taken', () => {
    expect(place('10.0.0.20', ['a', { ...pool, staticRequests: 'Deny' }], ['b', pool], ['c', pool])).toBe(
      'b',
    );
  });

  test.each([
    ['10.1.0.1', pool, 'outside its subnet'],
    ['fd00::1', pool, 'outside its subnet'],
    ['10.0.0.9', pool, 'excluded'],
    ['10.0.0.1', pool, 'the gateway'],
    ['10.0.0.0', pool, 'network, broadcast or anycast'],
    ['10.0.0.255', pool, 'network, broadcast or anycast'],
    ['fd00::', { subnet: 'fd00::/64' }, 'network, broadcast or anycast'],
    ['10.0.0.20/16', pool, "the prefix length is /16, the subnet's is /24"],
    ['10.0.0.20', { ...pool, staticRequests: 'Deny' as const }, 'staticRequests: Deny'],
  ])('%s from %j is 103: %s', (wish, spec, reason) => {
    const error = refusal(() => place(wish, ['far', { subnet: '192.168.0.0/24' }], ['a', spec]));
    expect(error.code).toBe(103);
    expect(error.message).toContain(`requested address ${wish.split('/')[0]}`);
    expect(error.details).toContain('asked for by args.cni.ips');
    expect(error.details).toContain(`pool a: `);
    expect(error.details).toContain(reason);
  });

  test('an address of a pool that is not Ready yet is 11, one that it would refuse is 103', () => {
    const shape: PoolShape = { ready: 'Unknown' };
    expect(refusal(() => place('10.0.0.20', ['a', pool, shape])).code).toBe(11);
    expect(refusal(() => place('10.0.0.9', ['a', pool, shape])).code).toBe(103);
  });

  test('no pool at all is 103', () => {
    expect(refusal(() => place('10.0.0.20')).message).toContain('no pool may serve this pod');
  });
});
