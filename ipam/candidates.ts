/** Which free address to try next. A candidate is a guess: only the API server's answer makes it an address. */

import type { AddressBitmap } from './bitmap.ts';
import type { Pool } from './pool.ts';

/**
 * Chooses candidates for one process.
 *
 * `Random`: one random start per pool, upward from there and around; each call continues after the address given
 * last. Processes that start at different places keep out of each other's way without talking to each other.
 * `Ascending`: the lowest clear address.
 */
export class Candidates {
  readonly #random: () => number;
  /** By pool name: the address value to continue at. Absent: roll a new start. */
  readonly #cursors = new Map<string, bigint>();

  /** `random` is uniform in [0, 1). */
  constructor(random: () => number) {
    this.#random = random;
  }

  /**
   * The next address to try, one that `taken` does not have; undefined only if every address of the pool's ranges is
   * taken. The caller sets in `taken` what it tries, or two callers may be given the same.
   */
  next(pool: Pick<Pool, 'name' | 'dynamic' | 'allocation'>, taken: AddressBitmap): bigint | undefined {
    if (pool.dynamic.isEmpty) return undefined;
    if (pool.allocation === 'Ascending') return taken.nextClear(pool.dynamic, 0n);
    const start =
      this.#cursors.get(pool.name) ?? pool.dynamic.at(randomBelow(pool.dynamic.size, this.#random));
    const found = taken.nextClear(pool.dynamic, start) ?? taken.nextClear(pool.dynamic, 0n);
    // Kept also when nothing was found: a start is rolled once, however often a full pool is asked.
    this.#cursors.set(pool.name, found === undefined ? start : found + 1n);
    return found;
  }

  /** Continue this pool at a new random place: after a conflict, where somebody else is at work. */
  jump(poolName: string): void {
    this.#cursors.delete(poolName);
  }

  /** Drops what is remembered of a pool that is gone. */
  forget(poolName: string): void {
    this.#cursors.delete(poolName);
  }
}

/** Uniform in 0 ≤ n < limit, for limits up to 2^128; the bias of large ones is below 2^-32. */
export function randomBelow(limit: bigint, random: () => number): bigint {
  // In doubles floor(random * limit) < limit holds for every integer limit that a double represents exactly.
  if (limit <= BigInt(Number.MAX_SAFE_INTEGER)) return BigInt(Math.floor(random() * Number(limit)));
  const width = limit.toString(2).length + 32;
  let value = 0n;
  let bits = 0;
  for (; bits < width; bits += 32) value = (value << 32n) | BigInt(Math.floor(random() * 2 ** 32));
  return (value * limit) >> BigInt(bits);
}
