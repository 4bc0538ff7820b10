import fc from 'fast-check';
import { Address4, Address6 } from 'ip-address';
import { describe, expect, test } from 'vitest';
import { formatAddress, parseAddress } from './address.ts';
import { cidrContains, cidrRange, formatCidr, parseCidr, parseInterfaceAddress } from './cidr.ts';
import { addresses, cidrs } from './testing/arbitraries.ts';
import { refusal } from './testing/refusal.ts';

describe('parseCidr', () => {
  test.each([
    ['0.0.0.0/0', 4, 0],
    ['10.20.0.0/16', 4, 16],
    ['10.20.1.7/32', 4, 32],
    ['::/0', 6, 0],
    ['fd00::/64', 6, 64],
    ['fd00::1/128', 6, 128],
  ] as const)('accepts %s and writes it the same', (text, family, prefixLength) => {
    expect(parseCidr(text)).toEqual({
      family,
      base: parseAddress(text.split('/')[0] ?? '').value,
      prefixLength,
    });
    expect(formatCidr(parseCidr(text))).toBe(text);
  });

  test.each([
    ['10.20.0.0', 'InvalidCidr', 'has no prefix length; write 10.20.0.0/32'],
    ['FD00::', 'InvalidCidr', 'has no prefix length; write fd00::/128'],
    ['10.20.0.1/16', 'InvalidCidr', 'has bits set after the first 16; write 10.20.0.0/16'],
    ['fd00::1/64', 'InvalidCidr', 'write fd00::/64'],
    ['128.0.0.0/0', 'InvalidCidr', 'write 0.0.0.0/0'],
    ['10.0.0.0/33', 'InvalidCidr', 'from 0 to 32'],
    ['fd00::/129', 'InvalidCidr', 'from 0 to 128'],
    ['10.0.0.0/08', 'InvalidCidr', 'has "08"'],
    ['10.0.0.0/', 'InvalidCidr', 'has ""'],
    ['10.0.0.0/+8', 'InvalidCidr', 'has "+8"'],
    ['10.0.0.0/8/8', 'InvalidCidr', 'has "8/8"'],
    ['10.0.0.0/255.0.0.0', 'InvalidCidr', 'has "255.0.0.0"'],
    ['010.0.0.0/8', 'InvalidAddress', 'leading zero'],
    ['::ffff:10.0.0.0/104', 'InvalidAddress', 'mapped'],
    ['/8', 'InvalidAddress', 'empty text'],
  ])('refuses %s', (text, code, reason) => {
    const error = refusal(() => parseCidr(text));
    expect(error.code).toBe(code);
    expect(error.message).toContain(reason);
  });

  test('agrees with ip-address on first and last address', () => {
    fc.assert(
      fc.property(cidrs, (cidr) => {
        const text = formatCidr(cidr);
        const theirs = cidr.family === 4 ? new Address4(text) : new Address6(text);
        const range = cidrRange(parseCidr(text));
        expect([range.first, range.last]).toEqual([
          theirs.startAddress().bigInt(),
          theirs.endAddress().bigInt(),
        ]);
      }),
    );
  });
});

test('cidrContains agrees with ip-address, near the edges too', () => {
  fc.assert(
    fc.property(
      cidrs,
      addresses,
      fc.integer({ min: -2, max: 2 }),
      fc.boolean(),
      (cidr, far, offset, atEnd) => {
        const { first, last } = cidrRange(cidr);
        const near = (atEnd ? last : first) + BigInt(offset);
        for (const address of [far, { family: cidr.family, value: near < 0n ? 0n : near }]) {
          if (address.value >= 1n << (cidr.family === 4 ? 32n : 128n)) continue;
          const theirs =
            address.family === cidr.family &&
            (address.family === 4
              ? new Address4(formatAddress(address)).isInSubnet(new Address4(formatCidr(cidr)))
              : new Address6(formatAddress(address)).isInSubnet(new Address6(formatCidr(cidr))));
          expect(cidrContains(cidr, address)).toBe(theirs);
        }
      },
    ),
    { numRuns: 500 },
  );
});

test('parseInterfaceAddress keeps host bits and makes the prefix length optional', () => {
  const address = parseAddress('10.20.1.7');
  expect(parseInterfaceAddress('10.20.1.7/16')).toEqual({ address, prefixLength: 16 });
  expect(parseInterfaceAddress('10.20.1.7')).toEqual({ address });
  expect(refusal(() => parseInterfaceAddress('10.20.1.7/64')).message).toContain('from 0 to 32');
});
