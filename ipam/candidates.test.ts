import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AddressBitmap } from './bitmap.ts';
import { Candidates, randomBelow } from './candidates.ts';
import { parseRange } from './range.ts';
import { RangeSet } from './rangeset.ts';
import { enumerate, smallRanges } from './testing/arbitraries.ts';

type Allocation = 'Random' | 'Ascending';

function pool(allocation: Allocation, ranges: string[], name = 'p') {
  const parsed = ranges.map(parseRange);
  return { name, allocation, dynamic: RangeSet.of(parsed[0]?.family ?? 4, parsed) };
}

/** Rolls these numbers in turn, and fails the test when asked for one more. */
function dice(...rolls: number[]): () => number {
  const left = [...rolls];
  return () => {
    const roll = left.shift();
    if (roll === undefined) throw new Error('rolled once too often');
    return roll;
  };
}

function take(
  candidates: Candidates,
  from: ReturnType<typeof pool>,
  taken: AddressBitmap,
): bigint | undefined {
  const value = candidates.next(from, taken);
  if (value !== undefined) taken.set(value);
  return value;
}

function sorted(values: Iterable<bigint>): bigint[] {
  return [...values].sort((a, b) => (a < b ? -1 : 1));
}

describe('Random', () => {
  test('starts at a random place and goes upward; where that ends it rolls again, and in a full pool never', () => {
    const candidates = new Candidates(dice(0.5, 0));
    const from = pool('Random', ['0.0.0.0/30', '0.0.0.8/30']);
    const taken = new AddressBitmap();
    const order = Array.from({ length: 9 }, () => take(candidates, from, taken));
    expect(order).toEqual([8n, 9n, 10n, 11n, 0n, 1n, 2n, 3n, undefined]);
  });

  test('continues after the address given last, also if the caller did not take it', () => {
    const candidates = new Candidates(dice(0, 0));
    const from = pool('Random', ['0.0.0.0/30']);
    const order = Array.from({ length: 5 }, () => candidates.next(from, new AddressBitmap()));
    expect(order).toEqual([0n, 1n, 2n, 3n, 0n]);
  });

  test('an address given back behind it is offered when it rolls', () => {
    const candidates = new Candidates(dice(0, 0));
    const from = pool('Random', ['0.0.0.0/30']);
    const taken = new AddressBitmap();
    take(candidates, from, taken);
    take(candidates, from, taken);
    taken.clear(0n);
    expect([
      take(candidates, from, taken),
      take(candidates, from, taken),
      take(candidates, from, taken),
    ]).toEqual([2n, 3n, 0n]);
  });

  test('does not go on behind what somebody else has taken, but anywhere else, each with the same probability', () => {
    const taken = new AddressBitmap();
    for (const value of [2n, 3n, 4n]) taken.set(value);
    const from = pool('Random', ['0.0.0.0/29']);
    // Clear are 0, 1, 5, 6, 7; the first roll is 1, behind which 2 is taken.
    const second = [0, 0.25, 0.5, 0.75].map((roll) => {
      const candidates = new Candidates(dice(0.3, roll));
      const own = new AddressBitmap();
      own.setPlane(from.dynamic, taken.plane(from.dynamic));
      return [take(candidates, from, own), take(candidates, from, own)];
    });
    expect(second).toEqual([0n, 5n, 6n, 7n].map((value) => [1n, value]));
  });

  test('after a jump it continues at a new random place', () => {
    const candidates = new Candidates(dice(0, 0.75));
    const from = pool('Random', ['0.0.0.0/28']);
    const taken = new AddressBitmap();
    expect(take(candidates, from, taken)).toBe(0n);
    candidates.jump('p');
    expect([take(candidates, from, taken), take(candidates, from, taken)]).toEqual([12n, 13n]);
  });

  test('every pool has its own place, and a forgotten one starts anew', () => {
    const candidates = new Candidates(dice(0, 0.5, 0.25));
    const [a, b] = [pool('Random', ['0.0.0.0/30'], 'a'), pool('Random', ['0.0.0.0/30'], 'b')];
    const taken = new AddressBitmap();
    expect([candidates.next(a, taken), candidates.next(b, taken), candidates.next(a, taken)]).toEqual([
      0n,
      2n,
      1n,
    ]);
    candidates.forget('a');
    expect([candidates.next(a, taken), candidates.next(b, taken)]).toEqual([1n, 3n]);
  });

  test('keeps its place when the ranges change, and finds the new ones', () => {
    const candidates = new Candidates(dice(0.5, 0.8, 0));
    const taken = new AddressBitmap();
    expect(take(candidates, pool('Random', ['0.0.0.0/29']), taken)).toBe(4n);
    expect(take(candidates, pool('Random', ['0.0.0.0-0.0.0.3', '0.0.0.16']), taken)).toBe(16n);
    expect(take(candidates, pool('Random', ['0.0.0.0-0.0.0.3', '0.0.0.16']), taken)).toBe(0n);
  });

  test('an IPv6 /64 is given to its edges', () => {
    const from = pool('Random', ['fd00::/64']);
    const almostOne = 1 - 2 ** -53;
    expect(new Candidates(() => 0).next(from, new AddressBitmap())).toBe(from.dynamic.at(0n));
    const high = new Candidates(() => almostOne).next(from, new AddressBitmap());
    expect(high === undefined ? undefined : from.dynamic.indexOf(high)).toBe((1n << 64n) - 1n);
  });
});

