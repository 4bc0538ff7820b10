import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AddressBitmap, planeBytes } from './bitmap.ts';
import { parseRange } from './range.ts';
import { RangeSet } from './rangeset.ts';
import { smallRanges } from './testing/arbitraries.ts';

function set(text: string): RangeSet {
  const range = parseRange(text);
  return RangeSet.of(range.family, [range]);
}

function filled(within: RangeSet): AddressBitmap {
  const bitmap = new AddressBitmap();
  for (const { first, last } of within.ranges)
    for (let value = first; value <= last; value++) bitmap.set(value);
  return bitmap;
}

test('set and clear say whether they changed anything', () => {
  const bitmap = new AddressBitmap();
  expect([bitmap.set(5n), bitmap.set(5n), bitmap.has(5n), bitmap.count]).toEqual([true, false, true, 1]);
  expect([bitmap.clear(5n), bitmap.clear(5n), bitmap.has(5n), bitmap.count]).toEqual([true, false, false, 0]);
  expect(bitmap.clear(1n << 100n)).toBe(false);
});

test('neighbours do not touch each other, at words and pages either', () => {
  for (const value of [0n, 31n, 32n, 1023n, 1024n, (1n << 32n) - 1n, (1n << 128n) - 1n]) {
    const bitmap = new AddressBitmap();
    bitmap.set(value);
    expect([bitmap.has(value - 1n), bitmap.has(value), bitmap.has(value + 1n)]).toEqual([false, true, false]);
  }
});

test('agrees with a set of numbers, over several pages and every search', () => {
  const LIMIT = 2200;
  // Long runs fill whole pages; single flips make holes.
  const runs = fc.array(
    fc.record({ on: fc.boolean(), from: fc.nat(LIMIT - 1), length: fc.integer({ min: 1, max: 1500 }) }),
    { maxLength: 8 },
  );
  const bases = fc.constantFrom(0n, 0xffff_ffffn - BigInt(LIMIT), (1n << 127n) - 500n);
  const searches = fc.array(fc.nat(LIMIT - 1), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(runs, bases, smallRanges(6, LIMIT), searches, (changes, base, ranges, starts) => {
      const bitmap = new AddressBitmap();
      const model = new Set<number>();
      for (const { on, from, length } of changes) {
        for (let i = from; i < Math.min(from + length, LIMIT); i++) {
          const changed = on ? !model.has(i) : model.has(i);
          expect(on ? bitmap.set(base + BigInt(i)) : bitmap.clear(base + BigInt(i))).toBe(changed);
          if (on) model.add(i);
          else model.delete(i);
        }
      }
      expect(bitmap.count).toBe(model.size);
      const within = RangeSet.of(
        6,
        ranges.map(({ family, first, last }) => ({ family, first: base + first, last: base + last })),
      );
      for (const start of starts) {
        let expected: bigint | undefined;
        for (let i = start; i < LIMIT && expected === undefined; i++) {
          if (!model.has(i) && within.contains(base + BigInt(i))) expected = base + BigInt(i);
        }
        expect(bitmap.nextClear(within, base + BigInt(start))).toBe(expected);
        expect(bitmap.has(base + BigInt(start))).toBe(model.has(start));
      }
    }),
    { numRuns: 100 },
  );
});

test('the last clear address of a full /16 is found', () => {
  const within = set('10.20.0.0/16');
  const bitmap = filled(within);
  const last = parseRange('10.20.255.255').first;
  expect(bitmap.nextClear(within, 0n)).toBeUndefined();
  bitmap.clear(last);
  expect(bitmap.nextClear(within, 0n)).toBe(last);
  expect(bitmap.nextClear(within, last + 1n)).toBeUndefined();
});

test('a search never leaves its ranges, though a page reaches beyond them', () => {
  const within = RangeSet.of(4, [parseRange('10.0.0.4-10.0.0.7'), parseRange('10.0.0.16')]);
  const bitmap = filled(set('10.0.0.4-10.0.0.7'));
  expect(bitmap.nextClear(within, 0n)).toBe(parseRange('10.0.0.16').first);
  bitmap.set(parseRange('10.0.0.16').first);
  expect(bitmap.nextClear(within, 0n)).toBeUndefined();
});

test('what is taken stays taken when the ranges change', () => {
  const bitmap = filled(set('10.0.0.0/28'));
  expect(bitmap.nextClear(set('10.0.0.0/24'), 0n)).toBe(parseRange('10.0.0.16').first);
  expect(bitmap.nextClear(set('10.0.0.8/29'), 0n)).toBeUndefined();
});

