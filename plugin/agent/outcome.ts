/** How an ADD ends: answered and in the journal, or given back as if it had never been. */

import type { DoubtList } from './doubts.ts';
import type { GiveBack } from './giveback.ts';
import type { Journal } from './journal.ts';
import { attachmentKey } from './request.ts';
import type { Attachment, AttachmentOwner, Intent } from './state.ts';
import { intentKey } from './state.ts';
import type { ClaimContext, Claimed } from './writer.ts';

export interface AddOutcomeOptions {
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
    const key = attachmentKey(owner);
    return [...this.#options.journal.state.intents.values()].filter((i) => attachmentKey(i.owner) === key);
  }

  /** The answer is durable against a crash when this returns. */
  answered(attachment: Attachment, doubts: ReadonlySet<string>): void {
    this.#options.journal.append({
      t: 'bound',
      attachment,
      ...(doubts.size > 0 && { doubts: [...doubts] }),
    });
    this.#watch(attachment.owner, doubts);
  }

  #watch(owner: AttachmentOwner, doubts: ReadonlySet<string>): void {
    this.#options.doubts.add([...doubts].map((name) => intentKey(owner, name)));
  }

  /** Gives back what a failed ADD has; what cannot be given back now stays in the journal as a doubt. */
  async abandon(claimed: readonly Pick<Claimed, 'claim' | 'origin'>[], context: ClaimContext): Promise<void> {
    const { giveBack, journal } = this.#options;
    const undone = await Promise.all(
      claimed.map(async ({ claim, origin }) => ({
        claim,
        ok: await giveBack.undo(claim, context.owner, origin),
      })),
    );
    for (const { claim, ok } of undone) {
      if (!ok) {
        context.doubts.add(claim.name);
      }
    }
    journal.append({ t: 'failed', key: attachmentKey(context.owner), doubts: [...context.doubts] });
    this.#watch(context.owner, context.doubts);
  }
}