describe('Ascending', () => {
  test('after four conflicts gives one a little above the lowest, and the lowest again where there is nothing above', () => {
    const from = pool('Ascending', ['0.0.0.0/29']);
    const taken = new AddressBitmap();
    taken.set(1n);
    const after = (conflicts: number, roll: number): bigint | undefined =>
      new Candidates(dice(roll)).next(from, taken, conflicts);
    expect([after(3, 0.9), after(4, 0.4), after(4, 0.9), after(5, 0.9), after(9, 0.9)]).toEqual([
      0n,
      0n,
      2n,
      4n,
      0n,
    ]);
  });

  test('gives the lowest clear address and never rolls', () => {
    const candidates = new Candidates(dice());
    const from = pool('Ascending', ['0.0.0.8/31', '0.0.0.0/31']);
    const taken = new AddressBitmap();
    expect([
      take(candidates, from, taken),
      take(candidates, from, taken),
      take(candidates, from, taken),
    ]).toEqual([0n, 1n, 8n]);
    taken.clear(1n);
    candidates.jump('p');
    expect([
      take(candidates, from, taken),
      take(candidates, from, taken),
      take(candidates, from, taken),
    ]).toEqual([1n, 9n, undefined]);
  });
});

test.each<Allocation>(['Random', 'Ascending'])(
  '%s gives every clear address once, and undefined only then',
  (allocation) => {
    const LIMIT = 60;
    const rolls = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(
        smallRanges(4, LIMIT),
        fc.array(fc.nat(LIMIT - 1)),
        rolls,
        fc.nat(9),
        (ranges, before, roll, jump) => {
          const from = { name: 'p', allocation, dynamic: RangeSet.of(4, ranges) };
          const taken = new AddressBitmap();
          for (const value of before) taken.set(BigInt(value));
          const clear = sorted(enumerate(ranges)).filter((value) => !before.includes(Number(value)));
          const candidates = new Candidates(() => roll);
          const given: bigint[] = [];
          for (
            let value = take(candidates, from, taken);
            value !== undefined;
            value = take(candidates, from, taken)
          ) {
            given.push(value);
            if (given.length === jump) candidates.jump('p');
          }
          expect(sorted(given)).toEqual(clear);
          if (allocation === 'Ascending') expect(given).toEqual(clear);
          const first = clear[0];
          if (first === undefined) return;
          taken.clear(first);
          expect(candidates.next(from, taken)).toBe(first);
        },
      ),
      { numRuns: 300 },
    );
  },
);

test('a pool without ranges has no candidate', () => {
  expect(new Candidates(dice()).next(pool('Random', []), new AddressBitmap())).toBeUndefined();
});

describe('randomBelow', () => {
  test('stays below its limit, for every limit up to 2^128', () => {
    const limits = fc.oneof(
      fc.bigInt({ min: 1n, max: 1n << 128n }),
      fc.integer({ min: 0, max: 128 }).map((bits) => 1n << BigInt(bits)),
      fc.integer({ min: 1, max: 53 }).map((bits) => (1n << BigInt(bits)) + 1n),
    );
    const rolls = fc.oneof(
      fc.constantFrom(0, 1 - 2 ** -53),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    );
    fc.assert(
      fc.property(limits, rolls, (limit, roll) => {
        const value = randomBelow(limit, () => roll);
        expect(value >= 0n && value < limit).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test('reaches every part of a small and of a huge range', () => {
    let state = 1;
    // A linear congruential generator (Numerical Recipes): the same every run.
    const random = (): number => (state = (state * 1664525 + 1013904223) % 2 ** 32) / 2 ** 32;
    for (const limit of [16n, 1n << 64n, (1n << 128n) - 1n]) {
      const sixteenths = new Set(
        Array.from({ length: 500 }, () => (randomBelow(limit, random) * 16n) / limit),
      );
      expect(sixteenths.size).toBe(16);
    }
  });
});
