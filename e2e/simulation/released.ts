/** Whether a released address rests for its pool's cooldown, unless an ADD takes it. */
import type { IPPool, IPReservation } from '../../crds/types.ts';
import { parseDuration } from '../../ipam/duration.ts';

interface Released {
  readonly at: number;
  readonly pool: string;
}

export class ReleasedAddresses {
  /** By the reservation's UID. */
  readonly #released = new Map<string, Released>();
  /** By pool: how often it was made. */
  readonly #made = new Map<string, number>();

  /**
   * A pool that was deleted and made again is none to an operator that is behind, for as long as that is: nothing rests for
   * it, and nothing is promised.
   */
  poolMade(name: string): void {
    this.#made.set(name, (this.#made.get(name) ?? 0) + 1);
  }

  /** The API server has gone back to an older state: for how long these have rested, nobody knows. */
  restored(all: readonly IPReservation[]): void {
    this.#released.clear();
    for (const [uid, { spec }] of inRest(all)) {
      this.#released.set(uid, { at: Number.NEGATIVE_INFINITY, pool: spec.pool });
    }
  }

  /** @returns a line for each address that was free too early */
  look(all: readonly IPReservation[], pools: readonly IPPool[], now: number): string[] {
    const released = inRest(all);
    const present = new Set(all.map(({ metadata }) => metadata.uid ?? ''));
    const early: string[] = [];
    for (const [uid, { at, pool }] of this.#released) {
      if (released.has(uid)) continue;
      this.#released.delete(uid);
      const ms = Math.round(now - at);
      if (!present.has(uid) && ms < this.#cooldownOf(pool, pools)) {
        early.push(`a released address of ${pool} was free ${ms} ms later`);
      }
    }
    for (const [uid, { spec }] of released) {
      if (!this.#released.has(uid)) this.#released.set(uid, { at: now, pool: spec.pool });
    }
    return early;
  }

  /** Milliseconds. */
  #cooldownOf(name: string, pools: readonly IPPool[]): number {
    const pool = pools.find(({ metadata }) => metadata.name === name);
    const isFirst = (this.#made.get(name) ?? 0) <= 1;
    return pool !== undefined && isFirst ? parseDuration(pool.spec.cooldown ?? '30s') : 0;
  }
}

function inRest(all: readonly IPReservation[]): Map<string, IPReservation> {
  const released = all.filter(({ spec }) => spec.state === 'Released');
  return new Map(released.map((each) => [each.metadata.uid ?? '', each]));
}
