/** Which free address to try next. A candidate is a guess: only the API server's answer makes it an address. */

import type { AddressBitmap } from './bitmap.ts';
import type { Pool } from './pool.ts';

/** Conflicts after which a search of an Ascending pool no longer insists on the very lowest. */
const CONFLICTS_BEFORE_SPREAD = 4;
/** How many clear addresses a contended search of an Ascending pool looks at, at most. */
const MAX_SPREAD = 256;

/**
 * Chooses candidates for one process.
 *
 * `Random`: a random clear address of the pool, and upward from there as long as the next one is clear; then another
 * random one. Processes that start at different places keep out of each other's way without talking to each other. Going
 * on behind what somebody else has taken would lead to the very place where he goes on.
 * `Ascending`: the lowest clear address; after several conflicts one a little above it, as everybody else wants the
 * same ones.
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
   * @param conflicts how many candidates of this search somebody else had taken first
   */
  next(
    pool: Pick<Pool, 'name' | 'dynamic' | 'allocation'>,
    taken: AddressBitmap,
    conflicts: number = 0,
  ): bigint | undefined {
    if (pool.dynamic.isEmpty) return undefined;
    if (pool.allocation === 'Ascending') return this.#ascending(pool, taken, conflicts);
    const cursor = this.#cursors.get(pool.name);
    const found =
      cursor !== undefined && pool.dynamic.contains(cursor) && !taken.has(cursor)
        ? cursor
        : this.#anywhere(pool, taken);
    if (found !== undefined) this.#cursors.set(pool.name, found + 1n);
    return found;
  }

  /** A clear address, each with the same probability; undefined if there is none. */
  #anywhere({ dynamic }: Pick<Pool, 'dynamic'>, taken: AddressBitmap): bigint | undefined {
    const clear = dynamic.size - BigInt(taken.countIn(dynamic));
    return clear === 0n ? undefined : taken.nthClear(dynamic, randomBelow(clear, this.#random));
  }

  #ascending(pool: Pick<Pool, 'dynamic'>, taken: AddressBitmap, conflicts: number): bigint | undefined {
    const lowest = taken.nextClear(pool.dynamic, 0n);
    if (conflicts < CONFLICTS_BEFORE_SPREAD) return lowest;
    // Twice as wide with each conflict: a few racers stay low, many spread out until they pass.
    const spread = Math.min(2 ** (conflicts - CONFLICTS_BEFORE_SPREAD + 1), MAX_SPREAD);
    let chosen = lowest;
    for (let skip = Math.floor(this.#random() * spread); skip > 0 && chosen !== undefined; skip--) {
      chosen = taken.nextClear(pool.dynamic, chosen + 1n);
    }
    return chosen ?? lowest;
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
