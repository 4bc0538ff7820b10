/** Random values for property tests. */

import fc from 'fast-check';
import type { Address, Family } from '../address.ts';
import { addressBits, maxAddress } from '../address.ts';
import type { Cidr } from '../cidr.ts';
import type { Range } from '../range.ts';

/** Either family. */
export const families: fc.Arbitrary<Family> = fc.constantFrom<Family>(4, 6);

/** Eight groups, zero more often than chance would have it: zeros are where spellings differ. */
const groups: fc.Arbitrary<number[]> = fc.array(
  fc.oneof(
    fc.constant(0),
    fc.constant(0),
    fc.integer({ min: 0, max: 0xffff }),
    fc.integer({ min: 0, max: 15 }),
  ),
  { minLength: 8, maxLength: 8 },
);

/** IPv6 groups that are not an IPv4-mapped address. */
export const ipv6Groups: fc.Arbitrary<number[]> = groups.filter(
  (g) => !(g.slice(0, 5).every((group) => group === 0) && g[5] === 0xffff),
);

/** Any address that is not IPv4-mapped. */
export const addresses: fc.Arbitrary<Address> = fc.oneof(
  fc.bigInt({ min: 0n, max: maxAddress(4) }).map((value): Address => ({ family: 4, value })),
  ipv6Groups.map(
    (g): Address => ({ family: 6, value: g.reduce((value, group) => (value << 16n) | BigInt(group), 0n) }),
  ),
);

/** Any subnet whose base is not IPv4-mapped. */
export const cidrs: fc.Arbitrary<Cidr> = addresses
  .chain((address) =>
    fc.record({
      address: fc.constant(address),
      prefixLength: fc.integer({ min: 0, max: addressBits(address.family) }),
    }),
  )
  .map(({ address: { family, value }, prefixLength }) => {
    const bits = BigInt(addressBits(family) - prefixLength);
    return { family, base: (value >> bits) << bits, prefixLength };
  });

/** Ranges of one family inside [0, limit). */
export function smallRanges(family: Family, limit: number): fc.Arbitrary<Range[]> {
  const ends = fc.tuple(fc.integer({ min: 0, max: limit - 1 }), fc.integer({ min: 0, max: limit - 1 }));
  const range = ends.map(
    ([a, b]): Range => ({ family, first: BigInt(Math.min(a, b)), last: BigInt(Math.max(a, b)) }),
  );
  return fc.array(range, { maxLength: 6 });
}

/** Every value of the ranges, by counting. */
export function enumerate(ranges: readonly Range[]): Set<bigint> {
  const values = new Set<bigint>();
  for (const { first, last } of ranges) for (let value = first; value <= last; value++) values.add(value);
  return values;
}