test('an empty bitmap answers at once in a /8, an IPv6 /64 and everything', () => {
  for (const text of ['10.0.0.0/8', 'fd00::/64', '::/0']) {
    const within = set(text);
    expect(new AddressBitmap().nextClear(within, 0n)).toBe(within.at(0n));
    expect(new AddressBitmap().nextClear(within, within.at(within.size - 1n))).toBe(
      within.at(within.size - 1n),
    );
  }
});

/** Ranges around page borders, and a bitmap and its model over them. */
const LIMIT = 2200;
const base = 0xffff_ffffn - 4000n;
const shifted = (ranges: readonly { first: bigint; last: bigint }[]): RangeSet =>
  RangeSet.of(
    6,
    ranges.map(({ first, last }) => ({ family: 6, first: base + first, last: base + last })),
  );
const members = fc.array(fc.nat(LIMIT - 1), { maxLength: 300 });

test('a plane carries its ranges over, and nothing else', () => {
  fc.assert(
    fc.property(members, members, smallRanges(6, LIMIT), (there, here, ranges) => {
      const within = shifted(ranges);
      const from = new AddressBitmap();
      for (const i of there) from.set(base + BigInt(i));
      const to = new AddressBitmap();
      for (const i of here) to.set(base + BigInt(i));
      const plane = from.plane(within);
      expect(plane.length).toBe(Number(planeBytes(within)));
      to.setPlane(within, plane);
      const inPlane = new Set(there);
      const before = new Set(here);
      const wrong: number[] = [];
      let count = 0;
      for (let i = 0; i < LIMIT; i++) {
        const value = base + BigInt(i);
        const expected = within.contains(value) ? inPlane.has(i) : before.has(i);
        if (to.has(value) !== expected) wrong.push(i);
        if (expected) count += 1;
      }
      expect(wrong).toEqual([]);
      expect(to.count).toBe(count);
      expect(to.plane(within)).toEqual(plane);
    }),
    { numRuns: 100 },
  );
});

test('bits of a plane that lie outside its ranges count for nothing', () => {
  fc.assert(
    fc.property(smallRanges(6, LIMIT), (ranges) => {
      const within = shifted(ranges);
      const bitmap = new AddressBitmap();
      bitmap.setPlane(within, new Uint8Array(Number(planeBytes(within))).fill(0xff));
      expect(BigInt(bitmap.count)).toBe(within.size);
      expect(bitmap.nextClear(within, 0n)).toBeUndefined();
    }),
    { numRuns: 50 },
  );
});

test('counting and searching what is set agree with a set of numbers', () => {
  fc.assert(
    fc.property(members, smallRanges(6, LIMIT), fc.nat(LIMIT - 1), (set, ranges, start) => {
      const within = shifted(ranges);
      const bitmap = new AddressBitmap();
      for (const i of set) bitmap.set(base + BigInt(i));
      const inside = [...new Set(set)]
        .map((i) => base + BigInt(i))
        .filter((value) => within.contains(value))
        .toSorted((a, b) => (a < b ? -1 : 1));
      expect(bitmap.countIn(within)).toBe(inside.length);
      const from = base + BigInt(start);
      expect(bitmap.nextSet(within, from)).toBe(inside.find((value) => value >= from));
      const clear: bigint[] = [];
      for (const { first, last } of within.ranges) {
        for (let value = first; value <= last; value++) if (!bitmap.has(value)) clear.push(value);
      }
      expect(bitmap.nthClear(within, BigInt(start))).toBe(clear[start]);
      expect(bitmap.nthClear(within, BigInt(clear.length) - 1n)).toBe(clear.at(-1));
      expect(bitmap.nthClear(within, BigInt(clear.length))).toBeUndefined();
    }),
    { numRuns: 100 },
  );
});

test('counting in an IPv6 /64 costs by what is there, and the size of its plane is known before it is made', () => {
  const all = set('fd00::/64');
  const bitmap = new AddressBitmap();
  bitmap.set(all.at(all.size - 1n));
  expect(bitmap.countIn(all)).toBe(1);
  expect(bitmap.nextSet(all, 0n)).toBe(all.at(all.size - 1n));
  bitmap.set(all.at(5n));
  expect([4n, 5n, all.size - 3n, all.size - 2n].map((n) => bitmap.nthClear(all, n))).toEqual([
    all.at(4n),
    all.at(6n),
    all.at(all.size - 2n),
    undefined,
  ]);
  expect(planeBytes(all)).toBe(1n << 61n);
});
