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
  /** The pages in ascending order; undefined: one has come or gone since they were last asked for. */
  #inOrder: { readonly base: bigint; readonly page: Page }[] | undefined;
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
    const page = this.#pages.get(key) ?? this.#addPage(key);
    return this.#flip(page, Number(value & OFFSET_MASK), true);
  }

  /** Clears the address; false if it was clear already. */
  clear(value: bigint): boolean {
    const key = value >> PAGE_BITS;
    const page = this.#pages.get(key);
    if (page === undefined) return false;
    const changed = this.#flip(page, Number(value & OFFSET_MASK), false);
    if (page.count === 0) this.#deletePage(key);
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

  /** As `nextClear`, for an address that is set. Costs one step per page that exists or is passed in `within`. */
  nextSet(within: RangeSet, from: bigint): bigint | undefined {
    for (const { page, base, start, end } of this.#overlaps(within)) {
      if (base + BigInt(end) < from) continue;
      const first = base + BigInt(start) < from ? Number(from - base) : start;
      for (let offset = first; offset <= end; offset++) {
        const word = wordAt(page, offset >>> 5) >>> (offset & 31);
        if (word === 0) offset |= 31;
        else if ((word & 1) !== 0) return base + BigInt(offset);
      }
    }
    return undefined;
  }

  /** How many addresses of `within` are set. Costs by the pages that exist, never by the size of `within`. */
  countIn(within: RangeSet): number {
    let count = 0;
    for (const { page, start, end } of this.#overlaps(within)) {
      if (end - start + 1 === PAGE_SIZE) {
        count += page.count;
        continue;
      }
      for (let byte = start >>> 3; byte <= end >>> 3; byte++) {
        count += bitsOf(byteAt(page, byte) & byteMask(byte, start, end));
      }
    }
    return count;
  }

  /**
   * The clear address of `within` that has so many clear ones below it; undefined if there are not so many.
   * Costs by the pages that exist, never by the size of `within`.
   */
  nthClear(within: RangeSet, index: bigint): bigint | undefined {
    let left = index;
    let i = 0;
    let from = within.ranges[0]?.first ?? 0n;
    // What lies between two pages that exist, or behind the last one, is clear as a whole.
    const passGap = (until: bigint): bigint | undefined => {
      for (; i < within.ranges.length; i++, from = within.ranges[i]?.first ?? 0n) {
        const last = within.ranges[i]?.last ?? 0n;
        const end = last < until ? last + 1n : until;
        if (end > from) {
          if (left < end - from) return from + left;
          left -= end - from;
          from = end;
        }
        if (last >= until) return undefined;
      }
      return undefined;
    };
    for (const { page, base, start, end } of this.#overlaps(within)) {
      const found = passGap(base + BigInt(start));
      if (found !== undefined) return found;
      from = base + BigInt(end) + 1n;
      const clear = BigInt(PAGE_SIZE - page.count);
      if (end - start + 1 === PAGE_SIZE && left >= clear) {
        left -= clear;
        continue;
      }
      for (let offset = start; offset <= end; offset++) {
        if ((wordAt(page, offset >>> 5) & (1 << (offset & 31))) !== 0) continue;
        if (left === 0n) return base + BigInt(offset);
        left--;
      }
    }
    return passGap(1n << 128n);
  }

  /**
   * The addresses of `within` as a plane: for each of its ranges the bytes that hold it, where address a is bit
   * a mod 8 of byte ⌊a/8⌋; bits outside the range are 0. `planeBytes` says how many bytes, and what it costs.
   */
  plane(within: RangeSet): Uint8Array {
    const plane = new Uint8Array(Number(planeBytes(within)));
    let at = 0;
    for (const { key, start, end } of chunks(within)) {
      const page = this.#pages.get(key);
      if (page !== undefined) {
        for (let byte = start >>> 3; byte <= end >>> 3; byte++) {
          plane[at + byte - (start >>> 3)] = byteAt(page, byte) & byteMask(byte, start, end);
        }
      }
      at += (end >>> 3) - (start >>> 3) + 1;
    }
    return plane;
  }

  /** Makes the addresses of `within` what the plane says; others stay. Bits outside its ranges count for nothing. */
  setPlane(within: RangeSet, plane: Uint8Array): void {
    let at = 0;
    for (const { key, start, end } of chunks(within)) {
      let page = this.#pages.get(key);
      for (let byte = start >>> 3; byte <= end >>> 3; byte++, at++) {
        const mask = byteMask(byte, start, end);
        const value = (plane[at] ?? 0) & mask;
        if (page === undefined) {
          if (value === 0) continue;
          page = this.#addPage(key);
        }
        const before = byteAt(page, byte);
        const after = (before & ~mask) | value;
        const shift = (byte & 3) * 8;
        page.words[byte >>> 2] = (wordAt(page, byte >>> 2) & ~(0xff << shift)) | (after << shift);
        page.count += bitsOf(after) - bitsOf(before);
        this.#count += bitsOf(after) - bitsOf(before);
      }
      if (page?.count === 0) this.#deletePage(key);
    }
  }

  #addPage(key: bigint): Page {
    const page = { words: new Uint32Array(PAGE_SIZE / 32), count: 0 };
    this.#pages.set(key, page);
    this.#inOrder = undefined;
    return page;
  }

  #deletePage(key: bigint): void {
    this.#pages.delete(key);
    this.#inOrder = undefined;
  }

  #pagesInOrder(): readonly { readonly base: bigint; readonly page: Page }[] {
    this.#inOrder ??= Array.from(this.#pages, ([key, page]) => ({ base: key << PAGE_BITS, page })).sort(
      (a, b) => (a.base < b.base ? -1 : 1),
    );
    return this.#inOrder;
  }

  /** What `within` and the pages that exist have in common, in ascending order: `start` and `end` are bits of the page. */
  *#overlaps(within: RangeSet): Generator<{ page: Page; base: bigint; start: number; end: number }> {
    for (const { base, page } of this.#pagesInOrder()) {
      const top = base + OFFSET_MASK;
      for (let i = within.seek(base); i < within.ranges.length; i++) {
        const range = within.ranges[i];
        if (range === undefined || range.first > top) break;
        const start = range.first > base ? Number(range.first - base) : 0;
        const end = range.last < top ? Number(range.last - base) : PAGE_SIZE - 1;
        yield { page, base, start, end };
      }
    }
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

