/**
 * A restarted sandbox: the same pod's interface under a new containerID keeps its addresses.
 *
 * - All of them or none: what a failed rebind has moved goes back to the old sandbox's attachment, which stays.
 * - One that was interrupted (the agent was killed, the API server went away) is taken on by the next sandbox's ADD,
 *   whichever of the sandboxes the API has by then.
 */
import { ipReservations } from '../../crds/resources.ts';
import { isOwnedBy, rebind } from '../../ipam/reservation.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, messageOf } from './errors.ts';
import { boundSpec } from './giveback.ts';
import { interruptedRebinds } from './intents.ts';
import type { Journal } from './journal.ts';
import type { KeyedLock } from './lock.ts';
import type { AddOutcome } from './outcome.ts';
import type { Releaser } from './release.ts';
import { attachmentKey } from './request.ts';
import type { NeutralResult } from './result.ts';
import type { Settler } from './settle.ts';
import { type Attachment, type AttachmentOwner, type Claim, otherSandbox } from './state.ts';
import { type ClaimContext, claimOf } from './writer.ts';

/** Writes of one address, each from the sandbox that the last look showed. */
const MOST_TRIES = 3;

export interface RebinderOptions {
  readonly api: Api;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly lock: KeyedLock;
  readonly settler: Settler;
  readonly outcome: AddOutcome;
  readonly releaser: Pick<Releaser, 'begin'>;
}

/** The ADD that may be one of a restarted sandbox. */
export interface RebindContext {
  readonly owner: AttachmentOwner;
  /** Milliseconds since the Unix epoch when the ADD came in. */
  readonly addedAt: number;
  /** Monotonic time after which nothing new is begun. */
  readonly deadline: number;
  /** The pod is to show its addresses. */
  readonly annotate?: true;
  /** @throws CniError 11 once a newer sandbox's ADD has been answered */
  readonly refuseIfOvertaken: () => void;
}

export class Rebinder {
  readonly #options: RebinderOptions;

  constructor(options: RebinderOptions) {
    this.#options = options;
  }

  /**
   * One guarded write for each address that the same pod's interface has under another containerID.
   * @param answerOf the CNI result of an attachment
   * @returns undefined if there is no such attachment, or not all of its addresses are its own any more: those that are
   *   are given back
   * @throws CniError 11 if the API does not answer, or an earlier try of this ADD is still being undone. The old
   *   attachment stays then.
   */
  async rebind(
    coming: RebindContext,
    answerOf: (attachment: Attachment) => NeutralResult,
  ): Promise<NeutralResult | undefined> {
    const { journal, lock } = this.#options;
    for (;;) {
      const oldKey = otherSandbox(journal.state, coming.owner);
      if (oldKey === undefined) {
        return undefined;
      }
      // The sandbox that restarts is gone: nobody who holds the old key waits for the new one.
      const outcome = await lock.run(oldKey, async () => {
        coming.refuseIfOvertaken();
        const old = journal.state.attachments.get(oldKey);
        // While this ADD waited, that of a sandbox in between has taken the addresses over.
        return old === undefined ? 'gone' : this.#rebindFrom(old, coming, answerOf(old));
      });
      if (outcome !== 'gone') {
        return outcome;
      }
    }
  }

  async #rebindFrom(
    old: Attachment,
    { owner, addedAt, deadline, annotate }: RebindContext,
    result: NeutralResult,
  ): Promise<NeutralResult | undefined> {
    const { outcome, releaser } = this.#options;
    const oldKey = attachmentKey(old.owner);
    const unresolved = outcome.unresolved(owner);
    const late = unresolved.find(
      ({ name, isGivenBack }) => isGivenBack && old.claims.some((claim) => claim.name === name),
    );
    if (late !== undefined) {
      // The undo may happen late, and would hit what this very attachment has got meanwhile.
      throw new CniError(
        ErrorCode.tryAgainLater,
        `address ${late.address} is still being given back by an earlier try of this ADD`,
        'the runtime will try again; a new sandbox of the pod does not have to wait',
      );
    }
    if (old.claims.length < result.ips.length) {
      // Another pod of this node has got the rest.
      await releaser.begin(oldKey);
      return undefined;
    }
    const doubts = new Set(unresolved.map((intent) => intent.name));
    const context: ClaimContext = { deadline, owner, holders: [], doubts, resumable: [] };
    const outcomes = await Promise.allSettled(
      old.claims.map((claim) => this.#rebindOne(claim, old.owner, context)),
    );
    const failed = outcomes.find((o) => o.status === 'rejected');
    const moved = outcomes
      .flatMap((o) => (o.status === 'fulfilled' && o.value !== undefined ? [o.value] : []))
      .map((claim) => ({ claim, origin: 'rebound' as const }));
    if (failed === undefined && moved.length === old.claims.length) {
      const claims = moved.map((m) => m.claim);
      const attachment = { owner, claims, result, addedAt, ...(annotate && { annotate }) };
      await outcome.answered(attachment, moved, context, oldKey);
      return result;
    }
    await outcome.abandon(moved, context);
    if (failed !== undefined) {
      throw failed.reason;
    }
    await releaser.begin(oldKey);
    return undefined;
  }

  async #rebindOne(
    claim: Claim,
    oldOwner: AttachmentOwner,
    context: ClaimContext,
  ): Promise<Claim | undefined> {
    let present: AttachmentOwner | undefined = oldOwner;
    for (let tries = 0; tries < MOST_TRIES && present !== undefined; tries += 1) {
      const moved = await this.#move(claim, present, oldOwner, context);
      if (moved !== undefined) {
        return moved;
      }
      present = await this.#whoHas(claim, oldOwner);
    }
    return undefined;
  }

  /** Which sandbox of this interface has it, where another one's ADD did not come to its end; undefined: none. */
  async #whoHas(claim: Claim, oldOwner: AttachmentOwner): Promise<AttachmentOwner | undefined> {
    const { journal, settler } = this.#options;
    const others = interruptedRebinds(journal.state, claim.name, oldOwner).map((intent) => intent.owner);
    if (others.length === 0) {
      return undefined;
    }
    try {
      const live = await settler.look(claim.name);
      return live && [oldOwner, ...others].find((owner) => isOwnedBy(live.spec, owner));
    } catch (error) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `who has address ${claim.address} of pool ${claim.pool} can not be looked up: ${messageOf(error)}`,
        'the API server is away or refuses; the runtime will try again',
        error,
      );
    }
  }

  async #move(
    claim: Claim,
    present: AttachmentOwner,
    oldOwner: AttachmentOwner,
    context: ClaimContext,
  ): Promise<Claim | undefined> {
    const { api, clock, journal, settler } = this.#options;
    const { owner } = context;
    const { patch } = rebind(boundSpec(claim, present), owner, clock.now());
    const { name, network, address, pool } = claim;
    const intent = { name, network, address, pool, origin: 'rebound' as const, owner, from: oldOwner };
    journal.append({ t: 'intent', intent });
    const object = await settler.write(intent, context, (timeoutMs) =>
      api.patch(ipReservations, { name }, patch, { timeoutMs }),
    );
    return object === undefined ? undefined : claimOf(object);
  }
}
