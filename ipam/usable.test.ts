import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseAddress } from './address.ts';
import { cidrRange, parseCidr } from './cidr.ts';
import { enumerate, families } from './testing/arbitraries.ts';
import { usableSet, whyUnusable } from './usable.ts';

test.each([
  ['10.0.0.0/24', '10.0.0.1-10.0.0.254', 254n],
  ['10.0.0.0/30', '10.0.0.1-10.0.0.2', 2n],
  ['10.0.0.0/31', '10.0.0.0/31', 2n],
  ['10.0.0.7/32', '10.0.0.7', 1n],
  ['10.0.0.0/8', '10.0.0.1-10.255.255.254', 16_777_214n],
  ['fd00::/64', 'fd00::1-fd00::ffff:ffff:ffff:ffff', (1n << 64n) - 1n],
  ['fd00::/126', 'fd00::1-fd00::3', 3n],
  ['fd00::/127', 'fd00::/127', 2n],
  ['fd00::/128', 'fd00::', 1n],
])('of %s usable are %s: %s', (subnet, expected, size) => {
  const usable = usableSet(parseCidr(subnet));
  expect(usable.toString()).toBe(expected);
  expect(usable.size).toBe(size);
});

describe('whyUnusable', () => {
  test.each([
    ['10.0.0.0/24', '10.0.0.1', '10.0.0.0', 'network'],
    ['10.0.0.0/24', '10.0.0.1', '10.0.0.255', 'broadcast'],
    ['10.0.0.0/24', '10.0.0.1', '10.0.0.1', 'gateway'],
    ['10.0.0.0/24', '10.0.0.1', '10.0.0.2', undefined],
    ['10.0.0.0/24', '10.0.0.1', '10.0.1.0', undefined],
    ['10.0.0.0/24', '10.0.0.0', '10.0.0.0', 'network'],
    ['10.0.0.0/31', undefined, '10.0.0.0', undefined],
    ['10.0.0.0/31', '10.0.0.1', '10.0.0.1', 'gateway'],
    ['10.0.0.7/32', undefined, '10.0.0.7', undefined],
    ['fd00::/64', undefined, 'fd00::', 'anycast'],
    ['fd00::/64', undefined, 'fd00::ffff:ffff:ffff:ffff', undefined],
    ['fd00::/127', undefined, 'fd00::', undefined],
    ['fd00::/128', 'fd00::', 'fd00::', 'gateway'],
    ['::/64', undefined, '0.0.0.0', undefined],
  ])('in %s with gateway %s, %s: %s', (subnet, gateway, address, role) => {
    const parsed = gateway === undefined ? undefined : parseAddress(gateway);
    expect(whyUnusable(parseCidr(subnet), parsed, parseAddress(address))).toBe(role);
  });

  test('an address of the subnet is usable exactly if it has no role', () => {
    fc.assert(
      fc.property(families, fc.integer({ min: 0, max: 6 }), (family, hostBits) => {
        const subnet = { family, base: 1n << 20n, prefixLength: (family === 4 ? 32 : 128) - hostBits };
        const usable = usableSet(subnet);
        for (const value of enumerate([cidrRange(subnet)])) {
          expect(usable.contains(value)).toBe(
            whyUnusable(subnet, undefined, { family, value }) === undefined,
          );
        }
      }),
    );
  });
});
