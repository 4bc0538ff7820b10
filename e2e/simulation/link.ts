/** The way between one place and the API server, and what may go wrong on it. */

import { isMutating } from '../../kube/apistatus.ts';
import { ApiError } from '../../kube/errors.ts';
import type { MemoryApi, MemoryCall } from '../../kube/memory.ts';

/**
 * - `unreachable`: not sent.
 * - `throttled`: 429 with Retry-After; not done.
 * - `conflict`: 409 for a write that changes something that is there; not done.
 * - `touched`: a person labels the object just before, so that its resourceVersion is another one.
 * - `failed`: 500, and not done.
 * - `unanswered`: done, and the answer is lost.
 * - `late`: done up to a minute later, when the caller has long given up.
 */
export type Effect = 'unreachable' | 'throttled' | 'conflict' | 'touched' | 'failed' | 'unanswered' | 'late';

export const EFFECTS: readonly Effect[] = [
  'unreachable',
  'throttled',
  'conflict',
  'touched',
  'failed',
  'unanswered',
  'late',
];

/** Happens to the call that follows `skip` others that it would fit. */
export interface CallFault {
  readonly effect: Effect;
  skip: number;
}

interface OpenWatch {
  readonly abort: (reason: unknown) => void;
}

export class Link {
  readonly name: string;
  isAway = false;
  /** Serves lists and watches of whole collections in the API server's stead: it is behind. */
  replica: MemoryApi | undefined;
  /** By plural (or "all"), the true time until which nothing comes through the watches. */
  readonly #stalledUntil = new Map<string, number>();
  /** True time until which calls fail at random, at this rate. */
  storm: { until: number; rate: number } = { until: 0, rate: 0 };
  readonly faults: CallFault[] = [];
  readonly watches: Set<OpenWatch> = new Set();

  constructor(name: string) {
    this.name = name;
  }

  /** What happens to this call. */
  faultOf(call: MemoryCall, now: number, roll: () => number): Effect | undefined {
    for (const [index, fault] of this.faults.entries()) {
      if (!fits(fault.effect, call)) continue;
      if (fault.skip === 0) {
        this.faults.splice(index, 1);
        return fault.effect;
      }
      fault.skip -= 1;
    }
    if (now >= this.storm.until || roll() >= this.storm.rate) return undefined;
    const effect = EFFECTS[Math.floor(roll() * EFFECTS.length)];
    return effect !== undefined && fits(effect, call) ? effect : 'unreachable';
  }

  /** @param of a plural, or "all" */
  stall(of: string, until: number): void {
    this.#stalledUntil.set(of, Math.max(until, this.#stalledUntil.get(of) ?? 0));
  }

  /** True if nothing comes through the watch of a resource. */
  isStalled(plural: string, now: number): boolean {
    return this.isAway || [plural, 'all'].some((of) => (this.#stalledUntil.get(of) ?? 0) > now);
  }

  /** Every connection breaks. */
  breakWatches(): void {
    for (const watch of this.watches) watch.abort(new ApiError('Unreachable', 'watch: connection lost'));
  }

  /** Everything is well again. */
  heal(): void {
    this.isAway = false;
    if (this.replica !== undefined) {
      this.replica = undefined;
      this.breakWatches();
    }
    this.#stalledUntil.clear();
    this.storm = { until: 0, rate: 0 };
    this.faults.length = 0;
  }
}

function fits(effect: Effect, { verb }: MemoryCall): boolean {
  switch (effect) {
    case 'unreachable':
    case 'throttled':
      return true;
    case 'conflict':
    case 'touched':
      return verb === 'patch' || verb === 'delete' || verb === 'update';
    case 'failed':
    case 'unanswered':
    case 'late':
      return isMutating(verb);
  }
}
