/**
 * Writing the reservation of a live attachment again that the API server has lost, or shows in an older state.
 *
 * One guarded write. What is somebody else's is left alone, and shown to the caller.
 */
import { API_VERSION, ipReservations } from '../../crds/resources.ts';
import type { IPReservation } from '../../crds/types.ts';
import { parseAddress } from '../../ipam/address.ts';
import {
  bindNew,
  isOwnedBy,
  rebind,
  type Transition,
  takeHeld,
  takeReleased,
} from '../../ipam/reservation.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { isApiError } from '../../kube/errors.ts';
import type { Log } from '../../kube/log.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError } from './errors.ts';
import { interruptedRebinds } from './intents.ts';
import type { Journal } from './journal.ts';
import { attachmentKey } from './request.ts';
import type { Settler } from './settle.ts';
import type { AttachmentOwner, Claim } from './state.ts';

/** Looks at a reservation that changes each time; more is no sane API server. */
const MOST_LOOKS = 5;

export interface ReasserterOptions {
  readonly api: Api;
  readonly clock: Clock;
  readonly log: Log;
  readonly journal: Journal;
  readonly settler: Settler;
}

export class Reasserter {
  readonly #options: ReasserterOptions;

  constructor(options: ReasserterOptions) {
    this.#options = options;
  }

  /**
   * Writes a live attachment's reservation again.
   * @returns what was written, or whose it is now; undefined if this pod's own ADD is about to decide that
   * @throws CniError 11 if it changes whenever it is looked at
   */
  async reassert(
    claim: Claim,
    owner: AttachmentOwner,
    live: IPReservation | undefined,
  ): Promise<{ readonly written?: IPReservation; readonly theirs?: IPReservation } | undefined> {
    const { journal, log, settler } = this.#options;
    let seen = live;
    for (let looks = 1; looks <= MOST_LOOKS; looks += 1) {
      const present = seen;
      const isOurs = interruptedRebinds(journal.state, claim.name, owner).some(
        // One from another sandbox is older than this attachment, and shown again by a restored API server.
        (intent) =>
          intent.from !== undefined &&
          attachmentKey(intent.from) === attachmentKey(owner) &&
          present !== undefined &&
          isOwnedBy(present.spec, intent.owner),
      );
      if (isOurs) {
        // A new sandbox of this pod was about to take it over when the agent died: its ADD or the doubt list decides.
        return undefined;
      }
      const written = await this.#writeAgain(claim, owner, present);
      if (written === 'theirs') {
        return present === undefined ? undefined : { theirs: present };
      }
      if (written !== 'moved') {
        log.warn(
          { address: claim.address, owner },
          'a live attachment had lost its reservation; it is written again',
        );
        return { written };
      }
      seen = await settler.look(claim.name);
      if (seen !== undefined && isOwnedBy(seen.spec, owner)) {
        return { written: seen };
      }
    }
    throw new CniError(
      ErrorCode.tryAgainLater,
      `reservation ${claim.name} changed ${MOST_LOOKS} times while it was to be written again`,
      'it is tried again',
    );
  }

  /** As `#write`; an address matters more than a holder that the agent may not write. */
  async #writeAgain(
    claim: Claim,
    owner: AttachmentOwner,
    live: IPReservation | undefined,
  ): Promise<IPReservation | 'theirs' | 'moved'> {
    try {
      return await this.#write(claim, owner, live);
    } catch (error) {
      if (!isApiError(error, 'Forbidden') || claim.holder === undefined) {
        throw error;
      }
      const { holder, ...withoutHolder } = claim;
      const written = await this.#write(withoutHolder, owner, live);
      this.#options.log.warn(
        { address: claim.address, holder, error },
        'the API server forbids to write the holder again that a person gave to this reservation; it has none now',
      );
      return written;
    }
  }

  /**
   * From what an older state of the API may show back to what the attachment has.
   * @returns `theirs` where that is somebody else's, `moved` where somebody has changed it since it was looked at
   */
  async #write(
    claim: Claim,
    owner: AttachmentOwner,
    live: IPReservation | undefined,
  ): Promise<IPReservation | 'theirs' | 'moved'> {
    const { api, clock } = this.#options;
    const { pool, holder, name, network } = claim;
    const now = clock.now();
    const binding = { pool, owner, ...(holder !== undefined && { holder }), now };
    try {
      if (live === undefined) {
        const spec = bindNew({ ...binding, network, address: parseAddress(claim.address) });
        const object: IPReservation = {
          apiVersion: API_VERSION,
          kind: 'IPReservation',
          metadata: { name },
          spec,
        };
        return await api.create(ipReservations, object);
      }
      const { spec } = live;
      let step: Transition | undefined;
      if (spec.state === 'Released') {
        step = takeReleased(claim, binding);
      } else if (spec.state === 'Held' && holder !== undefined && spec.holder === holder) {
        step = takeHeld(claim, { ...binding, holder });
      } else if (spec.state === 'Bound' && isSameInterface(spec.owner, owner)) {
        step = rebind(spec, owner, now);
      }
      return step === undefined ? 'theirs' : await api.patch(ipReservations, { name }, step.patch);
    } catch (error) {
      if (isApiError(error, 'AlreadyExists', 'TestFailed', 'NotFound')) {
        return 'moved';
      }
      throw error;
    }
  }
}

/** The same pod's same interface, in whatever sandbox. */
function isSameInterface(a: IPReservation['spec']['owner'], b: AttachmentOwner): boolean {
  return b.uid !== undefined && a?.uid === b.uid && a.ifname === b.ifname && a.node === b.node;
}
