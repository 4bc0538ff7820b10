/**
 * Giving addresses back to the API, guarded: nothing is ever taken from somebody who has it meanwhile.
 *
 * - A release and an undo are one write where the agent knows uid and resourceVersion, which it does for all that it
 *   claimed itself.
 * - Every outcome but "the API did not answer" is final; so is "it is no longer ours".
 */
import { ipReservations } from '../../crds/resources.ts';
import { type Address, parseAddress } from '../../ipam/address.ts';
import {
  isOwnedBy,
  type Release,
  type ReservationSpec,
  rebind,
  releaseOf,
  undoOf,
} from '../../ipam/reservation.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { type ApiError, isApiError } from '../../kube/errors.ts';
import type { Log } from '../../kube/log.ts';
import type { Occupancy } from './occupancy.ts';
import type { PoolTable } from './pools.ts';
import type { AttachmentOwner, Claim, Origin } from './state.ts';
import { claimOf } from './writer.ts';

/** Milliseconds for one write; after it the release goes on in the background. */
const WRITE_TIMEOUT_MS = 5_000;
/** Changes by others in a row after which the background goes on. */
const MOST_CONFLICTS = 5;

export interface GiveBackOptions {
  readonly api: Api;
  readonly clock: Clock;
  readonly log: Log;
  readonly pools: PoolTable;
  readonly occupancy: Occupancy;
}

/** The spec of a claim as this agent left it in the API. */
export function boundSpec(claim: Claim, owner: AttachmentOwner): ReservationSpec {
  return {
    network: claim.network,
    address: claim.address,
    pool: claim.pool,
    state: 'Bound',
    owner,
    ...(claim.holder !== undefined && { holder: claim.holder }),
    since: claim.since,
  };
}

export class GiveBack {
  readonly #options: GiveBackOptions;
  /** What the API said to the last write that it has not got: whoever tries again waits as long as it asks for. */
  refusal: ApiError | undefined;

  constructor(options: GiveBackOptions) {
    this.#options = options;
  }

  /**
   * DEL: Held if it has a holder, else Released if the pool has a cooldown, else gone. A holder that a person has given it
   * since counts too.
   * @returns true if the API has it, or it was no longer this attachment's; false if the API did not answer
   */
  async release(claim: Claim, owner: AttachmentOwner): Promise<boolean> {
    const { pools, clock } = this.#options;
    return this.#give(claim, owner, (known) =>
      releaseOf(boundSpec(known, owner), pools.cooldownMs(known.pool), clock.now()),
    );
  }

  /**
   * The ADD that claimed it has failed: back to where it came from. Returns as `release`.
   * @param backTo of a rebound one: the sandbox that had it; undefined if that is no attachment any more
   */
  async undo(
    claim: Claim,
    owner: AttachmentOwner,
    origin: Origin,
    backTo: AttachmentOwner | undefined,
  ): Promise<boolean> {
    if (origin === 'rebound') {
      return backTo === undefined ? this.release(claim, owner) : this.#rebind(claim, owner, backTo);
    }
    return this.#give(claim, owner, (known) => {
      // What has a holder was held for it, even if the write that is known to have been tried was another one.
      const from = known.holder !== undefined ? 'held' : origin === 'held' ? 'released' : origin;
      return undoOf(from, boundSpec(known, owner), this.#options.clock.now());
    });
  }

  async #rebind(claim: Claim, owner: AttachmentOwner, to: AttachmentOwner): Promise<boolean> {
    return this.#give(claim, owner, (known) => ({
      action: 'patch',
      ...rebind(boundSpec(known, owner), to, this.#options.clock.now()),
    }));
  }

  async #give(claim: Claim, owner: AttachmentOwner, howOf: (known: Claim) => Release): Promise<boolean> {
    const { log } = this.#options;
    let known: Claim | undefined = claim;
    try {
      for (let changes = 0; changes < MOST_CONFLICTS; changes += 1) {
        if (await this.#write(known, howOf(known))) {
          return true;
        }
        // The object is not as we know it (a label, a holder, somebody else's): look whose it is, and go by what it is now.
        known = await this.#ours(claim, owner);
        if (known === undefined) {
          return true;
        }
      }
      this.refusal = undefined;
    } catch (error) {
      if (!isApiError(error)) {
        throw error;
      }
      if (!isApiError(error, 'Unreachable', 'OutcomeUnknown', 'Throttled')) {
        log.error({ reservation: claim.name, error }, 'the API refuses a release; trying again');
      }
      this.refusal = error;
    }
    return false;
  }

  /** @returns false if the reservation is not as `claim` has it, or not known well enough to be deleted */
  async #write(claim: Claim, how: Release): Promise<boolean> {
    const { api, occupancy } = this.#options;
    const { name, uid, resourceVersion } = claim;
    const address = parseAddress(claim.address);
    try {
      if (how.action === 'patch') {
        await api.patch(ipReservations, { name }, how.patch, { timeoutMs: WRITE_TIMEOUT_MS });
        if (how.to.state === 'Released') {
          occupancy.released(claim.network, address);
        }
      } else if (uid === undefined || resourceVersion === undefined) {
        return false;
      } else {
        const preconditions = { uid, resourceVersion };
        await api.delete(ipReservations, { name }, { preconditions, timeoutMs: WRITE_TIMEOUT_MS });
        occupancy.freed(claim.network, address);
      }
      this.#forgetExhausted(claim, address);
      return true;
    } catch (error) {
      if (isApiError(error, 'NotFound')) {
        occupancy.freed(claim.network, address);
        return true;
      }
      if (isApiError(error, 'TestFailed', 'Conflict')) {
        return false;
      }
      throw error;
    }
  }

  /** The pools of the network may overlap: each that could give this address again has something to give. */
  #forgetExhausted(claim: Claim, address: Address): void {
    const { occupancy, pools } = this.#options;
    occupancy.forgetExhausted(claim.pool);
    for (const { name, network, pool } of pools.entries.values()) {
      if (
        network === claim.network &&
        pool?.family === address.family &&
        pool.dynamic.contains(address.value)
      ) {
        occupancy.forgetExhausted(name);
      }
    }
  }

  async #ours(claim: Claim, owner: AttachmentOwner): Promise<Claim | undefined> {
    try {
      const live = await this.#options.api.get(
        ipReservations,
        { name: claim.name },
        { timeoutMs: WRITE_TIMEOUT_MS },
      );
      return isOwnedBy(live.spec, owner) ? claimOf(live) : undefined;
    } catch (error) {
      if (isApiError(error, 'NotFound')) {
        return undefined;
      }
      throw error;
    }
  }
}
