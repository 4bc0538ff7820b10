import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatAddress } from './address.ts';
import { cidrRange, parseCidr } from './cidr.ts';
import type { PoolSpec } from './pool.ts';
import { compilePool } from './pool.ts';
import { enumerate, families, smallRanges } from './testing/arbitraries.ts';
import { refusal } from './testing/refusal.ts';
import { whyUnusable } from './usable.ts';

test.each<[string, PoolSpec, string]>([
  ['all of the subnet', { subnet: '10.0.0.0/24' }, '10.0.0.1-10.0.0.254'],
  ['the gateway is not given', { subnet: '10.0.0.0/24', gateway: '10.0.0.1' }, '10.0.0.2-10.0.0.254'],
  ['ranges limit', { subnet: '10.0.0.0/24', ranges: ['10.0.0.8/29', '10.0.0.20'] }, '10.0.0.8/29, 10.0.0.20'],
  [
    'ranges overlap',
    { subnet: '10.0.0.0/24', ranges: ['10.0.0.8/29', '10.0.0.10-10.0.0.17'] },
    '10.0.0.8-10.0.0.17',
  ],
  ['network in ranges', { subnet: '10.0.0.0/24', ranges: ['10.0.0.0/30'] }, '10.0.0.1-10.0.0.3'],
  ['broadcast in ranges', { subnet: '10.0.0.0/24', ranges: ['10.0.0.252/30'] }, '10.0.0.252-10.0.0.254'],
  [
    'excludes win',
    { subnet: '10.0.0.0/24', ranges: ['10.0.0.8/29'], excludes: ['10.0.0.9-10.0.0.14'] },
    '10.0.0.8, 10.0.0.15',
  ],
  [
    'excluded outside ranges',
    { subnet: '10.0.0.0/24', ranges: ['10.0.0.8'], excludes: ['10.0.0.9'] },
    '10.0.0.8',
  ],
  ['everything excluded', { subnet: '10.0.0.0/24', excludes: ['10.0.0.0/24'] }, '(empty)'],
  ['no ranges at all', { subnet: '10.0.0.0/24', ranges: [] }, '(empty)'],
  ['/31', { subnet: '10.0.0.0/31' }, '10.0.0.0/31'],
  ['/31 with its gateway', { subnet: '10.0.0.0/31', gateway: '10.0.0.0' }, '10.0.0.1'],
  ['/32', { subnet: '10.0.0.7/32' }, '10.0.0.7'],
  ['/32 with its gateway', { subnet: '10.0.0.7/32', gateway: '10.0.0.7' }, '(empty)'],
  [
    'IPv6',
    { subnet: 'fd00::/64', gateway: 'fd00::1', excludes: ['fd00::8000:0:0:0/65'] },
    'fd00::2-fd00::7fff:ffff:ffff:ffff',
  ],
  ['/127', { subnet: 'fd00::/127' }, 'fd00::/127'],
  ['/128', { subnet: 'fd00::7/128' }, 'fd00::7'],
])('dynamic: %s', (_name, spec, expected) => {
  const pool = compilePool('p', spec);
  expect(pool.dynamic.toString()).toBe(expected);
  expect(pool.capacity).toBe(pool.dynamic.size);
});

test.each<[string, PoolSpec, string]>([
  [
    'all of the subnet, whatever the ranges',
    { subnet: '10.0.0.0/29', ranges: ['10.0.0.3'] },
    '10.0.0.1-10.0.0.6',
  ],
  ['without ranges too', { subnet: '10.0.0.0/29', ranges: [] }, '10.0.0.1-10.0.0.6'],
  [
    'not the gateway, nor what is excluded',
    { subnet: '10.0.0.0/29', gateway: '10.0.0.1', excludes: ['10.0.0.3-10.0.0.4'] },
    '10.0.0.2, 10.0.0.5-10.0.0.6',
  ],
])('requestable: %s', (_name, spec, expected) => {
  expect(compilePool('p', spec).requestable.toString()).toBe(expected);
});

test('a /8 and an IPv6 /64 compile at once, with their capacity to the last address', () => {
  expect(compilePool('p', { subnet: '10.0.0.0/8' }).capacity).toBe((1n << 24n) - 2n);
  expect(compilePool('p', { subnet: 'fd00::/64' }).capacity).toBe((1n << 64n) - 1n);
  expect(compilePool('p', { subnet: '::/0' }).capacity).toBe((1n << 128n) - 1n);
});

test('what a spec leaves out has the default of the CRD', () => {
  const pool = compilePool('p', { subnet: '10.0.0.0/24' });
  expect(pool).toMatchObject({
    name: 'p',
    network: 'default',
    family: 4,
    gateway: undefined,
    staticOnly: false,
    cooldownMs: 30_000,
    allocation: 'Random',
    isDefault: false,
    disabled: false,
    staticRequests: 'Allow',
    routes: [],
    dns: undefined,
    nodeSelector: undefined,
    namespaceSelector: undefined,
    podSelector: undefined,
  });
  expect(pool.excluded.isEmpty).toBe(true);
});

