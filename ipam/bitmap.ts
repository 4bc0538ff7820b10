/**
 * Which addresses of one network and family are believed taken.
 *
 * Keyed by the address itself, not by its place in a pool: it survives every change of a pool's ranges, and pools that
 * overlap share it. Sparse: a page of 1,024 addresses exists only while one of them is set.
 */

import type { RangeSet } from './rangeset.ts';

const PAGE_BITS = 10n;
const PAGE_SIZE = 1 << 10;
const OFFSET_MASK = BigInt(PAGE_SIZE - 1);

interface Page {
  readonly words: Uint32Array;
  /** How many bits are set: PAGE_SIZE lets a search pass the whole page in one step. */
  count: number;
}

/** A mutable set of address values of one family. */
export class AddressBitmap {
  readonly #pages = new Map<bigint, Page>();
  #count = 0;

  /** How many addresses are set. */
  get count(): number {
    return this.#count;
  }

  /** True if the address is set. */
  has(value: bigint): boolean {
    const page = this.#pages.get(value >> PAGE_BITS);
    if (page === undefined) return false;
    const offset = Number(value & OFFSET_MASK);
    return (wordAt(page, offset >>> 5) & (1 << (offset & 31))) !== 0;
  }

  /** Sets the address; false if it was set already. */
  set(value: bigint): boolean {
    const key = value >> PAGE_BITS;
    let page = this.#pages.get(key);
    if (page === undefined) {
      page = { words: new Uint32Array(PAGE_SIZE / 32), count: 0 };
      this.#pages.set(key, page);
    }
    return this.#flip(page, Number(value & OFFSET_MASK), true);
  }

  /** Clears the address; false if it was clear already. */
  clear(value: bigint): boolean {
    const key = value >> PAGE_BITS;
    const page = this.#pages.get(key);
    if (page === undefined) return false;
    const changed = this.#flip(page, Number(value & OFFSET_MASK), false);
    if (page.count === 0) this.#pages.delete(key);
    return changed;
  }

  /**
   * The lowest address of `within` that is at least `from` and clear; undefined if there is none (no wrap).
   * Costs one step per full page and one per word of the others, whatever the number of addresses.
   */
  nextClear(within: RangeSet, from: bigint): bigint | undefined {
    for (let i = within.seek(from); i < within.ranges.length; i++) {
      const range = within.ranges[i];
      if (range === undefined) return undefined;
      const found = this.#firstClear(range.first > from ? range.first : from, range.last);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #firstClear(first: bigint, last: bigint): bigint | undefined {
    for (let value = first; value <= last; value = ((value >> PAGE_BITS) + 1n) << PAGE_BITS) {
      const page = this.#pages.get(value >> PAGE_BITS);
      if (page === undefined) return value;
      if (page.count === PAGE_SIZE) continue;
      const start = Number(value & OFFSET_MASK);
      const offset = clearOffset(page, start);
      if (offset === undefined) continue;
      const found = value + BigInt(offset - start);
      return found <= last ? found : undefined;
    }
    return undefined;
  }

  #flip(page: Page, offset: number, to: boolean): boolean {
    const index = offset >>> 5;
    const bit = 1 << (offset & 31);
    const word = wordAt(page, index);
    if (((word & bit) !== 0) === to) return false;
    page.words[index] = word ^ bit;
    page.count += to ? 1 : -1;
    this.#count += to ? 1 : -1;
    return true;
  }
}

/** The first clear bit of the page at or after `start`. */
function clearOffset(page: Page, start: number): number | undefined {
  // Bits before the start count as set.
  let clear = ~wordAt(page, start >>> 5) & (-1 << (start & 31));
  for (let index = start >>> 5; index < page.words.length; ) {
    // `clear & -clear` is its lowest bit alone; clz32 counts what is above it.
    if (clear !== 0) return index * 32 + 31 - Math.clz32(clear & -clear);
    index++;
    clear = ~wordAt(page, index);
  }
  return undefined;
}

function wordAt(page: Page, index: number): number {
  return page.words[index] ?? 0;
}
