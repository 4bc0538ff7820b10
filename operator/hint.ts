/** When a pool's hint is worth what it costs: every agent receives each one. Pure. */

import { mayHaveHint } from '../crds/occupancy.ts';
import type { Pool } from '../ipam/pool.ts';
import type { Urgency } from './poolstatus.ts';
import type { Usage } from './usageindex.ts';

/** Milliseconds between two writes of a pool's status, at least, by how urgent the second one is. */
const APART_MS: Readonly<Record<Exclude<Urgency, 'never'>, number>> = { now: 0, soon: 1_000, later: 5_000 };
/** Milliseconds between two hints of a pool, at least. */
const HINTS_APART_MS = 1_000;
/** Bytes of pools that an agent receives in a second, on average, because of one pool. */
const BYTES_PER_SECOND = 1_024;

/**
 * Whether agents should be told which addresses are taken: of an Ascending pool always, as all of them want the same
 * address next; of any other from half full on, below which a guess is right more often than not; of a huge one never.
 */
export function wantsHint(pool: Pool, { taken }: Pick<Usage, 'taken'>): boolean {
  return (
    mayHaveHint(pool.dynamic) && (pool.allocation === 'Ascending' || BigInt(taken) * 2n >= pool.capacity)
  );
}

/** What decides how long a status write may wait. */
export interface Waiting {
  /** Of the status without its hint. */
  readonly urgency: Urgency;
  /** The hint there is, or its absence, is no longer right. */
  readonly hintChanged: boolean;
  /** What is left to give, and how much of the ranges has changed since the last hint. */
  readonly free: bigint;
  readonly capacity: bigint;
  readonly changes: number;
  /** Bytes of the pool as it was written last. */
  readonly bytes: number;
}

/** Milliseconds since the last status write after which the next one is due; undefined: there is nothing to write. */
export function dueAfter({ urgency, hintChanged, ...rest }: Waiting): number | undefined {
  const paced = (rest.bytes / BYTES_PER_SECOND) * 1_000;
  if (urgency === 'now' || urgency === 'soon') {
    return APART_MS[urgency];
  }
  if (hintChanged) {
    return lastAreAtStake(rest) ? HINTS_APART_MS : Math.max(HINTS_APART_MS, paced);
  }
  return urgency === 'later' ? Math.max(APART_MS.later, paced) : undefined;
}

/**
 * A twentieth is left, and a tenth of that has changed hands: agents now meet each other at every tenth try. In a pool
 * that is nearly full but still, nobody has to be told.
 */
function lastAreAtStake({
  free,
  capacity,
  changes,
}: Pick<Waiting, 'free' | 'capacity' | 'changes'>): boolean {
  return free * 20n <= capacity && BigInt(changes) * 10n >= free;
}
