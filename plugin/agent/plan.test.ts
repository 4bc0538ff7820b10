import { describe, expect, test } from 'vitest';
import type { IPPoolSpec } from '../../crds/types.ts';
import { formatAddress } from '../../ipam/address.ts';
import { CniError } from './errors.ts';
import { type Around, planAdd } from './plan.ts';
import { type PoolEntry, poolEntry } from './pools.ts';
import { parseRequest } from './request.ts';
import { refusal } from './testing/refusal.ts';
import { aPool, type PoolShape } from './testing/world.ts';

interface Case {
  readonly pools: readonly [string, Partial<IPPoolSpec>?, PoolShape?][];
  readonly ips?: readonly string[];
  readonly named?: readonly string[];
  readonly network?: string;
  readonly cniVersion?: string;
  readonly full?: readonly string[];
  readonly holders?: readonly string[];
}

const v6 = { subnet: 'fd00::/64' };
const yes = { default: true };

function plan({ pools, ips, named, network, cniVersion = '1.1.0', full = [], holders = [] }: Case): object {
  const request = parseRequest({
    command: 'ADD',
    env: { CNI_CONTAINERID: 'c1', CNI_IFNAME: 'net1' },
    config: JSON.stringify({
      cniVersion,
      name: 'net',
      ipam: { type: 'berth', ...(named && { pools: named }), ...(network && { network }) },
      args: { cni: { ips: ips ?? [] } },
    }),
  });
  const around: Around = {
    pools: new Map<string, PoolEntry>(
      pools.map(([name, spec, shape]) => [name, poolEntry(aPool(name, spec, shape))]),
    ),
    nodeLabels: {},
    namespace: { labels: {}, annotations: {} },
    pod: undefined,
    holders,
    isExhausted: (pool) => full.includes(pool),
    exhausted: (group) => new CniError(101, `full: ${group.pools.map((pool) => pool.name).join()}`),
  };
  const { wishes, groups, families, full: refusals } = planAdd(request, around);
  return {
    wishes: wishes.map(({ wish, pool }) => `${formatAddress(wish.address)} from ${pool.name}`),
    groups: groups.map((group) => group.pools.map((pool) => pool.name).join()),
    families,
    full: refusals.map((error) => error.message),
  };
}

describe('planAdd', () => {
  test('a family with no requested address is served dynamically', () => {
    expect(
      plan({
        pools: [
          ['a', yes],
          ['b', { ...yes, ...v6 }],
        ],
        ips: ['10.0.0.2'],
      }),
    ).toMatchObject({
      wishes: ['10.0.0.2 from a'],
      groups: ['b'],
    });
  });

  test('several requested addresses of one family are all given', () => {
    expect(plan({ pools: [['a', yes]], ips: ['10.0.0.3', '10.0.0.2'] })).toMatchObject({
      wishes: ['10.0.0.3 from a', '10.0.0.2 from a'],
      groups: [],
    });
  });

  test('where no source names pools, a requested address may come from any pool of the network', () => {
    const pools: Case['pools'] = [
      ['a', { subnet: '10.9.0.0/24' }],
      ['d', { ...yes, subnet: '10.0.0.0/24' }],
    ];
    expect(plan({ pools, ips: ['10.9.0.7'] })).toMatchObject({ wishes: ['10.9.0.7 from a'], groups: [] });
    expect(refusal(() => plan({ pools: [['a', { network: 'x' }]], ips: ['10.0.0.2'] })).code).toBe(103);
    expect(plan({ pools: [['a', { network: 'x' }]], network: 'x', ips: ['10.0.0.2'] })).toMatchObject({
      wishes: ['10.0.0.2 from a'],
    });
  });

  test('it may not come from elsewhere where a source names pools', () => {
    const pools: Case['pools'] = [['a', { subnet: '10.9.0.0/24' }], ['b']];
    expect(refusal(() => plan({ pools, named: ['b'], ips: ['10.9.0.7'] })).code).toBe(103);
  });

  test('without any default, requested addresses are enough', () => {
    expect(plan({ pools: [['a']], ips: ['10.0.0.2'] })).toMatchObject({
      wishes: ['10.0.0.2 from a'],
      groups: [],
    });
    expect(refusal(() => plan({ pools: [['a']] })).code).toBe(105);
  });

  test('a requested address in a named pool that is not Ready yet is 11, though another pool of the family is', () => {
    const pools: Case['pools'] = [['a', { subnet: '10.9.0.0/24' }, { ready: 'Unknown' }], ['b']];
    expect(refusal(() => plan({ pools, named: ['a', 'b'], ips: ['10.9.0.7'] })).code).toBe(11);
  });

  test('families are answered in the order of the pools; IPv4 first where none is named', () => {
    const pools: Case['pools'] = [
      ['a', yes],
      ['b', { ...yes, ...v6 }],
    ];
    expect(plan({ pools, named: ['b', 'a'], ips: ['10.0.0.2'] })).toMatchObject({ families: [6, 4] });
    expect(plan({ pools, ips: ['fd00::9', '10.0.0.2'] })).toMatchObject({ families: [4, 6] });
  });

  test('two addresses of one family below 0.3.0 are code 7', () => {
    const pools: Case['pools'] = [['a', yes]];
    expect(refusal(() => plan({ pools, ips: ['10.0.0.2', '10.0.0.3'], cniVersion: '0.2.0' })).code).toBe(7);
  });

  test('a family that was found full a moment ago fails the ADD', () => {
    const pools: Case['pools'] = [
      ['a', yes],
      ['a2', yes],
      ['b', { ...yes, ...v6 }],
    ];
    expect(plan({ pools, full: ['b'] })).toMatchObject({ full: ['full: b'] });
    expect(plan({ pools, full: ['a', 'a2'] })).toMatchObject({ full: ['full: a,a2'] });
    expect(plan({ pools, full: ['a'] })).toMatchObject({ groups: ['a,a2', 'b'], full: [] });
  });

  test('a full pool does not keep a pod from an address that waits for it', () => {
    const holders = ['Pod/shop/web'];
    const held = { holders: [{ holder: 'Pod/shop/web', address: '10.0.0.3' }] };
    expect(plan({ pools: [['a', yes, held]], full: ['a'], holders })).toMatchObject({ full: [] });
    expect(plan({ pools: [['a', yes, { holdersTruncated: true }]], full: ['a'], holders })).toMatchObject({
      full: [],
    });
    expect(plan({ pools: [['a', yes, held]], full: ['a'] })).toMatchObject({ full: ['full: a'] });
  });

  test('of several failures the first in the order of precedence is reported, with the reasons of all', () => {
    const pools: Case['pools'] = [
      ['a', yes],
      ['b', { ...yes, ...v6 }, { ready: 'Unknown' }],
    ];
    expect(refusal(() => plan({ pools, named: ['b', 'missing'], ips: ['10.9.9.9'] }))).toMatchObject({
      code: 105,
      details: expect.stringContaining('10.9.9.9 can not be given'),
    });
    expect(refusal(() => plan({ pools, named: ['a', 'b'], ips: ['10.9.9.9'] }))).toMatchObject({
      code: 103,
      details: expect.stringContaining('the operator has not declared it Ready yet'),
    });
    const twice = ['10.0.0.2/29', '10.0.0.2/24'];
    expect(refusal(() => plan({ pools, named: ['missing'], ips: twice })).code).toBe(105);
    expect(refusal(() => plan({ pools, named: ['missing'], ips: ['nonsense'] })).code).toBe(7);
  });
});
