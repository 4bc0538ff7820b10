/** A restarted sandbox: the same pod's interface under a new containerID keeps its addresses. */
import { ipReservations } from '../../crds/resources.ts';
import { rebind } from '../../ipam/reservation.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { boundSpec } from './giveback.ts';
import type { Journal } from './journal.ts';
import type { KeyedLock } from './lock.ts';
import type { AddOutcome } from './outcome.ts';
import type { Releaser } from './release.ts';
import type { NeutralResult } from './result.ts';
import type { Settler } from './settle.ts';
import { type Attachment, type AttachmentOwner, type Claim, otherSandbox } from './state.ts';
import { type ClaimContext, claimOf } from './writer.ts';

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
   * @throws CniError 11 if the API does not answer. The old attachment is then as it was if nothing was written, else
   *   its addresses are given back: half of them would be neither sandbox's.
   */
  async rebind(
    { owner, addedAt, deadline, annotate }: RebindContext,
    answerOf: (attachment: Attachment) => NeutralResult,
  ): Promise<NeutralResult | undefined> {
    const { journal, lock, outcome, releaser } = this.#options;
    const oldKey = otherSandbox(journal.state, owner);
    if (oldKey === undefined) {
      return undefined;
    }
    // The sandbox that restarts is gone: nobody who holds the old key waits for the new one.
    return lock.run(oldKey, async () => {
      const old = journal.state.attachments.get(oldKey);
      if (old === undefined) {
        return undefined;
      }
      const result = answerOf(old);
      const doubts = new Set(outcome.unresolved(owner).map((intent) => intent.name));
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
      const touched = moved.length > 0 || old.claims.some((claim) => context.doubts.has(claim.name));
      if (failed === undefined || touched) {
        await releaser.begin(oldKey);
      }
      if (failed !== undefined) {
        throw failed.reason;
      }
      return undefined;
    });
  }

  async #rebindOne(
    claim: Claim,
    oldOwner: AttachmentOwner,
    context: ClaimContext,
  ): Promise<Claim | undefined> {
    const { api, clock, journal, settler } = this.#options;
    const { owner } = context;
    const { patch } = rebind(boundSpec(claim, oldOwner), owner, clock.now());
    const { name, network, address, pool } = claim;
    const intent = { name, network, address, pool, origin: 'rebound' as const, owner };
    journal.append({ t: 'intent', intent });
    const object = await settler.write(intent, context, (timeoutMs) =>
      api.patch(ipReservations, { name }, patch, { timeoutMs }),
    );
    return object === undefined ? undefined : claimOf(object);
  }
}
