/**
 * The Released addresses of one network, as this agent knows them: what to take when nothing else is free.
 *
 * - At random among those that a pool's hint names, else among those that have rested longest: agents would all race for
 *   the very oldest.
 * - While others are after the same ones, first what this agent released itself: they have hardly heard of it
 *   (docs/adr/0029).
 * - Each is given once; only a newer list, hint or release gives it again. Times are monotonic, in milliseconds.
 */
import type { Family } from '../../ipam/address.ts';
import type { AddressBitmap } from '../../ipam/bitmap.ts';
import { randomBelow } from '../../ipam/candidates.ts';
import type { Pool } from '../../ipam/pool.ts';
import type { Random } from '../../kube/clock.ts';

/** Taken at random among so many that have rested longest. */
const OLDEST_RELEASED = 64;
/** How long, after somebody else was first, the agent keeps to what it released itself. */
const CONTENDED_FOR_MS = 3_000;

/** What is kept for each family. */
interface Half {
  /** Of the last list and of the agent's own releases since, with the time it is from; the longest Released first. */
  known: Map<bigint, number>;
  /** What the agent itself released, and when; the first of them first. */
  readonly own: Map<bigint, number>;
}

const emptyHalf = (): Half => ({ known: new Map(), own: new Map() });

export class RestingAddresses {
  readonly #halves: Readonly<Record<Family, Half>> = { 4: emptyHalf(), 6: emptyHalf() };
  /** By pool: what a hint that is newer than the last list says is Released. */
  readonly #hinted = new Map<string, AddressBitmap>();
  #contendedUntil = Number.NEGATIVE_INFINITY;

  /** The agent itself has released it. */
  noteReleased(family: Family, value: bigint, now: number): void {
    // Anew, so that the oldest is always the first.
    this.forget(family, value);
    const { known, own } = this.#halves[family];
    known.set(value, now);
    own.set(value, now);
  }

  /** There is no such Released address, or no longer. */
  forget(family: Family, value: bigint): void {
    const { known, own } = this.#halves[family];
    known.delete(value);
    own.delete(value);
  }

  /** Somebody else was first with one that was taken from here. */
  noteLost(now: number): void {
    this.#contendedUntil = now + CONTENDED_FOR_MS;
  }

  /**
   * What a list of the network has; every hint is older.
   * @param listed the longest Released first
   * @param at when the list was begun: what the agent released later is newer
   */
  learnList(listed: Readonly<Record<Family, readonly bigint[]>>, at: number): void {
    this.#hinted.clear();
    for (const family of [4, 6] as const) {
      const half = this.#halves[family];
      const since = [...half.known].filter(([, released]) => released > at);
      half.known = new Map([...listed[family].map((value): [bigint, number] => [value, at]), ...since]);
      dropOld(half.own, at, (value) => !half.known.has(value));
    }
  }

  /** What a hint names of the pool's ranges. @param at when it was true */
  learnHint(pool: Pool, plane: AddressBitmap, at: number): void {
    const { known, own } = this.#halves[pool.family];
    const isOfPool = (value: bigint): boolean => pool.dynamic.contains(value);
    this.#hinted.set(pool.name, plane);
    dropOld(known, at, isOfPool);
    dropOld(own, at, (value) => isOfPool(value) && !plane.has(value));
  }

  /** Drops what is remembered of a pool that is gone. */
  forgetPool(name: string): void {
    this.#hinted.delete(name);
  }

  /** One of the pool's ranges to try, undefined if none is known. */
  take(pool: Pool, random: Random, now: number): bigint | undefined {
    const value =
      (now < this.#contendedUntil ? this.#firstOwn(pool) : undefined) ??
      this.#oneHinted(pool, random) ??
      this.#oneOfTheOldest(pool, random);
    if (value !== undefined) {
      this.#hinted.get(pool.name)?.clear(value);
      this.forget(pool.family, value);
    }
    return value;
  }

  #firstOwn({ dynamic, family }: Pool): bigint | undefined {
    for (const value of this.#halves[family].own.keys()) {
      if (dynamic.contains(value)) {
        return value;
      }
    }
    return undefined;
  }

  #oneHinted({ dynamic, name }: Pool, random: Random): bigint | undefined {
    const hinted = this.#hinted.get(name);
    if (hinted === undefined || hinted.count === 0) {
      return undefined;
    }
    const start = dynamic.at(randomBelow(dynamic.size, random));
    return hinted.nextSet(dynamic, start) ?? hinted.nextSet(dynamic, 0n);
  }

  #oneOfTheOldest({ dynamic, family }: Pool, random: Random): bigint | undefined {
    const oldest: bigint[] = [];
    for (const value of this.#halves[family].known.keys()) {
      if (oldest.length === OLDEST_RELEASED) {
        break;
      }
      if (dynamic.contains(value)) {
        oldest.push(value);
      }
    }
    return oldest[Math.floor(random() * oldest.length)];
  }
}

/** Forgets what is from that time or before, if it is meant. */
function dropOld(addresses: Map<bigint, number>, before: number, isMeant: (value: bigint) => boolean): void {
  for (const [value, at] of addresses) {
    if (at <= before && isMeant(value)) {
      addresses.delete(value);
    }
  }
}
