import { describe, expect, test } from 'vitest';
import type { IPPoolSpec } from '../../crds/types.ts';
import type { Subject } from '../../ipam/admit.ts';
import { combine } from './errors.ts';
import { type PoolEntry, poolEntry } from './pools.ts';
import { type PoolSource, selectPools } from './select.ts';
import { refusal } from './testing/refusal.ts';
import { aPool, type PoolShape } from './testing/world.ts';

const subject: Subject = {
  node: { labels: { rack: 'r1' } },
  namespace: { labels: { team: 'shop' } },
  pod: { labels: { app: 'web' } },
};

const v6 = { subnet: 'fd00::/64' };

function table(...entries: [string, Partial<IPPoolSpec>?, PoolShape?][]): Map<string, PoolEntry> {
  return new Map(entries.map(([name, spec, shape]) => [name, poolEntry(aPool(name, spec, shape))]));
}

function sources(...pools: (readonly string[] | undefined)[]): PoolSource[] {
  return pools.map((names, i) => ({ from: `source ${i}`, pools: names }));
}

/** Names by family, in order: `4:a,b 6:c`. @throws CniError where a family cannot be served */
function select(
  from: readonly PoolSource[],
  pools: ReadonlyMap<string, PoolEntry>,
  network?: string,
): string {
  const { groups, failures } = selectPools(from, pools, subject, network);
  const [first, ...rest] = failures.map(({ error }) => error);
  if (first !== undefined) throw combine([first, ...rest]);
  return groups.map((group) => `${group.family}:${group.pools.map((pool) => pool.name).join(',')}`).join(' ');
}

describe('which source', () => {
  const pools = table(['a'], ['b'], ['d', { default: true }]);

  test.each([
    ['the first source that names any wins', [['a'], ['b']], '4:a'],
    ['a source that names none falls through', [undefined, [], ['b']], '4:b'],
    ['no source: the defaults', [undefined, undefined], '4:d'],
  ])('%s', (_rule, names, selected) => {
    expect(select(sources(...names), pools)).toBe(selected);
  });
});