/** How many bytes a plane of these ranges has: at most two more than an eighth of the addresses for each range. */
export function planeBytes(within: RangeSet): bigint {
  return within.ranges.reduce((sum, { first, last }) => sum + (last >> 3n) - (first >> 3n) + 1n, 0n);
}

/** The ranges cut at the pages' borders: `start` and `end` are bits of the page. */
function* chunks(within: RangeSet): Generator<{ key: bigint; start: number; end: number }> {
  for (const { first, last } of within.ranges) {
    for (let key = first >> PAGE_BITS; key <= last >> PAGE_BITS; key++) {
      const base = key << PAGE_BITS;
      const start = first > base ? Number(first - base) : 0;
      yield { key, start, end: last < base + OFFSET_MASK ? Number(last - base) : PAGE_SIZE - 1 };
    }
  }
}

/** Byte of a page that holds its bits 8·byte to 8·byte + 7. */
function byteAt(page: Page, byte: number): number {
  return (wordAt(page, byte >>> 2) >>> ((byte & 3) * 8)) & 0xff;
}

/** Those bits of the byte that lie between the bits `start` and `end` of the page. */
function byteMask(byte: number, start: number, end: number): number {
  const low = byte === start >>> 3 ? 0xff << (start & 7) : 0xff;
  const high = byte === end >>> 3 ? 0xff >>> (7 - (end & 7)) : 0xff;
  return low & high & 0xff;
}

/** How many bits of a byte are set. */
function bitsOf(byte: number): number {
  let count = 0;
  for (let rest = byte; rest !== 0; rest &= rest - 1) count++;
  return count;
}

function wordAt(page: Page, index: number): number {
  return page.words[index] ?? 0;
}
