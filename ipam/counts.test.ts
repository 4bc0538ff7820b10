import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Address } from './address.ts';
import { parseAddress } from './address.ts';
import type { CountedReservation } from './counts.ts';
import { isExhausted, poolCounts } from './counts.ts';
import { compilePool } from './pool.ts';
import { RangeSet } from './rangeset.ts';
import type { ReservationState } from './reservation.ts';
import { enumerate, smallRanges } from './testing/arbitraries.ts';

const pool = compilePool('p', { subnet: '10.0.0.0/24', ranges: ['10.0.0.8/30'] });

function reservation(address: string, state: ReservationState, poolName = 'p'): CountedReservation {
  return { address: parseAddress(address), pool: poolName, state };
}

test.each<[string, CountedReservation[], [bound: bigint, held: bigint, released: bigint, free: bigint]]>([
  ['nothing reserved', [], [0n, 0n, 0n, 4n]],
  ['one bound', [reservation('10.0.0.8', 'Bound')], [1n, 0n, 0n, 3n]],
  ['one held', [reservation('10.0.0.8', 'Held')], [0n, 1n, 0n, 3n]],
  ['one released: not free', [reservation('10.0.0.8', 'Released')], [0n, 0n, 1n, 3n]],
  ['bound outside the ranges: takes none of them', [reservation('10.0.0.99', 'Bound')], [1n, 0n, 0n, 4n]],
  ["an overlapping pool's: taken, but not ours", [reservation('10.0.0.8', 'Bound', 'q')], [0n, 0n, 0n, 3n]],
  ['of the other family, with the same number', [reservation('::a00:8', 'Bound', 'q')], [0n, 0n, 0n, 4n]],
  ['an address outside the subnet that names the pool', [reservation('10.9.9.9', 'Held')], [0n, 1n, 0n, 4n]],
])('%s', (_name, reservations, [bound, held, released, free]) => {
  expect(poolCounts(pool, reservations)).toEqual({ capacity: 4n, bound, held, released, free });
});

test('an IPv6 /64 counts to the last address', () => {
  const huge = compilePool('p', { subnet: 'fd00::/64' });
  expect(poolCounts(huge, [reservation('fd00::7', 'Bound')])).toMatchObject({
    capacity: (1n << 64n) - 1n,
    free: (1n << 64n) - 2n,
  });
});

test('agrees with counting one by one', () => {
  const states = fc.constantFrom<ReservationState>('Bound', 'Held', 'Released');
  const reservations = fc.uniqueArray(
    fc.record({
      address: fc.record({ family: fc.constantFrom<4 | 6>(4, 6), value: fc.bigInt({ min: 0n, max: 39n }) }),
      pool: fc.constantFrom('p', 'q'),
      state: states,
    }),
    { selector: ({ address }) => `${address.family}/${address.value}` },
  );
  fc.assert(
    fc.property(smallRanges(4, 40), reservations, (ranges, all) => {
      const dynamic = RangeSet.of(4, ranges);
      const mine = (state: ReservationState): bigint =>
        BigInt(all.filter((one) => one.pool === 'p' && one.state === state).length);
      const isTaken = (value: bigint): boolean =>
        all.some(({ address }: { address: Address }) => address.family === 4 && address.value === value);
      const free = [...enumerate(ranges)].filter((value) => !isTaken(value)).length;
      expect(poolCounts({ name: 'p', family: 4, dynamic, capacity: dynamic.size }, all)).toEqual({
        capacity: BigInt(enumerate(ranges).size),
        bound: mine('Bound'),
        held: mine('Held'),
        released: mine('Released'),
        free: BigInt(free),
      });
    }),
  );
});

test.each([
  [0n, 0n, true],
  [1n, 0n, false],
  [0n, 1n, false],
])('with %s free and %s released, exhausted: %s', (free, released, exhausted) => {
  expect(isExhausted({ capacity: 4n, bound: 4n, held: 0n, released, free })).toBe(exhausted);
});
