import { describe, expect, test } from 'vitest';
import { compilePool } from '../../ipam/pool.ts';
import { comparePrevResult } from './prevresult.ts';
import { refusal } from './testing/refusal.ts';

const claims = [
  { network: 'lan', address: '10.0.0.2', pool: 'v4' },
  { network: 'lan', address: 'fd00::2', pool: 'v6' },
];
const entry = (name: string, network: string, subnet: string): Parameters<typeof comparePrevResult>[2] => [
  { name, network, pool: compilePool(name, { network, subnet }) },
];
const pools = [
  ...entry('v4', 'lan', '10.0.0.0/24'),
  ...entry('v6', 'lan', 'fd00::/64'),
  ...entry('beside', 'lan', '10.0.1.0/24'),
  ...entry('elsewhere', 'other', '10.0.2.0/24'),
  { name: 'broken', network: 'lan', pool: undefined },
];
const prevResult = (...addresses: unknown[]): Record<string, unknown> => ({
  cniVersion: '1.1.0',
  ips: addresses.map((address) => ({ address })),
});
const compare = (value: Record<string, unknown> | null | undefined): void =>
  comparePrevResult(value, claims, pools);

describe('prevResult of a CHECK', () => {
  test.each([undefined, null])('%j says nothing', (value) => expect(() => compare(value)).not.toThrow());

  test.each([
    [['10.0.0.2/24', 'fd00::2/64']],
    [['10.0.0.2', 'FD00:0::2/64']],
    [['fd00::2/64', '10.0.0.2/24', '10.0.2.9/24', '192.168.0.1/24', 'nonsense', 7, null]],
  ])('%j has every address, and no other of its network', (addresses) => {
    expect(() => compare(prevResult(...addresses))).not.toThrow();
  });

  test.each([
    [
      ['10.0.0.2/24'],
      'address fd00::2 of pool v6 is reserved for the attachment, but prevResult does not have it',
    ],
    [[], 'address 10.0.0.2 of pool v4 is reserved for the attachment, but prevResult does not have it'],
    [
      ['10.0.0.2/24', 'fd00::2/64', '10.0.0.3/24'],
      'prevResult has address 10.0.0.3 of pool v4, which is not reserved for the attachment',
    ],
    [
      ['10.0.1.7/24', '10.0.0.2/24', 'fd00::2/64'],
      'prevResult has address 10.0.1.7 of pool beside, which is not reserved for the attachment',
    ],
  ])('%j is refused', (addresses, message) => {
    expect(refusal(() => compare(prevResult(...addresses)))).toMatchObject({ code: 106, message });
  });

  test.each([{}, { ips: null }, { ips: 'x' }, { ips: [null, 'x', {}] }])('%j has no address', (value) => {
    expect(refusal(() => compare(value)).code).toBe(106);
  });
});
