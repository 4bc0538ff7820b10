import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { maxAddress } from './address.ts';
import type { Range } from './range.ts';
import { parseRange } from './range.ts';
import { RangeSet } from './rangeset.ts';
import { enumerate, families, smallRanges } from './testing/arbitraries.ts';
import { refusal } from './testing/refusal.ts';

const LIMIT = 40;

function set(...texts: string[]): RangeSet {
  const ranges = texts.map(parseRange);
  return RangeSet.of(ranges[0]?.family ?? 4, ranges);
}

/** The same values shifted to either end of the address space, where ±1 could leave it. */
const spaces = families.chain((family) =>
  fc.record({
    family: fc.constant(family),
    shift: fc.constantFrom(0n, maxAddress(family) + 1n - BigInt(LIMIT)),
    a: smallRanges(family, LIMIT),
    b: smallRanges(family, LIMIT),
  }),
);

function shifted(ranges: readonly Range[], shift: bigint): Range[] {
  return ranges.map(({ family, first, last }) => ({ family, first: first + shift, last: last + shift }));
}

function sorted(values: Iterable<bigint>): bigint[] {
  return [...values].sort((x, y) => (x < y ? -1 : 1));
}

describe('against sets of numbers', () => {
  test('union, intersect and subtract', () => {
    fc.assert(
      fc.property(spaces, ({ family, shift, a, b }) => {
        const [left, right] = [shifted(a, shift), shifted(b, shift)];
        const [x, y] = [RangeSet.of(family, left), RangeSet.of(family, right)];
        const [modelX, modelY] = [enumerate(left), enumerate(right)];
        expect(sorted(enumerate(x.union(y).ranges))).toEqual(sorted(new Set([...modelX, ...modelY])));
        expect(sorted(enumerate(x.intersect(y).ranges))).toEqual(
          sorted(modelX).filter((value) => modelY.has(value)),
        );
        expect(sorted(enumerate(x.subtract(y).ranges))).toEqual(
          sorted(modelX).filter((value) => !modelY.has(value)),
        );
      }),
      { numRuns: 500 },
    );
  });

  test('size, contains, at, indexOf and seek', () => {
    fc.assert(
      fc.property(spaces, ({ family, shift, a }) => {
        const ranges = shifted(a, shift);
        const subject = RangeSet.of(family, ranges);
        const model = sorted(enumerate(ranges));
        expect(subject.size).toBe(BigInt(model.length));
        expect(subject.isEmpty).toBe(model.length === 0);
        expect(model.map((_, i) => subject.at(BigInt(i)))).toEqual(model);
        for (let value = shift; value < shift + BigInt(LIMIT); value++) {
          const index = model.indexOf(value);
          expect(subject.contains(value)).toBe(index >= 0);
          expect(subject.indexOf(value)).toBe(index < 0 ? undefined : BigInt(index));
          const next = subject.ranges[subject.seek(value)];
          const expected = model.find((candidate) => candidate >= value);
          expect(next === undefined ? undefined : next.first > value ? next.first : value).toBe(expected);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('ranges are sorted, disjoint and apart, so that equal sets have equal ranges', () => {
    fc.assert(
      fc.property(spaces, ({ family, a, b }) => {
        const [x, y] = [RangeSet.of(family, a), RangeSet.of(family, b)];
        for (const result of [x, x.union(y), x.intersect(y), x.subtract(y)]) {
          result.ranges.forEach((range, i) => {
            const next = result.ranges[i + 1];
            expect(range.first <= range.last).toBe(true);
            if (next !== undefined) expect(next.first > range.last + 1n).toBe(true);
          });
        }
        const same = sorted(enumerate(a)).join() === sorted(enumerate(b)).join();
        expect(x.equals(y)).toBe(same);
        expect(x.subtract(y).union(x.intersect(y)).equals(x)).toBe(true);
      }),
    );
  });
});

test('operations leave their operands as they were', () => {
  const a = set('10.0.0.0/24');
  const b = set('10.0.0.128/25');
  a.subtract(b);
  a.union(b);
  a.intersect(b);
  expect([a.toString(), b.toString()]).toEqual(['10.0.0.0/24', '10.0.0.128/25']);
});

test.each([
  [['10.0.0.0/25', '10.0.0.128/25'], '10.0.0.0/24'],
  [['10.0.0.5', '10.0.0.1-10.0.0.4'], '10.0.0.1-10.0.0.5'],
  [['10.0.0.5', '10.0.0.5'], '10.0.0.5'],
  [['10.0.0.9', '10.0.0.1'], '10.0.0.1, 10.0.0.9'],
  [['0.0.0.0', '255.255.255.255'], '0.0.0.0, 255.255.255.255'],
  [[], '(empty)'],
])('%j becomes %s', (texts, expected) => {
  expect(set(...texts).toString()).toBe(expected);
});

test('a /8 and an IPv6 /64 are counted and indexed without being enumerated', () => {
  const big = set('10.0.0.0/8').subtract(set('10.128.0.0'));
  expect(big.size).toBe((1n << 24n) - 1n);
  expect(big.at(big.size - 1n)).toBe(parseRange('10.255.255.255').first);
  const huge = set('fd00::/64');
  expect(huge.size).toBe(1n << 64n);
  expect(huge.indexOf(parseRange('fd00::ffff:ffff:ffff:ffff').first)).toBe((1n << 64n) - 1n);
  expect(set('::/0').size).toBe(1n << 128n);
});

test('at refuses an index outside the set', () => {
  for (const index of [-1n, 4n]) {
    const error = refusal(() => set('10.0.0.0/30').at(index));
    expect(error.code).toBe('OutOfRange');
    expect(error.message).toContain(`${index} is no index of a set of 4 addresses`);
  }
  expect(refusal(() => set().at(0n)).code).toBe('OutOfRange');
});

test('families do not mix', () => {
  expect(refusal(() => RangeSet.of(4, [parseRange('fd00::1')])).code).toBe('MixedFamilies');
  for (const run of [
    () => set('10.0.0.1').union(set('::1')),
    () => set('10.0.0.1').intersect(set('::1')),
    () => set('10.0.0.1').subtract(set('::1')),
  ]) {
    expect(refusal(run).code).toBe('MixedFamilies');
  }
  expect(RangeSet.of(4, []).equals(RangeSet.of(6, []))).toBe(false);
});

test.each([
  [-1n, 1n],
  [2n, 1n],
  [0n, 1n << 32n],
])('refuses the range %s..%s, which no IPv4 text can write', (first, last) => {
  expect(refusal(() => RangeSet.of(4, [{ family: 4, first, last }])).code).toBe('OutOfRange');
});