test('what a spec has is kept', () => {
  const spec: PoolSpec = {
    network: 'storage',
    subnet: 'fd00::/64',
    ranges: [],
    excludes: ['fd00::5'],
    gateway: 'fd00::1',
    routes: [{ dst: '::/0', gw: 'fe80::1', mtu: 1500 }],
    dns: { nameservers: ['fd00::2'] },
    nodeSelector: { matchLabels: { a: '1' } },
    namespaceSelector: { matchLabels: { b: '2' } },
    podSelector: { matchLabels: { c: '3' } },
    default: true,
    disabled: true,
    staticRequests: 'Deny',
    cooldown: '24h',
    allocation: 'Ascending',
  };
  const before = structuredClone(spec);
  const pool = compilePool('p', spec);
  expect(spec).toEqual(before);
  expect(pool).toMatchObject({
    network: 'storage',
    family: 6,
    staticOnly: true,
    cooldownMs: 86_400_000,
    allocation: 'Ascending',
    isDefault: true,
    disabled: true,
    staticRequests: 'Deny',
    routes: spec.routes,
    dns: spec.dns,
    nodeSelector: spec.nodeSelector,
    namespaceSelector: spec.namespaceSelector,
    podSelector: spec.podSelector,
  });
  expect(pool.excluded.toString()).toBe('fd00::5');
});

describe('refuses', () => {
  test.each<[string, Partial<PoolSpec>]>([
    [
      'spec.subnet: "10.0.0.1/24" has bits set after the first 24; write 10.0.0.0/24',
      { subnet: '10.0.0.1/24' },
    ],
    ['spec.subnet: "nonsense" is not an IP address', { subnet: 'nonsense' }],
    ['spec.gateway: "010.0.0.1" has the leading zero', { gateway: '010.0.0.1' }],
    [
      'spec.gateway: "10.0.1.1" lies outside subnet 10.0.0.0/24; write addresses from 10.0.0.0 to 10.0.0.255',
      { gateway: '10.0.1.1' },
    ],
    ['spec.gateway: "::1" lies outside subnet', { gateway: '::1' }],
    [
      'spec.ranges[1]: "10.0.0.9-10.0.0.1" ends before it starts',
      { ranges: ['10.0.0.1', '10.0.0.9-10.0.0.1'] },
    ],
    ['spec.ranges[0]: "10.0.0.250-10.0.1.5" lies outside subnet', { ranges: ['10.0.0.250-10.0.1.5'] }],
    ['spec.ranges[0]: "10.0.0.9-10.0.1.0" lies outside subnet', { ranges: ['10.0.0.9-10.0.1.0'] }],
    ['spec.ranges[0]: "10.0.0.0/23" lies outside subnet', { ranges: ['10.0.0.0/23'] }],
    ['spec.ranges[0]: "fd00::/64" lies outside subnet', { ranges: ['fd00::/64'] }],
    ['spec.excludes[0]: "9.255.255.255" lies outside subnet', { excludes: ['9.255.255.255'] }],
    ['spec.excludes[0]: "10.0.0.1-::1" starts in IPv4 and ends in IPv6', { excludes: ['10.0.0.1-::1'] }],
    ['spec.routes[0].dst: "0.0.0.0" has no prefix length', { routes: [{ dst: '0.0.0.0' }] }],
    [
      'spec.routes[1].dst: "::/0" is IPv6, the subnet IPv4',
      { routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] },
    ],
    [
      'spec.routes[0].gw: "fe80::1" is IPv6, the subnet IPv4',
      { routes: [{ dst: '0.0.0.0/0', gw: 'fe80::1' }] },
    ],
    ['spec.cooldown: "30" is not a duration', { cooldown: '30' }],
    ['spec.cooldown: "24h1ms" is too long; write at most 24h', { cooldown: '24h1ms' }],
  ])('%s', (message, part) => {
    const error = refusal(() => compilePool('p', { subnet: '10.0.0.0/24', ...part }));
    expect(error.code).toBe('InvalidPool');
    expect(error.message).toContain(message);
  });
});

test('dynamic and requestable are what asking of each address alone gives', () => {
  const SIZE = 32;
  const specs = families.chain((family) =>
    fc.record({
      family: fc.constant(family),
      hostBits: fc.integer({ min: 0, max: 5 }),
      ranges: fc.option(smallRanges(family, SIZE)),
      excludes: smallRanges(family, SIZE),
      gateway: fc.option(fc.bigInt({ min: 0n, max: BigInt(SIZE) - 1n })),
    }),
  );
  fc.assert(
    fc.property(specs, ({ family, hostBits, ranges, excludes, gateway }) => {
      const base = parseCidr(family === 4 ? '10.0.0.0/27' : 'fd00::/123').base;
      const limit = 1n << BigInt(hostBits);
      const subnet = { family, base, prefixLength: (family === 4 ? 32 : 128) - hostBits };
      const text = (offset: bigint): string => formatAddress({ family, value: base + offset });
      const inside = (list: typeof excludes): typeof excludes => list.filter(({ last }) => last < limit);
      const write = (list: typeof excludes): string[] =>
        inside(list).map(({ first, last }) => `${text(first)}-${text(last)}`);
      const spec: PoolSpec = {
        subnet: `${text(0n)}/${subnet.prefixLength}`,
        excludes: write(excludes),
        ...(ranges === null ? {} : { ranges: write(ranges) }),
        ...(gateway === null || gateway >= limit ? {} : { gateway: text(gateway) }),
      };
      const pool = compilePool('p', spec);
      const out = enumerate(inside(excludes));
      const within = ranges === null ? undefined : enumerate(inside(ranges));
      let capacity = 0n;
      for (const value of enumerate([cidrRange(subnet)])) {
        const offset = value - base;
        const requestable =
          !out.has(offset) && whyUnusable(subnet, pool.gateway, { family, value }) === undefined;
        const dynamic = requestable && (within === undefined || within.has(offset));
        expect([value, pool.requestable.contains(value)]).toEqual([value, requestable]);
        expect([value, pool.dynamic.contains(value)]).toEqual([value, dynamic]);
        if (dynamic) capacity++;
      }
      expect(pool.capacity).toBe(capacity);
    }),
    { numRuns: 300 },
  );
});
