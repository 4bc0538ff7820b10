/** What may still happen of writes that were announced and not answered: questions to the state. */
import { attachmentKey } from './request.ts';
import {
  type Attachment,
  type AttachmentOwner,
  hasClaim,
  type Intent,
  intentKey,
  intentsOf,
  interfaceKey,
  type JournalRecord,
  type State,
} from './state.ts';

/** The names of the reservations of which some write of this attachment may still happen. */
export function doubtsOf(state: State, key: string): string[] {
  return intentsOf(state, key).map((intent) => intent.name);
}

/** The record by which an attachment is changed: what of it is in doubt stays so. */
export function changed(state: State, attachment: Attachment): JournalRecord {
  return { t: 'bound', attachment, doubts: doubtsOf(state, attachmentKey(attachment.owner)) };
}

/**
 * The sandbox that an undo gives the intent's address back to; undefined: none, it is released as by DEL. None whose own DEL was
 * accepted (`hasClaim` would name it): what goes back to that may come after its release.
 */
export function undoneTo(state: State, { name, from }: Intent): AttachmentOwner | undefined {
  const attachment = from && state.attachments.get(attachmentKey(from));
  return attachment?.claims.some((claim) => claim.name === name) === true ? from : undefined;
}

/** Rebinds of this reservation to sandboxes of the same pod's interface that began, and were not answered. */
export function interruptedRebinds(state: State, name: string, owner: AttachmentOwner): Intent[] {
  return [...state.intents.values()].filter(
    (intent) =>
      intent.name === name &&
      intent.origin === 'rebound' &&
      interfaceKey(intent.owner) === interfaceKey(owner) &&
      !hasClaim(state, attachmentKey(intent.owner), name),
  );
}

/** The record that an undo of the intent's reservation is about to be sent; none if there is no such intent, or it says so. */
export function givingBack(state: State, owner: AttachmentOwner, name: string): JournalRecord[] {
  const intent = state.intents.get(intentKey(owner, name));
  return intent === undefined || intent.isGivenBack === true
    ? []
    : [{ t: 'intent', intent: { ...intent, isGivenBack: true } }];
}
