/**
 * Where this agent's belief of each network comes from, and which pools it knows to be exhausted.
 *
 * - Hints come with the pools' status; one list serves every caller that waits for it.
 * - "Exhausted" is remembered for `EXHAUSTED_FOR_MS`, or until the agent's own release or the pool's next status.
 */

import type { Hint } from '../../crds/occupancy.ts';
import { ipReservations } from '../../crds/resources.ts';
import { type ReservationRow, reservationRowDecoder } from '../../crds/row.ts';
import { type Address, parseAddress } from '../../ipam/address.ts';
import type { Pool } from '../../ipam/pool.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { NetworkView } from './networkview.ts';

/** Milliseconds for which an exhausted pool is not looked at again. */
export const EXHAUSTED_FOR_MS = 3_000;

/** Milliseconds for one list. */
const LIST_TIMEOUT_MS = 10_000;

/**
 * Milliseconds that a hint is believed to be old when it arrives, at least and at most. Its own time is of another
 * machine's clock: within these bounds it is believed, and a clock that is off does little harm.
 */
const HINT_AGE_MS = { least: 1_000, most: 30_000 } as const;

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
  /** By pool: the last hint, which comes again with every status that has not changed it. */
  readonly #hints = new Map<string, Hint>();
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

  /** Believes the hint in a pool's status, unless it is known already. */
  learn(pool: Pool, hint: Hint | undefined): void {
    if (hint === undefined || this.#hints.get(pool.name) === hint) {
      return;
    }
    this.#hints.set(pool.name, hint);
    const { clock, own } = this.#options;
    const age = Math.min(Math.max(clock.now() - hint.time, HINT_AGE_MS.least), HINT_AGE_MS.most);
    this.view(pool.network).learnHint(pool, hint, clock.monotonic() - age, own(pool.network));
  }

  /** The pool is gone. */
  forgetPool(network: string, name: string): void {
    this.#hints.delete(name);
    this.#exhausted.delete(name);
    this.#views.get(network)?.forgetPool(name);
  }

  /**
   * Learns the truth by one Table list; callers that come while one is under way share it.
   * @param since a list that was begun after this monotonic time is new enough
   * @throws ApiError if the list fails; the belief is then unchanged.
   */
  async refresh(network: string, since: number = this.#options.clock.monotonic()): Promise<void> {
    const running = this.#lists.get(network);
    if (running !== undefined) {
      return running;
    }
    if (this.view(network).listedAt > since) {
      return;
    }
    const list = this.#list(network).finally(() => this.#lists.delete(network));
    this.#lists.set(network, list);
    return list;
  }

  async #list(network: string): Promise<void> {
    const { clock, own } = this.#options;
    const begun = clock.monotonic();
    const rows = await this.#rows(`spec.network=${network}`);
    this.view(network).learnList(rows, begun, own(network));
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

  /** Somebody else has the address. */
  taken(network: string, address: Address): void {
    this.view(network).noteTaken(address, this.#options.clock.monotonic());
  }

  /** Somebody else was first with an address that rests. */
  lost(network: string): void {
    this.view(network).resting.noteLost(this.#options.clock.monotonic());
  }

  /** The agent gave the address back and nothing is left of it. */
  freed(network: string, address: Address): void {
    this.view(network).noteFree(address, this.#options.clock.monotonic());
  }

  /** The agent gave the address back, and it rests. */
  released(network: string, address: Address): void {
    this.view(network).noteReleased(address, this.#options.clock.monotonic());
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
