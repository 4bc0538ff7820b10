/** How full a pool is. */

import type { Address } from './address.ts';
import type { Pool } from './pool.ts';
import type { ReservationState } from './reservation.ts';

/** What counting needs of a reservation. */
export interface CountedReservation {
  readonly address: Address;
  readonly pool: string;
  readonly state: ReservationState;
}

/**
 * `capacity`: usable addresses of the pool's ranges. `bound`, `held`, `released`: reservations that name the pool, also
 * those outside its ranges. `free`: usable addresses of its ranges with no reservation in the network, whichever pool
 * that names. They need not add up.
 */
export interface PoolCounts {
  readonly capacity: bigint;
  readonly bound: bigint;
  readonly held: bigint;
  readonly released: bigint;
  readonly free: bigint;
}

/**
 * Counts one pool.
 * @param reservations all of the pool's network, of both families, each address once
 */
export function poolCounts(
  pool: Pick<Pool, 'name' | 'family' | 'dynamic' | 'capacity'>,
  reservations: Iterable<CountedReservation>,
): PoolCounts {
  const states = { Bound: 0, Held: 0, Released: 0 };
  let taken = 0;
  for (const { address, pool: poolName, state } of reservations) {
    if (poolName === pool.name) states[state]++;
    if (address.family === pool.family && pool.dynamic.contains(address.value)) taken++;
  }
  return {
    capacity: pool.capacity,
    bound: BigInt(states.Bound),
    held: BigInt(states.Held),
    released: BigInt(states.Released),
    free: pool.capacity - BigInt(taken),
  };
}

/** True if the pool has nothing to give: no free address, and no released one to take instead. */
export function isExhausted(counts: PoolCounts): boolean {
  return counts.free === 0n && counts.released === 0n;
}
