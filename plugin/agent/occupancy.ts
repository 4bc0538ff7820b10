/**
 * What this agent believes of the addresses of each network: which are taken, and which are exhausted pools.
 *
 * - Belief is made of what the agent did itself, of the conflicts that it met and of Table lists. It may be stale
 *   in both directions; a create decides.
 * - One list serves every caller that waits for it.
 * - "Exhausted" is remembered for `EXHAUSTED_FOR_MS`, or until the agent's own release or the pool's next status.
 */

import { ipReservations } from '../../crds/resources.ts';
import { type ReservationRow, reservationRowDecoder } from '../../crds/row.ts';
import { type Address, type Family, parseAddress } from '../../ipam/address.ts';
import { AddressBitmap } from '../../ipam/bitmap.ts';
import { IpamError } from '../../ipam/errors.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';

/** Milliseconds for which an exhausted pool is not looked at again. */
export const EXHAUSTED_FOR_MS = 3_000;

/** Milliseconds for one list. */
const LIST_TIMEOUT_MS = 10_000;

/** A Released reservation, as the last list had it. */
export interface ReleasedAddress {
  readonly name: string;
  readonly address: Address;
  readonly since: string;
}

/** Reservations of one pool by state, as the last list had them. */
export interface StateCounts {
  readonly bound: number;
  readonly held: number;
  readonly released: number;
}

const NOTHING: StateCounts = { bound: 0, held: 0, released: 0 };

/** The belief about one network. */
export class NetworkView {
  readonly #taken: Record<Family, AddressBitmap> = { 4: new AddressBitmap(), 6: new AddressBitmap() };
  /** By family, oldest first. */
  released: Record<Family, ReleasedAddress[]> = { 4: [], 6: [] };
  #counts = new Map<string, StateCounts>();

  taken(family: Family): AddressBitmap {
    return this.#taken[family];
  }

  counts(pool: string): StateCounts {
    return this.#counts.get(pool) ?? NOTHING;
  }

  /** Replaces the belief by a list and by what the agent itself holds or is about to write. */
  replace(rows: readonly ReservationRow[], own: Iterable<string>): void {
    this.#taken[4] = new AddressBitmap();
    this.#taken[6] = new AddressBitmap();
    this.released = { 4: [], 6: [] };
    this.#counts = new Map();
    for (const row of rows) {
      const address = parseOrUndefined(row.address);
      if (address === undefined) {
        continue;
      }
      this.#taken[address.family].set(address.value);
      const counts = this.#counts.get(row.pool) ?? NOTHING;
      this.#counts.set(row.pool, {
        bound: counts.bound + (row.state === 'Bound' ? 1 : 0),
        held: counts.held + (row.state === 'Held' ? 1 : 0),
        released: counts.released + (row.state === 'Released' ? 1 : 0),
      });
      if (row.state === 'Released') {
        this.released[address.family].push({ name: row.name, address, since: row.since ?? '' });
      }
    }
    for (const family of [4, 6] as const) {
      this.released[family].sort((a, b) => (a.since < b.since ? -1 : a.since > b.since ? 1 : 0));
    }
    for (const text of own) {
      const address = parseAddress(text);
      this.#taken[address.family].set(address.value);
    }
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

export interface OccupancyOptions {
  readonly api: Api;
  readonly clock: Clock;
  /** Addresses of the network that the agent holds or is about to write: no list may unmark them. */
  readonly own: (network: string) => Iterable<string>;
}

export class Occupancy {
  readonly #options: OccupancyOptions;
  readonly #views = new Map<string, NetworkView>();
  readonly #lists = new Map<string, Promise<void>>();
  /** Pool name to the monotonic time until which it counts as exhausted. */
  readonly #exhausted = new Map<string, number>();

  constructor(options: OccupancyOptions) {
    this.#options = options;
  }

  view(network: string): NetworkView {
    let view = this.#views.get(network);
    if (view === undefined) {
      view = new NetworkView();
      for (const text of this.#options.own(network)) {
        const { family, value } = parseAddress(text);
        view.taken(family).set(value);
      }
      this.#views.set(network, view);
    }
    return view;
  }

  /**
   * Learns the truth by one Table list; callers that come while one is under way share it.
   * @throws ApiError if the list fails; the belief is then unchanged.
   */
  async refresh(network: string): Promise<void> {
    const running = this.#lists.get(network);
    if (running !== undefined) {
      return running;
    }
    const list = this.#list(network).finally(() => this.#lists.delete(network));
    this.#lists.set(network, list);
    return list;
  }

  async #list(network: string): Promise<void> {
    const rows = await this.#rows(`spec.network=${network}`);
    this.view(network).replace(rows, this.#options.own(network));
  }

  /**
   * The Held reservations that wait for this holder, in any network.
   * @throws ApiError if the list fails
   */
  async heldFor(holder: string): Promise<ReservationRow[]> {
    return (await this.#rows(`spec.holder=${holder}`)).filter((row) => row.state === 'Held');
  }

  async #rows(fieldSelector: string): Promise<ReservationRow[]> {
    const { columns, rows } = await this.#options.api.listTable(ipReservations, {
      fieldSelector,
      timeoutMs: LIST_TIMEOUT_MS,
    });
    return rows.map(reservationRowDecoder(columns));
  }

  /** The agent gave the address back and nothing is left of it. */
  freed(network: string, address: Address): void {
    this.view(network).taken(address.family).clear(address.value);
  }

  /** An address of the pool was given back, or its status changed: look again at the next ADD. */
  forgetExhausted(pool: string): void {
    this.#exhausted.delete(pool);
  }

  rememberExhausted(pool: string): void {
    this.#exhausted.set(pool, this.#options.clock.monotonic() + EXHAUSTED_FOR_MS);
  }

  isExhausted(pool: string): boolean {
    const until = this.#exhausted.get(pool);
    if (until === undefined) {
      return false;
    }
    if (this.#options.clock.monotonic() < until) {
      return true;
    }
    this.#exhausted.delete(pool);
    return false;
  }
}
