import fc from 'fast-check';
import { Address4, Address6 } from 'ip-address';
import { describe, expect, test } from 'vitest';
import { addressBits, formatAddress, isCanonicalAddress, maxAddress, parseAddress } from './address.ts';
import { IpamError } from './errors.ts';
import { addresses, ipv6Groups } from './testing/arbitraries.ts';
import { refusal } from './testing/refusal.ts';

/** The spellings that RFC 4291 2.2 allows for these groups. */
function spelling(
  groups: readonly number[],
  style: { upper: boolean; padded: boolean; elide: number; dotted: boolean },
) {
  const hex = groups.map((group) => group.toString(16).padStart(style.padded ? 4 : 1, '0'));
  const [high = 0, low = 0] = groups.slice(6);
  const tail = `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  const parts = style.dotted ? [...hex.slice(0, 6), tail] : hex;
  const zeros = style.dotted ? 6 : 8;
  let end = style.elide;
  while (end < zeros && groups[end] === 0) end++;
  const text =
    end > style.elide
      ? `${parts.slice(0, style.elide).join(':')}::${parts.slice(end).join(':')}`
      : parts.join(':');
  return style.upper ? text.toUpperCase() : text;
}

const styles = fc.record({
  upper: fc.boolean(),
  padded: fc.boolean(),
  elide: fc.integer({ min: 0, max: 7 }),
  dotted: fc.boolean(),
});

describe('parseAddress', () => {
  test.each([
    ['0.0.0.0', 4, 0n],
    ['255.255.255.255', 4, 0xffff_ffffn],
    ['10.20.1.7', 4, 0x0a14_0107n],
    ['::', 6, 0n],
    ['::1', 6, 1n],
    ['1::', 6, 1n << 112n],
    ['ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 6, (1n << 128n) - 1n],
    ['FD00::0:A', 6, (0xfd00n << 112n) | 10n],
    ['1:2:3:4:5:6:7::', 6, 0x0001_0002_0003_0004_0005_0006_0007_0000n],
    ['::2:3:4:5:6:7:8', 6, 0x0000_0002_0003_0004_0005_0006_0007_0008n],
    ['64:ff9b::10.0.0.1', 6, (0x64n << 112n) | (0xff9bn << 96n) | 0x0a00_0001n],
    ['::10.0.0.1', 6, 0x0a00_0001n],
  ] as const)('accepts %s', (text, family, value) => {
    expect(parseAddress(text)).toEqual({ family, value });
  });

  test.each([
    ['', 'empty text'],
    ['10', 'not an IP address'],
    ['10.0.0', 'not an IP address'],
    ['10.0.0.1.2', 'not an IP address'],
    ['10.0.0.', 'has ""'],
    [' 10.0.0.1', 'has " 10"'],
    ['10.0.0.1\n', '"1\\n"'],
    ['10.0.0.-1', 'has "-1"'],
    ['10.0.0.1e1', 'has "1e1"'],
    ['0x0a.0.0.1', 'has "0x0a"'],
    ['10.0.0.256', 'more than 255'],
    ['10.0.0.1000', 'more than 255'],
    ['010.0.0.1', 'leading zero of "010"; write 10 (some programs read 010 as octal)'],
    ['10.0.0.00', 'leading zero of "00"; write 0'],
    ['10.0.0.1/32', 'has "1/32"'],
    ['fe80::1%eth0', 'has a zone; write the address alone, "fe80::1"'],
    ['::ffff:10.0.0.1', 'mapped into IPv6; write 10.0.0.1'],
    ['::ffff:a00:1', 'mapped into IPv6; write 10.0.0.1'],
    ['0:0:0:0:0:FFFF:0a00:0001', 'mapped into IPv6; write 10.0.0.1'],
    ['::ffff:010.0.0.1', 'leading zero'],
    [':', 'empty group'],
    [':::', 'empty group'],
    [':1:2:3:4:5:6:7', 'empty group'],
    ['1:2:3:4:5:6:7:', 'empty group'],
    ['1::2::3', 'more than once'],
    ['1:2:3:4:5:6:7', 'has 7 groups'],
    ['1:2:3:4:5:6:7:8:9', 'has 9 groups'],
    ['1:2:3:4:5:6:7:8::', 'has 8 groups besides "::"'],
    ['1:2:3:4:5:6:7:1.2.3.4', 'has 9 groups'],
    ['12345::', 'has "12345"'],
    ['g::', 'has "g"'],
    ['::1.2.3', 'not an IP address'],
    ['1.2.3.4::', 'has "1.2.3.4" where a group is expected'],
    ['::/64', 'where a group is expected'],
  ])('refuses %j', (text, reason) => {
    const error = refusal(() => parseAddress(text));
    expect(error.code).toBe('InvalidAddress');
    expect(error.value).toBe(text);
    expect(error.message).toContain(reason);
    expect(error.message).toMatch(/; write /);
  });

  test('a refusal quotes the value on one line and shortens a huge one', () => {
    expect(refusal(() => parseAddress('10.0.0.1\r\nroot')).message).not.toMatch(/[\r\n]/);
    expect(refusal(() => parseAddress('1'.repeat(100_000))).message.length).toBeLessThan(500);
    expect(refusal(() => parseAddress('f:'.repeat(100_000))).message.length).toBeLessThan(500);
  });

  test('reads every RFC 4291 spelling as ip-address does', () => {
    fc.assert(
      fc.property(ipv6Groups, styles, (groups, style) => {
        const text = spelling(groups, style);
        expect(parseAddress(text)).toEqual({ family: 6, value: new Address6(text).bigInt() });
      }),
      { numRuns: 1000 },
    );
  });

  test('accepts of any text what ip-address accepts, but for its leniencies', () => {
    // Address-like noise: mostly well-formed pieces, so that a good part of the texts is valid.
    const pieces = fc.constantFrom(
      '0',
      '1',
      '255',
      '256',
      '00',
      'f',
      'FFFF',
      '12345',
      ':',
      '::',
      '.',
      ':',
      '.',
      'g',
      ' ',
    );
    const noise = fc.array(pieces, { maxLength: 17 }).map((parts) => parts.join(''));
    const separated = fc.array(fc.constantFrom('0', '1', '255', '256', '01', 'ab', '', '1.2.3.4'), {
      maxLength: 9,
    });
    const texts = fc.oneof(
      noise,
      separated.map((parts) => parts.join(':')),
      separated.map((parts) => parts.join('.')),
      fc.string({ maxLength: 20 }),
    );
    fc.assert(
      fc.property(texts, (text) => {
        // It also takes subnets and zones as addresses, and IPv4 inside IPv6.
        fc.pre(!/[/%]/.test(text));
        const theirs = Address4.isValid(text)
          ? new Address4(text).bigInt()
          : Address6.isValid(text)
            ? new Address6(text).bigInt()
            : undefined;
        const mapped = text.includes(':') && theirs !== undefined && theirs >> 32n === 0xffffn;
        let ours: bigint | undefined;
        try {
          ours = parseAddress(text).value;
        } catch (error) {
          expect(error).toBeInstanceOf(IpamError);
        }
        expect(ours).toBe(mapped ? undefined : theirs);
      }),
      { numRuns: 5000 },
    );
  });
});

describe('formatAddress', () => {
  test.each([
    ['0:0:0:0:0:0:0:0', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['2001:DB8:0:0:0:0:2:1', '2001:db8::2:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['0:0:1:0:0:1:0:0', '::1:0:0:1:0:0'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['192.0.2.33', '192.0.2.33'],
  ])('writes %s as RFC 5952 section 4 says: %s', (text, canonical) => {
    expect(formatAddress(parseAddress(text))).toBe(canonical);
  });

  test('agrees with ip-address on every address', () => {
    fc.assert(
      fc.property(addresses, (address) => {
        const theirs =
          address.family === 4 ? Address4.fromBigInt(address.value) : Address6.fromBigInt(address.value);
        expect(formatAddress(address)).toBe(theirs.correctForm());
      }),
      { numRuns: 1000 },
    );
  });

  test('is the inverse of parseAddress', () => {
    fc.assert(
      fc.property(addresses, (address) => {
        expect(parseAddress(formatAddress(address))).toEqual(address);
      }),
    );
  });
});

describe('isCanonicalAddress', () => {
  test.each([
    ['10.0.0.1', true],
    ['fd00::1', true],
    ['FD00::1', false],
    ['fd00:0::1', false],
    ['fd00::0001', false],
    ['64:ff9b::10.0.0.1', false],
    ['010.0.0.1', false],
    ['::ffff:10.0.0.1', false],
    ['nonsense', false],
  ])('%s: %s', (text, canonical) => {
    expect(isCanonicalAddress(text)).toBe(canonical);
  });
});

test('an address has 32 or 128 bits', () => {
  expect([addressBits(4), addressBits(6)]).toEqual([32, 128]);
  expect([
    formatAddress({ family: 4, value: maxAddress(4) }),
    formatAddress({ family: 6, value: maxAddress(6) }),
  ]).toEqual(['255.255.255.255', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff']);
});
