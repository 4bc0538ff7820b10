/**
 * Makes released addresses free when their cooldown is over.
 *
 * Timed from when this process first saw the reservation Released, on its own clock: `since` comes from a node whose
 * clock may be off. After a restart an address rests once more, which is safe. The delete is guarded by uid and
 * resourceVersion, so an address that somebody has taken in the meantime is never deleted.
 */

import { ipReservations } from '../crds/resources.ts';
import type { IPReservation } from '../crds/types.ts';
import { cooldownOver } from '../ipam/reservation.ts';
import type { Api } from '../kube/api.ts';
import type { Clock } from '../kube/clock.ts';
import type { Outcome } from '../kube/controller.ts';
import { isApiError } from '../kube/errors.ts';
import type { Log } from '../kube/log.ts';
import type { RateLimiter } from '../kube/ratelimiter.ts';
import type { ReadonlyStore } from '../kube/store.ts';
import type { OperatorMetrics } from './metrics.ts';

export interface SweepOptions {
  readonly api: Pick<Api, 'delete'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly reservations: ReadonlyStore<IPReservation>;
  /** Milliseconds that addresses of a pool rest; 0 for a pool that is gone. Asked only when `synced`. */
  readonly cooldownOf: (pool: string) => number;
  /** Whether reservations and pools have been read: before, a pool that is not there is no pool that is gone. */
  readonly synced: () => boolean;
  /** How many are deleted a second. */
  readonly limiter: RateLimiter;
  /** Log, and delete nothing. */
  readonly dryRun: boolean;
  readonly metrics: Pick<OperatorMetrics, 'released'>;
}

/** How long to wait for caches that are not there yet. */
const NOT_SYNCED_MS = 1_000;

interface Seen {
  /** Which release it was; another one rests anew. */
  readonly release: string;
  /** When it was first seen, on the clock's monotonic scale. */
  readonly at: number;
  /** A dry run has said that it would become free. */
  told: boolean;
}

export class SweepReconciler {
  readonly #options: SweepOptions;
  readonly #seen = new Map<string, Seen>();

  constructor(options: SweepOptions) {
    this.#options = options;
  }

  /** Notes a state of a reservation; call it for every one that the watch brings. Returns whether to reconcile it. */
  observe(reservation: IPReservation): boolean {
    const name = reservation.metadata.name ?? '';
    if (reservation.spec.state !== 'Released') {
      this.#seen.delete(name);
      return false;
    }
    this.#firstSeen(name, reservation);
    return true;
  }

  /** Forgets a reservation that is gone. */
  forget(name: string): void {
    this.#seen.delete(name);
  }

  /**
   * Deletes the reservation if its cooldown is over, else comes back when it will be.
   * @throws ApiError of the delete; it is tried again with backoff
   */
  async reconcile(name: string, signal: AbortSignal): Promise<Outcome> {
    const { api, clock, cooldownOf, dryRun, limiter, log, metrics, reservations, synced } = this.#options;
    if (!synced()) {
      return { type: 'requeueAfter', ms: NOT_SYNCED_MS };
    }
    const reservation = reservations.get(name);
    if (reservation?.spec.state !== 'Released') {
      this.#seen.delete(name);
      return { type: 'done' };
    }
    const { pool, address } = reservation.spec;
    const cooldownMs = cooldownOf(pool);
    const seen = this.#firstSeen(name, reservation);
    const now = clock.monotonic();
    if (!cooldownOver(reservation.spec, cooldownMs, seen.at, now)) {
      return { type: 'requeueAfter', ms: seen.at + cooldownMs - now };
    }
    const fields = { reservation: name, pool, address, cooldownMs };
    if (dryRun) {
      if (!seen.told) {
        log.info(fields, 'dry run: this released address would become free');
      }
      seen.told = true;
      return { type: 'done' };
    }
    const { uid, resourceVersion } = reservation.metadata;
    if (uid === undefined || resourceVersion === undefined) {
      return { type: 'terminal', reason: 'the reservation has no uid or resourceVersion: no safe delete' };
    }
    await limiter.take(signal);
    try {
      await api.delete(ipReservations, { name }, { preconditions: { uid, resourceVersion }, signal });
    } catch (error) {
      if (isApiError(error, 'NotFound', 'Conflict')) {
        // Taken or removed by somebody else: what is there now comes by the watch.
        log.debug({ ...fields, error: error.message }, 'the released reservation has changed: not deleted');
        return { type: 'done' };
      }
      throw error;
    }
    log.debug(fields, 'cooldown over: the address is free');
    metrics.released.inc({ reason: 'CooldownOver' });
    this.#seen.delete(name);
    return { type: 'done' };
  }

  #firstSeen(name: string, { metadata, spec }: IPReservation): Seen {
    const release = JSON.stringify([metadata.uid, spec.since, spec.owner?.containerID, spec.owner?.ifname]);
    const known = this.#seen.get(name);
    if (known?.release === release) {
      return known;
    }
    const seen: Seen = { release, at: this.#options.clock.monotonic(), told: false };
    this.#seen.set(name, seen);
    return seen;
  }
}
