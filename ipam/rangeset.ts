/**
 * Sets of addresses as sorted runs. Every operation costs by the number of runs, never by the number of addresses:
 * an IPv6 /64 is as cheap as a single address.
 */

import type { Family } from './address.ts';
import { addressBits, maxAddress } from './address.ts';
import { IpamError } from './errors.ts';
import type { Range } from './range.ts';
import { formatRange } from './range.ts';

/** An immutable set of addresses of one family. */
export class RangeSet {
  readonly family: Family;
  /** Sorted, disjoint, and with a gap between neighbours: equal sets have equal ranges. */
  readonly ranges: readonly Range[];
  /** Number of addresses. */
  readonly size: bigint;
  /** `#before[i]`: how many addresses lie in the ranges before range i. */
  readonly #before: readonly bigint[];

  /** `ranges` must be sorted and disjoint, with gaps; only `of` and the set operations call this. */
  private constructor(family: Family, ranges: readonly Range[]) {
    const before: bigint[] = [];
    let size = 0n;
    for (const range of ranges) {
      before.push(size);
      size += range.last - range.first + 1n;
    }
    this.family = family;
    this.ranges = ranges;
    this.size = size;
    this.#before = before;
  }

  /**
   * The union of ranges, in any order, overlapping or not.
   * @throws IpamError MixedFamilies, OutOfRange
   */
  static of(family: Family, ranges: readonly Range[]): RangeSet {
    for (const range of ranges) {
      if (range.family !== family) throw mixed(family, range.family);
      if (range.first < 0n || range.first > range.last || range.last > maxAddress(family)) {
        const message = `${range.first}..${range.last} is no range of ${addressBits(family)}-bit addresses; give 0 ≤ first ≤ last`;
        throw new IpamError('OutOfRange', `${range.first}..${range.last}`, message);
      }
    }
    const sorted = ranges.toSorted((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
    const merged: Range[] = [];
    for (const { first, last } of sorted) {
      const previous = merged.at(-1);
      if (previous === undefined || first > previous.last + 1n) merged.push({ family, first, last });
      else if (last > previous.last) merged[merged.length - 1] = { family, first: previous.first, last };
    }
    return new RangeSet(family, merged);
  }

  /** True if the set has no address. */
  get isEmpty(): boolean {
    return this.ranges.length === 0;
  }

  /** True if the value is in the set. */
  contains(value: bigint): boolean {
    const range = this.ranges[this.seek(value)];
    return range !== undefined && range.first <= value;
  }

  /** Index of the first range that contains the value or lies after it; `ranges.length` if there is none. */
  seek(value: bigint): number {
    let low = 0;
    let high = this.ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const range = this.ranges[middle];
      if (range !== undefined && range.last < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Addresses in either set. @throws IpamError MixedFamilies */
  union(other: RangeSet): RangeSet {
    return RangeSet.of(this.family, [...this.ranges, ...other.ranges]);
  }

  /** Addresses in both sets. @throws IpamError MixedFamilies */
  intersect(other: RangeSet): RangeSet {
    this.#sameFamily(other);
    const result: Range[] = [];
    for (let i = 0, j = 0; ; ) {
      const a = this.ranges[i];
      const b = other.ranges[j];
      if (a === undefined || b === undefined) return new RangeSet(this.family, result);
      const first = a.first > b.first ? a.first : b.first;
      const last = a.last < b.last ? a.last : b.last;
      if (first <= last) result.push({ family: this.family, first, last });
      if (a.last < b.last) i++;
      else j++;
    }
  }

  /** Addresses of this set that are not in the other. @throws IpamError MixedFamilies */
  subtract(other: RangeSet): RangeSet {
    this.#sameFamily(other);
    const gaps: Range[] = [];
    let next = 0n;
    for (const range of other.ranges) {
      if (range.first > next) gaps.push({ family: this.family, first: next, last: range.first - 1n });
      next = range.last + 1n;
    }
    const max = maxAddress(this.family);
    if (next <= max) gaps.push({ family: this.family, first: next, last: max });
    return this.intersect(new RangeSet(this.family, gaps));
  }

  /**
   * The address with so many addresses of the set below it.
   * @throws IpamError OutOfRange unless 0 ≤ index < size
   */
  at(index: bigint): bigint {
    let low = 0;
    let high = this.ranges.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((this.#before[middle] ?? 0n) <= index) low = middle;
      else high = middle;
    }
    const range = this.ranges[low];
    const before = this.#before[low];
    if (index < 0n || index >= this.size || range === undefined || before === undefined) {
      const message = `${index} is no index of a set of ${this.size} addresses; give 0 ≤ index < size`;
      throw new IpamError('OutOfRange', `${index}`, message);
    }
    return range.first + (index - before);
  }

  /** How many addresses of the set are below this one; undefined if it is not in the set. */
  indexOf(value: bigint): bigint | undefined {
    const i = this.seek(value);
    const range = this.ranges[i];
    const before = this.#before[i];
    if (range === undefined || before === undefined || range.first > value) return undefined;
    return before + (value - range.first);
  }

  /** True if both sets have the same addresses. */
  equals(other: RangeSet): boolean {
    return (
      this.family === other.family &&
      this.ranges.length === other.ranges.length &&
      this.ranges.every(
        (range, i) => range.first === other.ranges[i]?.first && range.last === other.ranges[i].last,
      )
    );
  }

  /** The ranges as a comma list, in their shortest text; "(empty)" if there are none. */
  toString(): string {
    return this.isEmpty ? '(empty)' : this.ranges.map(formatRange).join(', ');
  }

  #sameFamily(other: RangeSet): void {
    if (other.family !== this.family) throw mixed(this.family, other.family);
  }
}

function mixed(expected: Family, actual: Family): IpamError {
  const message = `an IPv${actual} range cannot be combined with an IPv${expected} set; use one family`;
  return new IpamError('MixedFamilies', `IPv${actual}`, message);
}
