import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { maxAddress, parseAddress } from './address.ts';
import { formatRange, parseRange } from './range.ts';
import { families } from './testing/arbitraries.ts';
import { refusal } from './testing/refusal.ts';

describe('parseRange', () => {
  test.each([
    ['10.20.1.7', '10.20.1.7', '10.20.1.7'],
    ['10.20.1.0/28', '10.20.1.0', '10.20.1.15'],
    ['10.20.1.0-10.20.9.255', '10.20.1.0', '10.20.9.255'],
    ['10.20.1.7-10.20.1.7', '10.20.1.7', '10.20.1.7'],
    ['fd00::', 'fd00::', 'fd00::'],
    ['fd00::/127', 'fd00::', 'fd00::1'],
    ['fd00::5-FD00::A', 'fd00::5', 'fd00::a'],
    ['0.0.0.0/0', '0.0.0.0', '255.255.255.255'],
  ])('%s is from %s to %s, both included', (text, first, last) => {
    const from = parseAddress(first);
    expect(parseRange(text)).toEqual({
      family: from.family,
      first: from.value,
      last: parseAddress(last).value,
    });
  });

  test.each([
    ['10.0.0.9-10.0.0.1', 'InvalidRange', 'ends before it starts; write 10.0.0.1-10.0.0.9'],
    ['fd00::a-fd00::5', 'InvalidRange', 'write fd00::5-fd00::a'],
    ['10.0.0.1-fd00::1', 'MixedFamilies', 'starts in IPv4 and ends in IPv6'],
    ['10.0.0.1-10.0.0.2-10.0.0.3', 'InvalidRange', 'more than one "-"'],
    ['10.0.0.1-', 'InvalidAddress', 'empty text'],
    ['-10.0.0.1', 'InvalidAddress', 'empty text'],
    ['10.0.0.1 - 10.0.0.2', 'InvalidAddress', '"1 "'],
    ['10.0.0.1-9', 'InvalidAddress', 'not an IP address'],
    ['10.0.0.1/24', 'InvalidCidr', 'write 10.0.0.0/24'],
    ['10.0.0.0/24-10.0.1.0/24', 'InvalidCidr', 'prefix length'],
    ['', 'InvalidAddress', 'empty text'],
  ])('refuses %j', (text, code, reason) => {
    const error = refusal(() => parseRange(text));
    expect(error.code).toBe(code);
    expect(error.message).toContain(reason);
  });
});

describe('formatRange', () => {
  test.each([
    ['10.0.0.7-10.0.0.7', '10.0.0.7'],
    ['10.0.0.0-10.0.0.255', '10.0.0.0/24'],
    ['10.0.0.1-10.0.0.4', '10.0.0.1-10.0.0.4'],
    ['10.0.0.2-10.0.0.5', '10.0.0.2-10.0.0.5'],
    ['0.0.0.0-255.255.255.255', '0.0.0.0/0'],
    ['fd00::-fd00::ffff:ffff:ffff:ffff', 'fd00::/64'],
  ])('writes %s in its shortest text, %s', (text, shortest) => {
    expect(formatRange(parseRange(text))).toBe(shortest);
  });

  test('is the inverse of parseRange', () => {
    // Bounded away from ::ffff:0:0/96, which has no text.
    const ranges = families.chain((family) => {
      const value = fc.bigInt({ min: family === 4 ? 0n : 1n << 64n, max: maxAddress(family) });
      return fc.tuple(value, value, fc.integer({ min: 0, max: 128 })).map(([a, b, bits]) => {
        // Half of them as aligned blocks.
        const block = 1n << BigInt(family === 4 ? bits % 17 : bits % 64);
        return bits % 2 === 0
          ? { family, first: a < b ? a : b, last: a < b ? b : a }
          : { family, first: (a / block) * block, last: (a / block) * block + block - 1n };
      });
    });
    fc.assert(
      fc.property(ranges, (range) => {
        expect(parseRange(formatRange(range))).toEqual(range);
      }),
    );
  });
});
