/**
 * How much of each pool is in use, kept up to date reservation by reservation.
 *
 * - A change costs by the number of pools in its network, never by the number of reservations.
 * - Only a pool whose ranges changed is counted anew.
 * - The answer is always what `poolCounts` of ipam would say of the same reservations (held by a property test).
 *
 * It does not know whether its input is up to date: that is the informer's matter.
 */

import type { IPReservationSpec } from '../crds/types.ts';
import { type Family, parseAddress } from '../ipam/address.ts';
import { AddressBitmap } from '../ipam/bitmap.ts';
import type { Pool } from '../ipam/pool.ts';

/** What is remembered of one network: bits, and the few that rest. There may be a quarter of a million in it. */
interface NetworkUse {
  readonly taken: Readonly<Record<Family, AddressBitmap>>;
  /** Name to address value of what is Released, in the order in which this process has seen it become so. */
  readonly released: Readonly<Record<Family, Map<string, bigint>>>;
}

/** At least so many of the addresses that rest longest are in a plane. */
const OLDEST_RELEASED = 64;

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

/** The addresses of a pool's ranges as planes of `AddressBitmap`. */
export interface Planes {
  readonly taken: Uint8Array;
  /** What is Released: the half that has been so for longest, and at least 64. */
  readonly released: Uint8Array;
}

interface Tally {
  pool: Pool | undefined;
  bound: number;
  held: number;
  released: number;
  taken: number;
  outside: number;
  changes: number;
  readonly waiting: Map<string, HeldEntry>;
}

const COUNTER = { Bound: 'bound', Held: 'held', Released: 'released' } as const;

export class UsageIndex {
  /** The store's own objects: a copy of each would double what they cost. */
  readonly #specs = new Map<string, IPReservationSpec>();
  readonly #networks = new Map<string, NetworkUse>();
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
    const entry = located(name, spec);
    const before = this.#specs.get(name);
    if (
      before !== undefined &&
      before.pool === spec.pool &&
      before.state === spec.state &&
      before.holder === spec.holder
    ) {
      this.#specs.set(name, spec);
      return;
    }
    this.delete(name);
    this.#specs.set(name, spec);
    this.#count(entry, 1);
  }

  /** Forgets a reservation; one that is not there is no change. */
  delete(name: string): void {
    const spec = this.#specs.get(name);
    if (spec === undefined) {
      return;
    }
    this.#specs.delete(name);
    this.#count(located(name, spec), -1);
    this.#forgetIfEmpty(spec.pool);
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
    tally.taken = this.#networks.get(pool.network)?.taken[pool.family].countIn(pool.dynamic) ?? 0;
    tally.outside = this.#outside(name, pool);
    tally.changes += 1;
  }

  /** The usage of a pool; zeros if it has none. `taken` and `outside` are 0 while its ranges are unknown. */
  usage(pool: string): Usage {
    const { bound, held, released, taken, outside } = this.#tallies.get(pool) ?? emptyTally();
    return { bound, held, released, taken, outside };
  }

  /** A number that grows with each change to what of the pool's ranges is taken or Released. */
  changes(pool: string): number {
    return this.#tallies.get(pool)?.changes ?? 0;
  }

  /** What of the pool's ranges is taken, and rests, in its network. Costs by their number: see `planeBytes`. */
  planes(name: string): Planes | undefined {
    const pool = this.#tallies.get(name)?.pool;
    if (pool === undefined) {
      return undefined;
    }
    const { taken, released } = this.#networks.get(pool.network) ?? emptyNetwork();
    const resting = [...released[pool.family].values()].filter((value) => pool.dynamic.contains(value));
    const oldest = new AddressBitmap();
    for (const value of resting.slice(0, Math.max(OLDEST_RELEASED, Math.ceil(resting.length / 2)))) {
      oldest.set(value);
    }
    return { taken: taken[pool.family].plane(pool.dynamic), released: oldest.plane(pool.dynamic) };
  }

  /** Held addresses of the pool that wait for a named holder, in no particular order. */
  waiting(pool: string): readonly HeldEntry[] {
    return [...(this.#tallies.get(pool)?.waiting.values() ?? [])];
  }

  /** Whether there is a Bound reservation of this name. */
  isBound(name: string): boolean {
    return this.#specs.get(name)?.state === 'Bound';
  }

  #count(entry: Located, by: 1 | -1): void {
    const { name, spec, value } = entry;
    this.#note(entry, by);
    const own = this.#tally(spec.pool);
    own[COUNTER[spec.state]] += by;
    if (spec.state === 'Held' && spec.holder !== undefined) {
      if (by === 1) {
        own.waiting.set(name, { holder: spec.holder, address: spec.address });
      } else {
        own.waiting.delete(name);
      }
    }
    if (own.pool !== undefined && !contains(own.pool, entry)) {
      own.outside += by;
    }
    this.#onChange(spec.pool);
    for (const other of this.#poolsOf.get(spec.network) ?? []) {
      const tally = this.#tally(other);
      const inRanges = tally.pool !== undefined && contains(tally.pool, entry);
      if (inRanges) {
        tally.taken += by;
        tally.changes += 1;
      }
      if (other !== spec.pool && (inRanges || tally.pool?.gateway?.value === value)) {
        this.#onChange(other);
      }
    }
  }

  /** Keeps the network's bits. */
  #note({ name, spec, family, value }: Located, by: 1 | -1): void {
    const { taken, released } = this.#network(spec.network);
    const isReleased = spec.state === 'Released';
    if (by === 1) {
      taken[family].set(value);
      if (isReleased) {
        released[family].set(name, value);
      }
      return;
    }
    taken[family].clear(value);
    released[family].delete(name);
    if (taken[4].count + taken[6].count === 0) {
      this.#networks.delete(spec.network);
    }
  }

  #network(name: string): NetworkUse {
    let network = this.#networks.get(name);
    if (network === undefined) {
      network = emptyNetwork();
      this.#networks.set(name, network);
    }
    return network;
  }

  #outside(name: string, pool: Pool): number {
    let count = 0;
    for (const [key, spec] of this.#specs) {
      if (spec.pool === name && !contains(pool, located(key, spec))) {
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
  return {
    pool: undefined,
    bound: 0,
    held: 0,
    released: 0,
    taken: 0,
    outside: 0,
    changes: 0,
    waiting: new Map(),
  };
}

function emptyNetwork(): NetworkUse {
  return {
    taken: { 4: new AddressBitmap(), 6: new AddressBitmap() },
    released: { 4: new Map(), 6: new Map() },
  };
}

/** A reservation and where it lies, worked out when it is needed: kept, it would cost more than the bits. */
interface Located {
  readonly name: string;
  readonly spec: IPReservationSpec;
  readonly family: Family;
  readonly value: bigint;
}

function located(name: string, spec: IPReservationSpec): Located {
  const { family, value } = parseAddress(spec.address);
  return { name, spec, family, value };
}

function contains(pool: Pool, entry: Located): boolean {
  return (
    pool.network === entry.spec.network && pool.family === entry.family && pool.dynamic.contains(entry.value)
  );
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
