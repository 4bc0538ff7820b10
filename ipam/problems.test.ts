import { expect, test } from 'vitest';
import type { PoolSpec } from './pool.ts';
import { compilePool } from './pool.ts';
import { poolProblems } from './problems.ts';

test.each<[string, PoolSpec]>([
  [
    'an ordinary pool',
    { subnet: '10.20.0.0/16', gateway: '10.20.0.1', routes: [{ dst: '0.0.0.0/0', gw: '10.20.0.1' }] },
  ],
  ['static requests only', { subnet: '10.20.0.0/16', ranges: [] }],
  ['a route without a gateway', { subnet: '10.20.0.0/16', routes: [{ dst: '10.30.0.0/16', scope: 253 }] }],
  [
    'an IPv6 router by its link-local address',
    { subnet: 'fd00::/64', routes: [{ dst: '::/0', gw: 'fe80::1' }] },
  ],
  ['IPv4 link-local', { subnet: '169.254.0.0/16' }],
  ['the first gateway of a /31', { subnet: '10.0.0.0/31', gateway: '10.0.0.0' }],
  [
    'the last address of an IPv6 subnet as gateway',
    { subnet: 'fd00::/64', gateway: 'fd00::ffff:ffff:ffff:ffff' },
  ],
])('nothing is wrong with %s', (_name, spec) => {
  expect(poolProblems(compilePool('p', spec))).toEqual([]);
});

test.each<[PoolSpec, string, string]>([
  [{ subnet: '127.0.0.0/24' }, 'SubnetNotUnicast', '127.0.0.0/8 (loopback)'],
  [{ subnet: '224.0.1.0/24' }, 'SubnetNotUnicast', '224.0.0.0/4 (multicast)'],
  [{ subnet: '126.0.0.0/7' }, 'SubnetNotUnicast', '127.0.0.0/8 (loopback)'],
  [{ subnet: '0.1.0.0/16' }, 'SubnetNotUnicast', '0.0.0.0/8 ("this network")'],
  [{ subnet: '255.255.255.0/24' }, 'SubnetNotUnicast', '255.255.255.255/32 (limited broadcast)'],
  [{ subnet: '::1/128' }, 'SubnetNotUnicast', '::1/128 (loopback)'],
  [{ subnet: 'ff02::/64' }, 'SubnetNotUnicast', 'ff00::/8 (multicast)'],
  [
    { subnet: '10.0.0.0/24', gateway: '10.0.0.0' },
    'GatewayUnusable',
    '10.0.0.0 is the network address of 10.0.0.0/24',
  ],
  [
    { subnet: '10.0.0.0/24', gateway: '10.0.0.255' },
    'GatewayUnusable',
    '10.0.0.255 is the broadcast address',
  ],
  [
    { subnet: 'fd00::/64', gateway: 'fd00::' },
    'GatewayUnusable',
    'fd00:: is the subnet-router anycast address',
  ],
  [
    {
      subnet: '10.0.0.0/24',
      routes: [
        { dst: '10.9.0.0/16', gw: '10.0.0.9' },
        { dst: '0.0.0.0/0', gw: '10.0.1.1' },
      ],
    },
    'RouteGatewayOffLink',
    'routes[1] to 0.0.0.0/0: gw 10.0.1.1 is not on-link in 10.0.0.0/24',
  ],
  [{ subnet: 'fd00::/64', routes: [{ dst: '::/0', gw: 'fd01::1' }] }, 'RouteGatewayOffLink', 'gw fd01::1'],
  [
    { subnet: '10.0.0.0/24', excludes: ['10.0.0.0/24'] },
    'NoUsableAddresses',
    'extend ranges, shorten excludes',
  ],
  [
    { subnet: '10.0.0.0/24', ranges: ['10.0.0.0', '10.0.0.255'] },
    'NoUsableAddresses',
    'no usable address is left',
  ],
  [{ subnet: '10.0.0.7/32', gateway: '10.0.0.7' }, 'NoUsableAddresses', 'no usable address is left'],
  [
    { subnet: '10.0.0.0/24', ranges: [], excludes: ['10.0.0.0/24'] },
    'NoUsableAddresses',
    'left to be requested',
  ],
])('%o: %s', (spec, reason, message) => {
  const problems = poolProblems(compilePool('p', spec));
  expect(problems.map((problem) => problem.reason)).toEqual([reason]);
  expect(problems[0]?.message).toContain(message);
});

test('every problem is reported, the worst first', () => {
  const pool = compilePool('p', {
    subnet: '127.0.0.0/30',
    gateway: '127.0.0.3',
    ranges: ['127.0.0.3'],
    routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }],
  });
  expect(poolProblems(pool).map(({ reason }) => reason)).toEqual([
    'SubnetNotUnicast',
    'GatewayUnusable',
    'RouteGatewayOffLink',
    'NoUsableAddresses',
  ]);
});
