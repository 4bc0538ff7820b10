/** A restarted sandbox: the same pod's interface under a new containerID keeps its addresses. */
import { ipReservations } from '../../crds/resources.ts';
import { rebind } from '../../ipam/reservation.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { boundSpec } from './giveback.ts';
import type { Journal } from './journal.ts';
import type { KeyedLock } from './lock.ts';
import type { AddOutcome } from './outcome.ts';
import { attachmentKey, type ParsedRequest } from './request.ts';
import type { NeutralResult } from './result.ts';
import type { Settler } from './settle.ts';
import { type Attachment, type AttachmentOwner, type Claim, interfaceKey } from './state.ts';
import { type ClaimContext, claimOf } from './writer.ts';

export interface RebinderOptions {
  readonly api: Api;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly lock: KeyedLock;
  readonly settler: Settler;
  readonly outcome: AddOutcome;
}

export class Rebinder {
  readonly #options: RebinderOptions;

  constructor(options: RebinderOptions) {
    this.#options = options;
  }

  /** A restarted sandbox of the same pod's interface keeps its addresses: one guarded write each. */
  async rebind(
    request: ParsedRequest,
    owner: AttachmentOwner,
    deadline: number,
    answerAgain: (attachment: Attachment) => NeutralResult,
  ): Promise<NeutralResult | undefined> {
    const { journal, lock, outcome } = this.#options;
    const byInterface = interfaceKey(owner);
    const oldKey = byInterface === undefined ? undefined : journal.state.byInterface.get(byInterface);
    if (oldKey === undefined || oldKey === attachmentKey(request.id)) {
      return undefined;
    }
    return lock.run(oldKey, async () => {
      const old = journal.state.attachments.get(oldKey);
      if (old === undefined) {
        return undefined;
      }
      const result = answerAgain(old);
      const doubts = new Set(outcome.unresolved(owner).map((intent) => intent.name));
      const context: ClaimContext = { deadline, owner, holders: [], doubts, resumable: [] };
      const outcomes = await Promise.allSettled(
        old.claims.map((claim) => this.#rebindOne(claim, old.owner, context)),
      );
      const failed = outcomes.find((o) => o.status === 'rejected');
      const moved = outcomes.flatMap((o) =>
        o.status === 'fulfilled' && o.value !== undefined ? [o.value] : [],
      );
      if (failed === undefined && moved.length === old.claims.length) {
        journal.append({ t: 'dropped', key: oldKey });
        outcome.answered(
          { owner, claims: moved, result, addedAt: this.#options.clock.now() },
          context.doubts,
        );
        return result;
      }
      // Somebody else had a hand in it, or the API is away: nothing half rebound stays.
      await outcome.abandon(
        moved.map((claim) => ({ claim, origin: 'rebound' as const })),
        context,
      );
      if (failed !== undefined) {
        throw failed.reason;
      }
      journal.append({ t: 'dropped', key: oldKey });
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
