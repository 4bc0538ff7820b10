/**
 * Giving addresses back to the API, guarded: nothing is ever taken from somebody who has it meanwhile.
 *
 * - A release and an undo are one write where the agent knows uid and resourceVersion, which it does for all that it
 *   claimed itself.
 * - Every outcome but "the API did not answer" is final; so is "it is no longer ours".
 */
import { ipReservations } from '../../crds/resources.ts';
import { type Address, parseAddress } from '../../ipam/address.ts';
import { isOwnedBy, type Release, type ReservationSpec, releaseOf, undoOf } from '../../ipam/reservation.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { isApiError } from '../../kube/errors.ts';
import type { Log } from '../../kube/log.ts';
import type { Occupancy } from './occupancy.ts';
import type { PoolTable } from './pools.ts';
import type { AttachmentOwner, Claim, Origin } from './state.ts';

/** Milliseconds for one write; after it the release goes on in the background. */
const WRITE_TIMEOUT_MS = 5_000;
/** Conflicts in a row after which the background goes on. */
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

  constructor(options: GiveBackOptions) {
    this.#options = options;
  }

  /**
   * DEL: Held if it has a holder, else Released if the pool has a cooldown, else gone.
   * @returns true if the API has it, or it was no longer this attachment's; false if the API did not answer
   */
  async release(claim: Claim, owner: AttachmentOwner): Promise<boolean> {
    const { pools, clock } = this.#options;
    const spec = boundSpec(claim, owner);
    return this.#give(claim, owner, releaseOf(spec, pools.cooldownMs(claim.pool), clock.now()));
  }

  /** The ADD that claimed it has failed: back to where it came from. Returns as `release`. */
  async undo(claim: Claim, owner: AttachmentOwner, origin: Origin): Promise<boolean> {
    if (origin === 'rebound') {
      return this.release(claim, owner);
    }
    const spec = boundSpec(claim, owner);
    // What has a holder was held for it, even if the write that is known to have been tried was another one.
    const from = claim.holder !== undefined ? 'held' : origin === 'held' ? 'released' : origin;
    return this.#give(claim, owner, undoOf(from, spec, this.#options.clock.now()));
  }

  async #give(claim: Claim, owner: AttachmentOwner, how: Release): Promise<boolean> {
    const { api, occupancy, log } = this.#options;
    const address = parseAddress(claim.address);
    let known = claim;
    for (let conflicts = 0; conflicts < MOST_CONFLICTS; conflicts += 1) {
      try {
        if (how.action === 'patch') {
          await api.patch(ipReservations, { name: claim.name }, how.patch, { timeoutMs: WRITE_TIMEOUT_MS });
          if (how.to.state === 'Released') {
            occupancy.released(claim.network, address);
          }
          this.#forgetExhausted(claim, address);
          return true;
        }
        const { uid, resourceVersion } = known;
        if (uid === undefined || resourceVersion === undefined) {
          const found = await this.#ours(claim, owner);
          if (found === undefined) {
            return true;
          }
          known = found;
          continue;
        }
        await api.delete(
          ipReservations,
          { name: claim.name },
          { preconditions: { uid, resourceVersion }, timeoutMs: WRITE_TIMEOUT_MS },
        );
        occupancy.freed(claim.network, address);
        this.#forgetExhausted(claim, address);
        return true;
      } catch (error) {
        if (isApiError(error, 'NotFound')) {
          occupancy.freed(claim.network, address);
          return true;
        }
        if (isApiError(error, 'TestFailed')) {
          return true;
        }
        if (isApiError(error, 'Conflict')) {
          // The object changed since we wrote it (a label, say): look whose it is, and try with what it is now.
          const { uid: _uid, resourceVersion: _version, ...rest } = known;
          known = rest;
          continue;
        }
        if (!isApiError(error)) {
          throw error;
        }
        if (!isApiError(error, 'Unreachable', 'OutcomeUnknown', 'Throttled')) {
          log.error({ reservation: claim.name, error }, 'the API refuses a release; trying again');
        }
        return false;
      }
    }
    return false;
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
      const { metadata, spec } = await this.#options.api.get(
        ipReservations,
        { name: claim.name },
        { timeoutMs: WRITE_TIMEOUT_MS },
      );
      if (!isOwnedBy(spec, owner) || metadata.uid === undefined || metadata.resourceVersion === undefined) {
        return undefined;
      }
      return { ...claim, uid: metadata.uid, resourceVersion: metadata.resourceVersion };
    } catch (error) {
      if (isApiError(error, 'NotFound')) {
        return undefined;
      }
      throw error;
    }
  }
}
