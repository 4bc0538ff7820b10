/**
 * How much of each pool is in use, kept up to date reservation by reservation.
 *
 * - A change costs by the number of pools in its network, never by the number of reservations.
 * - Only a pool whose ranges changed is counted anew, over its network.
 * - The answer is always what `poolCounts` of ipam would say of the same reservations (held by a property test).
 *
 * It does not know whether its input is up to date: that is the informer's matter.
 */

import type { IPReservationSpec } from '../crds/types.ts';
import { parseAddress } from '../ipam/address.ts';
import type { Pool } from '../ipam/pool.ts';

interface Entry {
  readonly network: string;
  readonly family: 4 | 6;
  readonly value: bigint;
  readonly address: string;
  readonly pool: string;
  readonly state: IPReservationSpec['state'];
  readonly holder: string | undefined;
}

export interface HeldEntry {
  readonly holder: string;
  readonly address: string;
}

/** Counts of one pool. */
export interface Usage {
  /** Reservations by `spec.pool` and state, wherever their addresses lie. */
  readonly bound: number;
  readonly held: number;
  readonly released: number;
  /** Addresses of the pool's ranges that have a reservation of any pool of the network. */
  readonly taken: number;
  /** Reservations of the pool, of any state, whose address is not in its ranges. */
  readonly outside: number;
}

interface Tally {
  pool: Pool | undefined;
  bound: number;
  held: number;
  released: number;
  taken: number;
  outside: number;
  readonly waiting: Map<string, HeldEntry>;
}

const COUNTER = { Bound: 'bound', Held: 'held', Released: 'released' } as const;

export class UsageIndex {
  readonly #entries = new Map<string, Entry>();
  readonly #networks = new Map<string, Set<string>>();
  readonly #tallies = new Map<string, Tally>();
  readonly #poolsOf = new Map<string, Set<string>>();
  readonly #onChange: (pool: string) => void;

  /** @param onChange called with the name of a pool whose usage may have changed, once or more for each change */
  constructor(onChange: (pool: string) => void) {
    this.#onChange = onChange;
  }

  /**
   * Adds a reservation or replaces the one of this name.
   * @throws IpamError if the address does not parse; nothing is changed then
   */
  put(name: string, spec: IPReservationSpec): void {
    const { family, value } = parseAddress(spec.address);
    const { network, address, pool, state, holder } = spec;
    const before = this.#entries.get(name);
    if (before !== undefined && before.pool === pool && before.state === state && before.holder === holder) {
      return;
    }
    this.delete(name);
    const entry: Entry = { network, family, value, address, pool, state, holder };
    this.#entries.set(name, entry);
    memberOf(this.#networks, network).add(name);
    this.#count(name, entry, 1);
  }

  /** Forgets a reservation; one that is not there is no change. */
  delete(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) {
      return;
    }
    this.#entries.delete(name);
    dropMember(this.#networks, entry.network, name);
    this.#count(name, entry, -1);
    this.#forgetIfEmpty(entry.pool);
  }

  /** Tells the pool's ranges; undefined: there is no such pool, or its spec cannot be compiled. Does not call onChange. */
  setPool(name: string, pool: Pool | undefined): void {
    const tally = this.#tally(name);
    if (tally.pool !== undefined) {
      dropMember(this.#poolsOf, tally.pool.network, name);
    }
    tally.pool = pool;
    tally.taken = 0;
    tally.outside = 0;
    if (pool === undefined) {
      this.#forgetIfEmpty(name);
      return;
    }
    memberOf(this.#poolsOf, pool.network).add(name);
    for (const key of this.#networks.get(pool.network) ?? []) {
      const entry = this.#entries.get(key);
      if (entry !== undefined && contains(pool, entry)) {
        tally.taken += 1;
      }
    }
    tally.outside = this.#outside(name, pool);
  }

  /** The usage of a pool; zeros if it has none. `taken` and `outside` are 0 while its ranges are unknown. */
  usage(pool: string): Usage {
    const { bound, held, released, taken, outside } = this.#tallies.get(pool) ?? emptyTally();
    return { bound, held, released, taken, outside };
  }

  /** Held addresses of the pool that wait for a named holder, in no particular order. */
  waiting(pool: string): readonly HeldEntry[] {
    return [...(this.#tallies.get(pool)?.waiting.values() ?? [])];
  }

  /** Whether there is a Bound reservation of this name. */
  isBound(name: string): boolean {
    return this.#entries.get(name)?.state === 'Bound';
  }

  #count(name: string, entry: Entry, by: 1 | -1): void {
    const own = this.#tally(entry.pool);
    own[COUNTER[entry.state]] += by;
    if (entry.state === 'Held' && entry.holder !== undefined) {
      if (by === 1) {
        own.waiting.set(name, { holder: entry.holder, address: entry.address });
      } else {
        own.waiting.delete(name);
      }
    }
    if (own.pool !== undefined && !contains(own.pool, entry)) {
      own.outside += by;
    }
    this.#onChange(entry.pool);
    for (const other of this.#poolsOf.get(entry.network) ?? []) {
      const tally = this.#tally(other);
      const inRanges = tally.pool !== undefined && contains(tally.pool, entry);
      if (inRanges) {
        tally.taken += by;
      }
      if (other !== entry.pool && (inRanges || tally.pool?.gateway?.value === entry.value)) {
        this.#onChange(other);
      }
    }
  }

  #outside(name: string, pool: Pool): number {
    let count = 0;
    for (const entry of this.#entries.values()) {
      if (entry.pool === name && !contains(pool, entry)) {
        count += 1;
      }
    }
    return count;
  }

  #tally(pool: string): Tally {
    let tally = this.#tallies.get(pool);
    if (tally === undefined) {
      tally = emptyTally();
      this.#tallies.set(pool, tally);
    }
    return tally;
  }

  #forgetIfEmpty(pool: string): void {
    const tally = this.#tallies.get(pool);
    if (tally !== undefined && tally.pool === undefined && tally.bound + tally.held + tally.released === 0) {
      this.#tallies.delete(pool);
    }
  }
}

function emptyTally(): Tally {
  return { pool: undefined, bound: 0, held: 0, released: 0, taken: 0, outside: 0, waiting: new Map() };
}

function contains(pool: Pool, entry: Entry): boolean {
  return pool.network === entry.network && pool.family === entry.family && pool.dynamic.contains(entry.value);
}

function memberOf(sets: Map<string, Set<string>>, key: string): Set<string> {
  let set = sets.get(key);
  if (set === undefined) {
    set = new Set();
    sets.set(key, set);
  }
  return set;
}

function dropMember(sets: Map<string, Set<string>>, key: string, member: string): void {
  const set = sets.get(key);
  set?.delete(member);
  if (set?.size === 0) {
    sets.delete(key);
  }
}
