/** How an ADD ends: answered and in the journal, or given back as if it had never been. */
import type { Log } from '../../kube/log.ts';
import type { DoubtList } from './doubts.ts';
import type { GiveBack } from './giveback.ts';
import { givingBack, undoneTo } from './intents.ts';
import type { Journal } from './journal.ts';
import { attachmentKey } from './request.ts';
import { type Attachment, type AttachmentOwner, type Intent, intentKey, intentsOf } from './state.ts';
import type { ClaimContext, Claimed } from './writer.ts';

export interface AddOutcomeOptions {
  readonly log: Log;
  readonly journal: Journal;
  readonly giveBack: GiveBack;
  readonly doubts: DoubtList;
}

export class AddOutcome {
  readonly #options: AddOutcomeOptions;

  constructor(options: AddOutcomeOptions) {
    this.#options = options;
  }

  /** What an earlier try of the same ADD left unresolved. */
  unresolved(owner: AttachmentOwner): Intent[] {
    return intentsOf(this.#options.journal.state, attachmentKey(owner));
  }

  /**
   * The answer is durable against a crash when this returns. What was claimed is given back if it cannot be made so.
   * @param replaces the key of the attachment whose addresses these were
   * @throws Error if the journal cannot be written
   */
  async answered(
    attachment: Attachment,
    claimed: readonly Pick<Claimed, 'claim' | 'origin'>[],
    context: ClaimContext,
    replaces?: string,
  ): Promise<void> {
    const doubts = [...context.doubts];
    try {
      this.#options.journal.append({
        t: 'bound',
        attachment,
        ...(doubts.length > 0 && { doubts }),
        ...(replaces !== undefined && { replaces }),
      });
    } catch (error) {
      await this.abandon(claimed, context);
      throw error;
    }
    this.#watch(context.owner);
  }

  /**
   * Gives back what a failed ADD has; what cannot be given back now stays in the journal as a doubt. Never throws for a
   * journal that cannot be written: the ADD's own failure is what the runtime must hear.
   */
  async abandon(claimed: readonly Pick<Claimed, 'claim' | 'origin'>[], context: ClaimContext): Promise<void> {
    const { giveBack, journal, log } = this.#options;
    const { state } = journal;
    const backTo = (name: string): AttachmentOwner | undefined => {
      const intent = state.intents.get(intentKey(context.owner, name));
      return intent && undoneTo(state, intent);
    };
    try {
      for (const { claim } of claimed) {
        givingBack(state, context.owner, claim.name).forEach((record) => journal.append(record));
      }
    } catch (error) {
      // The undo matters more: what it leaves unknown stays in doubt.
      log.error(
        { attachment: attachmentKey(context.owner), error },
        'an undo can not be written to the journal',
      );
    }
    const undone = await Promise.all(
      claimed.map(async ({ claim, origin }) => ({
        claim,
        ok: await giveBack.undo(claim, context.owner, origin, backTo(claim.name)),
      })),
    );
    for (const { claim, ok } of undone) {
      if (!ok) {
        context.doubts.add(claim.name);
      }
    }
    const key = attachmentKey(context.owner);
    try {
      journal.append({ t: 'failed', key, doubts: [...context.doubts] });
    } catch (error) {
      // The intents stay, and are all watched: each is looked up and resolved as soon as the disk has room.
      log.error({ attachment: key, error }, 'the end of an ADD can not be written to the journal');
    }
    this.#watch(context.owner);
  }

  /** What is left of the ADD's intents is in doubt. */
  #watch(owner: AttachmentOwner): void {
    const left = this.unresolved(owner);
    if (left.length > 0) {
      this.#options.doubts.add(left.map((intent) => intentKey(owner, intent.name)));
    }
  }
}
