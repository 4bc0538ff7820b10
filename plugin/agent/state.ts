/**
 * What an agent knows of its node's attachments, as a fold over journal records.
 *
 * - Live and after a restart the state is made by the same function, `applyRecord`: the journal is the state.
 * - An attachment is in `attachments` from its answer until its DEL is accepted, then in `releasing` until
 *   the API has the release.
 * - A name is in `intents` from before the first write until the ADD is answered, undone, or known to have failed.
 */
import type { Owner } from '../../ipam/reservation.ts';
import { attachmentKey } from './request.ts';
import type { NeutralResult } from './result.ts';

/** Where a claimed address came from, which decides how it is given back (design: undo follows origin). */
export type Origin = 'created' | 'released' | 'held' | 'rebound';

/** One address that an attachment has. */
export interface Claim {
  /** Name of the IPReservation. */
  readonly name: string;
  readonly network: string;
  readonly address: string;
  readonly pool: string;
  readonly holder?: string;
  /** `spec.since` as written. */
  readonly since: string;
  /** Of the IPReservation, as last answered; absent for one that was adopted from a list. */
  readonly uid?: string;
  readonly resourceVersion?: string;
}

/** The owner of an attachment's addresses: always with the attachment's own containerID and ifname. */
export type AttachmentOwner = Owner & {
  readonly containerID: string;
  readonly ifname: string;
  readonly node: string;
};

export interface Attachment {
  readonly owner: AttachmentOwner;
  readonly claims: readonly Claim[];
  /** What ADD answered; absent for an attachment that was adopted. */
  readonly result?: NeutralResult;
  /** Milliseconds since the Unix epoch when ADD was answered. */
  readonly addedAt: number;
}

/** An address that is about to be written and whose write is not yet known to have happened or not. */
export interface Intent {
  readonly name: string;
  readonly network: string;
  readonly address: string;
  readonly pool: string;
  readonly origin: Origin;
  readonly owner: AttachmentOwner;
}

export type JournalRecord =
  | { readonly t: 'intent'; readonly intent: Intent }
  /** ADD is answered: its intents are resolved but for those whose reservation is named. */
  | { readonly t: 'bound'; readonly attachment: Attachment; readonly doubts?: readonly string[] }
  /** ADD has failed: its intents are resolved but for those whose reservation is named. */
  | { readonly t: 'failed'; readonly key: string; readonly doubts: readonly string[] }
  /** An intent (by `intentKey`) turned out to have had no effect, or its effect is undone. */
  | { readonly t: 'resolved'; readonly intent: string }
  /** DEL is accepted: the address will be released. */
  | { readonly t: 'release'; readonly key: string }
  /** The API has the release of all addresses of the attachment, or they were no longer its own. */
  | { readonly t: 'released'; readonly key: string }
  /** The attachment is no more, and its addresses are somebody else's or nobody's: there is nothing to release. */
  | { readonly t: 'dropped'; readonly key: string };

export interface State {
  readonly attachments: Map<string, Attachment>;
  /** Pod UID, ifname and CNI network to the key of the attachment that has them: what a new sandbox rebinds. */
  readonly byInterface: Map<string, string>;
  readonly releasing: Map<string, Attachment>;
  /** By `intentKey`. */
  readonly intents: Map<string, Intent>;
}

export function emptyState(): State {
  return { attachments: new Map(), byInterface: new Map(), releasing: new Map(), intents: new Map() };
}

/** Two attachments may be in doubt about one name: an intent belongs to both. */
export function intentKey(owner: AttachmentOwner, name: string): string {
  return `${attachmentKey(owner)} ${name}`;
}

function dropIntents(state: State, key: string, except: readonly string[]): void {
  for (const [id, intent] of state.intents) {
    if (attachmentKey(intent.owner) === key && !except.includes(intent.name)) {
      state.intents.delete(id);
    }
  }
}

/** What stays the same when a pod's sandbox is restarted; undefined for an owner that is no pod. */
export function interfaceKey(owner: AttachmentOwner): string | undefined {
  return owner.uid === undefined ? undefined : `${owner.uid}/${owner.ifname}/${owner.cniNetwork ?? ''}`;
}

function remove(state: State, key: string): Attachment | undefined {
  const attachment = state.attachments.get(key);
  if (attachment !== undefined) {
    state.attachments.delete(key);
    const byInterface = interfaceKey(attachment.owner);
    if (byInterface !== undefined && state.byInterface.get(byInterface) === key) {
      state.byInterface.delete(byInterface);
    }
  }
  return attachment;
}

/** Changes `state` by one record. Records of things that are not there change nothing. */
export function applyRecord(state: State, record: JournalRecord): void {
  switch (record.t) {
    case 'intent':
      state.intents.set(intentKey(record.intent.owner, record.intent.name), record.intent);
      return;
    case 'bound': {
      const key = attachmentKey(record.attachment.owner);
      const byInterface = interfaceKey(record.attachment.owner);
      state.attachments.set(key, record.attachment);
      if (byInterface !== undefined) {
        state.byInterface.set(byInterface, key);
      }
      dropIntents(state, key, record.doubts ?? []);
      return;
    }
    case 'failed':
      dropIntents(state, record.key, record.doubts);
      return;
    case 'resolved':
      state.intents.delete(record.intent);
      return;
    case 'release': {
      const attachment = remove(state, record.key);
      if (attachment !== undefined) {
        state.releasing.set(record.key, attachment);
      }
      return;
    }
    case 'dropped':
      remove(state, record.key);
      return;
    case 'released':
      state.releasing.delete(record.key);
      return;
  }
}

/** The fewest records that make this state: what a compacted journal holds. */
export function recordsOf(state: State): JournalRecord[] {
  const records: JournalRecord[] = [];
  for (const [key, attachment] of state.releasing) {
    records.push({ t: 'bound', attachment }, { t: 'release', key });
  }
  for (const attachment of state.attachments.values()) {
    records.push({ t: 'bound', attachment });
  }
  for (const intent of state.intents.values()) {
    records.push({ t: 'intent', intent });
  }
  return records;
}
