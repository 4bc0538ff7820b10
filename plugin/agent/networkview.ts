/**
 * What this agent believes of the addresses of one network. A create or a guarded patch decides; the belief only says
 * what to try.
 *
 * It is made of, the newer over the older: the operator's hints, Table lists, what the agent met or did itself (a
 * conflict, a release), and what it has or is about to write, which is taken whatever anybody says. Times are of the
 * monotonic clock, in milliseconds.
 */
import type { Hint } from '../../crds/occupancy.ts';
import type { ReservationRow } from '../../crds/row.ts';
import { type Address, type Family, parseAddress } from '../../ipam/address.ts';
import { AddressBitmap } from '../../ipam/bitmap.ts';
import { IpamError } from '../../ipam/errors.ts';
import type { Pool } from '../../ipam/pool.ts';
import { RestingAddresses } from './resting.ts';

/** How long the agent's own observations are kept: no list and no hint is believed to be older. */
const NOTES_KEPT_MS = 60_000;

/** Reservations of one pool by state, as the last list had them. */
export interface StateCounts {
  readonly bound: number;
  readonly held: number;
  readonly released: number;
}

const NOTHING: StateCounts = { bound: 0, held: 0, released: 0 };

/** What the agent saw of one address, and when. */
interface Note {
  readonly isTaken: boolean;
  readonly at: number;
}

/** As a list has it. */
interface Released {
  readonly value: bigint;
  readonly since: string;
}

/** What is kept for each family. */
interface Half {
  taken: AddressBitmap;
  /** The last observation of each address, the oldest first. */
  readonly notes: Map<bigint, Note>;
}

const emptyHalf = (): Half => ({ taken: new AddressBitmap(), notes: new Map() });

export class NetworkView {
  readonly #halves: Readonly<Record<Family, Half>> = { 4: emptyHalf(), 6: emptyHalf() };
  /** What can be taken when nothing is free. */
  readonly resting: RestingAddresses = new RestingAddresses();
  #counts = new Map<string, StateCounts>();
  #listedAt = Number.NEGATIVE_INFINITY;

  /** When the last list was begun. */
  get listedAt(): number {
    return this.#listedAt;
  }

  /** What is believed taken. Whoever is about to write an address sets it. */
  taken(family: Family): AddressBitmap {
    return this.#halves[family].taken;
  }

  counts(pool: string): StateCounts {
    return this.#counts.get(pool) ?? NOTHING;
  }

  /** Somebody else has the address. */
  noteTaken(address: Address, now: number): void {
    this.#note(address, true, now);
  }

  /** The agent has seen that there is no reservation of the address any more. */
  noteFree(address: Address, now: number): void {
    this.#note(address, false, now);
  }

  /** The agent itself has made the reservation of the address a Released one. */
  noteReleased(address: Address, now: number): void {
    this.#note(address, true, now);
    this.resting.noteReleased(address.family, address.value, now);
  }

  #note({ family, value }: Address, isTaken: boolean, at: number): void {
    const { taken, notes } = this.#halves[family];
    this.resting.forget(family, value);
    for (const [old, note] of notes) {
      if (note.at > at - NOTES_KEPT_MS) {
        break;
      }
      notes.delete(old);
    }
    // Anew, so that the oldest is always the first.
    notes.delete(value);
    notes.set(value, { isTaken, at });
    apply(taken, value, isTaken);
  }

  /**
   * All reservations of the network as a list has them.
   * @param at when the list was begun: what the agent saw later is newer
   * @param own what the agent has, or is about to write
   */
  learnList(rows: readonly ReservationRow[], at: number, own: Iterable<string>): void {
    this.#listedAt = at;
    this.#counts = new Map();
    const released: Record<Family, Released[]> = { 4: [], 6: [] };
    for (const half of Object.values(this.#halves)) {
      half.taken = new AddressBitmap();
    }
    for (const row of rows) {
      const address = parseOrUndefined(row.address);
      if (address === undefined) {
        continue;
      }
      this.taken(address.family).set(address.value);
      this.#countRow(row);
      if (row.state === 'Released') {
        released[address.family].push({ value: address.value, since: row.since ?? '' });
      }
    }
    this.resting.learnList({ 4: longestFirst(released[4]), 6: longestFirst(released[6]) }, at);
    for (const half of Object.values(this.#halves)) {
      this.#applyNotes(half, at, () => true);
    }
    this.#applyOwn(own);
  }

  /**
   * What a hint says of the pool's ranges. One that is older than the last list says nothing.
   * @param at when it was true
   * @param own what the agent has, or is about to write
   */
  learnHint(pool: Pool, hint: Hint, at: number, own: Iterable<string>): void {
    if (at < this.#listedAt) {
      return;
    }
    const half = this.#halves[pool.family];
    half.taken.setPlane(pool.dynamic, hint.taken);
    const released = new AddressBitmap();
    released.setPlane(pool.dynamic, hint.released);
    this.resting.learnHint(pool, released, at);
    this.#applyNotes(half, at, (value) => pool.dynamic.contains(value));
    this.#applyOwn(own);
  }

  /** Drops what is remembered of a pool that is gone. */
  forgetPool(name: string): void {
    this.resting.forgetPool(name);
  }

  #countRow({ pool, state }: ReservationRow): void {
    const counts = this.counts(pool);
    this.#counts.set(pool, {
      bound: counts.bound + (state === 'Bound' ? 1 : 0),
      held: counts.held + (state === 'Held' ? 1 : 0),
      released: counts.released + (state === 'Released' ? 1 : 0),
    });
  }

  /** What the agent saw later counts more; what it saw before is superseded. */
  #applyNotes({ taken, notes }: Half, since: number, concerns: (value: bigint) => boolean): void {
    for (const [value, { isTaken, at }] of notes) {
      if (!concerns(value)) {
        continue;
      }
      if (at >= since) {
        apply(taken, value, isTaken);
      } else {
        notes.delete(value);
      }
    }
  }

  #applyOwn(own: Iterable<string>): void {
    for (const text of own) {
      const { family, value } = parseAddress(text);
      this.taken(family).set(value);
    }
  }
}

function longestFirst(released: readonly Released[]): bigint[] {
  return released
    .toSorted((a, b) => (a.since < b.since ? -1 : a.since > b.since ? 1 : 0))
    .map(({ value }) => value);
}

function apply(bitmap: AddressBitmap, value: bigint, isTaken: boolean): void {
  if (isTaken) {
    bitmap.set(value);
  } else {
    bitmap.clear(value);
  }
}

/** The schema refuses such an object; one that is older than the schema must not stop every ADD. */
function parseOrUndefined(text: string): Address | undefined {
  try {
    return parseAddress(text);
  } catch (error) {
    if (error instanceof IpamError) {
      return undefined;
    }
    throw error;
  }
}
