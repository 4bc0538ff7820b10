/**
 * Writing one reservation so that the outcome is known, or known to be unknown.
 *
 * A write that timed out may still commit later. So the same name is written again until the API server says
 * "done" or "somebody else's"; another candidate is never tried meanwhile, and a name whose outcome stays unknown
 * goes on the doubt list (design, section 3, "A write whose outcome is unknown").
 */

import { ipReservations } from '../../crds/resources.ts';
import type { IPReservation } from '../../crds/types.ts';
import { isOwnedBy } from '../../ipam/reservation.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock, Random } from '../../kube/clock.ts';
import { isApiError } from '../../kube/errors.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, messageOf } from './errors.ts';
import type { Intent } from './state.ts';

/** Milliseconds for which an ADD waits for an API server that cannot be reached. */
const UNREACHABLE_PATIENCE_MS = 5_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;
/** Milliseconds for one write; the ADD's own deadline may end it sooner. */
const WRITE_TIMEOUT_MS = 10_000;

/** What one ADD carries along. */
export interface AddContext {
  /** Monotonic time at which the ADD must have been answered. */
  readonly deadline: number;
  /** Names whose write may have happened or may happen yet, although nobody said so. */
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

  /** The reservation as it is now; undefined if there is none. */
  async look(name: string): Promise<IPReservation | undefined> {
    try {
      return await this.#options.api.get(ipReservations, { name });
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
    while (true) {
      let failure: unknown;
      try {
        const left = context.deadline - clock.monotonic();
        const written = await send(Math.max(1, Math.min(WRITE_TIMEOUT_MS, left)));
        context.doubts.delete(intent.name);
        return written;
      } catch (error) {
        failure = error;
      }
      if (isApiError(failure, 'AlreadyExists', 'TestFailed', 'Conflict', 'NotFound')) {
        if (!context.doubts.has(intent.name)) {
          return undefined;
        }
        const verdict = await this.#whoseIsIt(intent, context);
        if (verdict !== 'gone') {
          return verdict;
        }
      } else if (isApiError(failure, 'OutcomeUnknown')) {
        context.doubts.add(intent.name);
      } else if (!isApiError(failure, 'Throttled', 'Unreachable')) {
        throw new CniError(
          ErrorCode.tryAgainLater,
          `address ${intent.address} of pool ${intent.pool} can not be claimed: ${messageOf(failure)}`,
          'the API server refused the reservation; if this persists, check the CRDs, RBAC and the admission policy',
          failure,
        );
      }
      const throttled = isApiError(failure, 'Throttled') ? (failure.retryAfterMs ?? 0) : 0;
      const wait = Math.max(throttled, pause * (0.5 + this.#options.random()));
      pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
      const now = clock.monotonic();
      const patience = isApiError(failure, 'Unreachable')
        ? start + UNREACHABLE_PATIENCE_MS
        : context.deadline;
      if (now + wait >= Math.min(patience, context.deadline)) {
        throw new CniError(
          ErrorCode.tryAgainLater,
          `address ${intent.address} of pool ${intent.pool} can not be claimed now: ${messageOf(failure)}`,
          'the API server is away or overloaded; the runtime will try again',
          failure,
        );
      }
      await clock.sleep(wait);
    }
  }

  /**
   * After an unknown outcome and a refusal: the reservation if it is the intent's own, undefined if it is
   * somebody else's (the doubt stays: an earlier write may commit after they are gone), 'gone' if there is none.
   */
  async #whoseIsIt(intent: Intent, context: AddContext): Promise<IPReservation | undefined | 'gone'> {
    let found: IPReservation | undefined;
    try {
      found = await this.look(intent.name);
    } catch (error) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `whether address ${intent.address} of pool ${intent.pool} was claimed can not be found out: ${messageOf(error)}`,
        'the API server is away or overloaded; the runtime will try again',
        error,
      );
    }
    if (found === undefined) {
      return intent.origin === 'created' ? 'gone' : undefined;
    }
    if (!isOwnedBy(found.spec, intent.owner)) {
      return undefined;
    }
    context.doubts.delete(intent.name);
    return found;
  }
}
