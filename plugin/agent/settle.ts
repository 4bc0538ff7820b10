/**
 * Writing one reservation so that the outcome is known, or known to be unknown.
 *
 * A write that timed out may still commit later. So the same name is written again until the API server says
 * "done" or "somebody else's"; another candidate is never tried meanwhile, and a name whose outcome stays unknown
 * goes on the doubt list (docs/adr/0008).
 */

import { ipReservations } from '../../crds/resources.ts';
import type { IPReservation } from '../../crds/types.ts';
import { isOwnedBy } from '../../ipam/reservation.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock, Random } from '../../kube/clock.ts';
import { isApiError, retryAfterOf } from '../../kube/errors.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, messageOf } from './errors.ts';
import type { Intent } from './state.ts';

/** Milliseconds for which an ADD waits for an API server that cannot be reached. */
const UNREACHABLE_PATIENCE_MS = 5_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;
/** Milliseconds for one write; the ADD's own deadline may end it sooner. */
const WRITE_TIMEOUT_MS = 10_000;
/** Milliseconds for one read. */
const READ_TIMEOUT_MS = 5_000;

/** What one ADD carries along. */
export interface AddContext {
  /** Monotonic time after which nothing new is begun. */
  readonly deadline: number;
  /**
   * Names of which some write may have happened, or may happen yet, although nobody said so. A name stays here when a
   * later write of it is answered: the earlier one may still commit once that reservation is gone again.
   */
  readonly doubts: Set<string>;
}

export interface SettlerOptions {
  readonly api: Api;
  readonly clock: Clock;
  readonly random: Random;
}

export class Settler {
  readonly #options: SettlerOptions;

  constructor(options: SettlerOptions) {
    this.#options = options;
  }

  /**
   * The reservation as it is now; undefined if there is none.
   * @throws ApiError if the API does not answer
   */
  async look(name: string): Promise<IPReservation | undefined> {
    try {
      return await this.#options.api.get(ipReservations, { name }, { timeoutMs: READ_TIMEOUT_MS });
    } catch (error) {
      if (isApiError(error, 'NotFound')) {
        return undefined;
      }
      throw error;
    }
  }

  /**
   * Sends the write of an intent until its outcome is known.
   * @returns the reservation, now the intent's own; undefined if somebody else was first
   * @throws CniError 11 if that cannot be found out in time; the name is then in `context.doubts` if it may have
   *   been written
   */
  async write(
    intent: Intent,
    context: AddContext,
    send: (timeoutMs: number) => Promise<IPReservation>,
  ): Promise<IPReservation | undefined> {
    const { clock } = this.#options;
    const start = clock.monotonic();
    let pause = FIRST_PAUSE_MS;
    let failure: unknown;
    let wait = 0;
    while (true) {
      const now = clock.monotonic();
      const patience = isApiError(failure, 'Unreachable') ? start + UNREACHABLE_PATIENCE_MS : Infinity;
      if (now + wait >= Math.min(patience, context.deadline)) {
        throw new CniError(
          ErrorCode.tryAgainLater,
          `address ${intent.address} of pool ${intent.pool} can not be claimed now: ${messageOf(failure ?? 'there is no time left for it')}`,
          'the API server is away or overloaded; the runtime will try again',
          failure,
        );
      }
      if (wait > 0) {
        await clock.sleep(wait);
      }
      const attempt = await this.#attempt(intent, context, send);
      if ('settled' in attempt) {
        return attempt.settled;
      }
      ({ failure } = attempt);
      // On top of what the server asks for: all who were turned away at the same time must not come back at the same time.
      wait = retryAfterOf(failure) + pause * (0.5 + this.#options.random());
      pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
    }
  }

  /** One write, and after a refusal in doubt one read: settled, or a failure after which to try again. */
  async #attempt(
    intent: Intent,
    context: AddContext,
    send: (timeoutMs: number) => Promise<IPReservation>,
  ): Promise<{ settled: IPReservation | undefined } | { failure: unknown }> {
    const left = Math.max(1, context.deadline - this.#options.clock.monotonic());
    try {
      return { settled: await send(Math.min(WRITE_TIMEOUT_MS, left)) };
    } catch (error) {
      if (isApiError(error, 'AlreadyExists', 'TestFailed', 'Conflict', 'NotFound')) {
        return context.doubts.has(intent.name) ? this.#whoseIsIt(intent, error) : { settled: undefined };
      }
      if (isApiError(error, 'OutcomeUnknown')) {
        context.doubts.add(intent.name);
        return { failure: error };
      }
      if (isApiError(error, 'Throttled', 'Unreachable')) {
        return { failure: error };
      }
      if (!isApiError(error)) {
        // A fault of ours: nobody knows how far it had come.
        context.doubts.add(intent.name);
        throw error;
      }
      throw new CniError(
        ErrorCode.tryAgainLater,
        `address ${intent.address} of pool ${intent.pool} can not be claimed: ${messageOf(error)}`,
        'the API server refused the reservation; if this persists, check the CRDs, RBAC and the admission policy',
        error,
      );
    }
  }

  /**
   * After an unknown outcome and a refusal: settled if the reservation is the intent's own or somebody else's. The doubt
   * stays in either case: an earlier write may commit once that reservation is gone.
   */
  async #whoseIsIt(
    intent: Intent,
    refusal: unknown,
  ): Promise<{ settled: IPReservation | undefined } | { failure: unknown }> {
    let found: IPReservation | undefined;
    try {
      found = await this.look(intent.name);
    } catch (error) {
      if (isApiError(error, 'Throttled', 'Unreachable')) {
        return { failure: error };
      }
      throw new CniError(
        ErrorCode.tryAgainLater,
        `whether address ${intent.address} of pool ${intent.pool} was claimed can not be found out: ${messageOf(error)}`,
        'the API server is away or refuses; the runtime will try again',
        error,
      );
    }
    if (found === undefined && intent.origin === 'created') {
      // It was there a moment ago, and is free now.
      return { failure: refusal };
    }
    return { settled: found !== undefined && isOwnedBy(found.spec, intent.owner) ? found : undefined };
  }
}