describe('named pools', () => {
  test('are grouped by family, families and pools in the order given, doubles once', () => {
    const pools = table(['a', v6], ['b'], ['c', v6], ['d']);
    expect(select(sources(['c', 'd', 'a', 'b', 'd']), pools)).toBe('6:c,a 4:d,b');
  });

  test('one that does not exist fails the ADD with 105, whatever else there is', () => {
    const error = refusal(() => select(sources(['a', 'no', 'none']), table(['a'])));
    expect(error).toMatchObject({ code: 105, message: 'pool no, none does not exist' });
    expect(error.details).toContain('named by source 0');
  });

  test.each<[string, Partial<IPPoolSpec>, PoolShape, string]>([
    ['its node selector', { nodeSelector: { matchLabels: { rack: 'r2' } } }, {}, 'rack'],
    ['its namespace selector', { namespaceSelector: { matchLabels: { team: 'x' } } }, {}, 'team'],
    ['its pod selector', { podSelector: { matchLabels: { app: 'x' } } }, {}, 'app'],
    ['another network', { network: 'other' }, {}, 'network "other"'],
    ['disabled', { disabled: true }, {}, 'disabled'],
    ['being deleted', {}, { deleting: true }, 'being deleted'],
    ['Ready False', {}, { ready: 'False' }, 'the test says so'],
    ['an invalid specification', { subnet: '10.0.0.1/24' }, {}, 'not valid'],
  ])('%s: skipped, and 104 with the reason when nothing else is left', (_why, spec, shape, reason) => {
    const pools = table(['bad', spec, shape], ['good']);
    expect(select(sources(['bad', 'good']), pools, 'default')).toBe('4:good');
    const error = refusal(() => select(sources(['bad']), pools, 'default'));
    expect(error.code).toBe(104);
    expect(error.message).toContain('pool bad may not be used by this pod');
    expect(error.details).toContain(`pool bad: `);
    expect(error.details).toContain(reason);
  });

  test.each<[string, PoolShape]>([
    ['Ready Unknown', { ready: 'Unknown' }],
    ['no finalizer', { hasFinalizer: false }],
  ])('%s: code 11', (_why, shape) => {
    const pools = table(['new', {}, shape], ['good']);
    expect(refusal(() => select(sources(['new']), pools)).code).toBe(11);
    expect(select(sources(['new', 'good']), pools)).toBe('4:good');
  });

  test('Ready absent: code 11', () => {
    const pool = poolEntry({ ...aPool('new'), status: {} });
    expect(refusal(() => select(sources(['new']), new Map([['new', pool]]))).code).toBe(11);
  });

  test('a family with one pool that may become Ready is worth another try: 11, not 104', () => {
    const pools = table(['off', { disabled: true }], ['new', {}, { ready: 'Unknown' }]);
    const error = refusal(() => select(sources(['off', 'new']), pools));
    expect(error.code).toBe(11);
    expect(error.message).toContain('Ready');
    expect(error.details).toContain('pool off: ');
  });

  test('every family present must be served: 104 though the other family could', () => {
    const pools = table(['a'], ['b', { ...v6, disabled: true }]);
    const error = refusal(() => select(sources(['a', 'b']), pools));
    expect(error).toMatchObject({ code: 104, message: expect.stringContaining('IPv6: pool b') });
  });

  test('104 names every pool of the family with its reason in the message', () => {
    const pools = table(['off', { disabled: true }], ['far', { network: 'far' }]);
    const { message } = refusal(() => select(sources(['off', 'far']), pools, 'default'));
    expect(message).toMatch(
      /^IPv4: pool off, far may not be used by this pod: pool off: .*disabled.*; pool far: .*network/,
    );
  });

  test('a name that a user wrote is quoted unless it is a plain word', () => {
    const { message, details } = refusal(() => select(sources(['a"b\nc', 'x.y']), table()));
    expect(message).toBe('pool "a\\"b\\nc", x.y does not exist');
    expect(details).not.toContain('\nc');
  });

  test('105 comes before 104, with both in the details', () => {
    const error = refusal(() => select(sources(['off', 'no']), table(['off', { disabled: true }])));
    expect(error.code).toBe(105);
    expect(error.details).toContain('pool off');
  });

  test('an annotation for all interfaces that fits this one not shows how to write it for one', () => {
    const source = { from: 'annotation', pools: ['no'], byInterface: '{"net1":["no"]}' };
    for (const pools of [table(), table(['no', { disabled: true }])]) {
      expect(refusal(() => select([source], pools)).details).toContain('{"net1":["no"]}');
    }
  });

  test('without a network in the configuration any network will do', () => {
    expect(select(sources(['a']), table(['a', { network: 'x' }]))).toBe('4:a');
  });
});

describe('default pools', () => {
  const isDefault = { default: true };

  test('are those of the network "default", in the order of their names, IPv4 first', () => {
    const pools = table(
      ['a6', { ...isDefault, ...v6 }],
      ['c', isDefault],
      ['b', isDefault],
      ['x', { ...isDefault, network: 'other' }],
      ['no'],
    );
    expect(select([], pools)).toBe('4:b,c 6:a6');
    expect(select([], pools, 'other')).toBe('4:x');
  });

  test('that do not admit the pod are left out before grouping', () => {
    const pools = table(['a', isDefault], ['b', { ...isDefault, ...v6, disabled: true }]);
    expect(select([], pools)).toBe('4:a');
  });

  test('that are not Ready yet: code 11', () => {
    const pools = table(['a', isDefault], ['b', { ...isDefault, ...v6 }, { ready: 'Unknown' }]);
    expect(refusal(() => select([], pools)).code).toBe(11);
  });

  test('none at all is 105 and says what to do', () => {
    const error = refusal(() => select([], table(['a'])));
    expect(error.code).toBe(105);
    expect(error.details).toContain('no pool of network "default" has spec.default: true');
    expect(error.details).toContain('ipam.pools');
  });

  test('none that admits the pod is 105 with the reasons', () => {
    const error = refusal(() => select([], table(['a', { ...isDefault, disabled: true }])));
    expect(error.code).toBe(105);
    expect(error.details).toContain('pool a: pool a is disabled');
  });
});
