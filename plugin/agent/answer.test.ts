import { expect, test } from 'vitest';
import { parseAddress } from '../../ipam/address.ts';
import { compilePool, type Pool } from '../../ipam/pool.ts';
import { resultFromClaims, resultOf } from './answer.ts';

const route = { dst: '10.0.0.0/8', gw: '10.0.0.1' };
const a = compilePool('a', {
  subnet: '10.0.0.0/24',
  gateway: '10.0.0.1',
  routes: [route],
  dns: { nameservers: ['10.0.0.53'], domain: 'a.example' },
});
const b = compilePool('b', {
  subnet: '10.0.1.0/25',
  routes: [route, { dst: '10.9.0.0/16', gw: '10.0.1.1' }],
});
const v6 = compilePool('v6', {
  subnet: 'fd00::/64',
  dns: { nameservers: ['fd00::53'], domain: 'b.example' },
});
const pools = new Map<string, Pool>([a, b, v6].map((pool) => [pool.name, pool]));

test('addresses stay in their order, each with the prefix length and gateway of its pool', () => {
  const given = [
    { address: parseAddress('fd00::9'), pool: v6 },
    { address: parseAddress('10.0.1.9'), pool: b },
    { address: parseAddress('10.0.0.9'), pool: a },
  ];
  expect(resultOf(given).ips).toEqual([
    { family: 6, address: 'fd00::9/64' },
    { family: 4, address: '10.0.1.9/25' },
    { family: 4, address: '10.0.0.9/24', gateway: '10.0.0.1' },
  ]);
});

test('routes and DNS are those of the pools, each pool once, in the order of first use', () => {
  const given = ['10.0.0.8', '10.0.0.9'].map((text) => ({ address: parseAddress(text), pool: a }));
  const result = resultOf([
    ...given,
    { address: parseAddress('10.0.1.9'), pool: b },
    { address: parseAddress('fd00::9'), pool: v6 },
  ]);
  expect(result.routes).toEqual([route, { dst: '10.9.0.0/16', gw: '10.0.1.1' }]);
  expect(result.dns).toEqual({ nameservers: ['10.0.0.53', 'fd00::53'], domain: 'a.example' });
});

test('addresses that were adopted are answered IPv4 first, and not at all where a pool is gone', () => {
  const claims = [
    { address: 'fd00::9', pool: 'v6' },
    { address: '10.0.0.9', pool: 'a' },
  ];
  const poolOf = (name: string): Pool | undefined => pools.get(name);
  expect(resultFromClaims(claims, poolOf)?.ips.map((ip) => ip.address)).toEqual([
    '10.0.0.9/24',
    'fd00::9/64',
  ]);
  expect(resultFromClaims([...claims, { address: '10.7.0.1', pool: 'gone' }], poolOf)).toBeUndefined();
});
