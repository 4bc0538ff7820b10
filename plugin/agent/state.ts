/**
 * What an agent knows of its node's attachments, as a fold over journal records.
 *
 * - Live and after a restart the state is made by the same function, `applyRecord`: the journal is the state.
 * - An attachment is in `attachments` from its answer until its DEL is accepted, then in `releasing` until
 *   the API has the release.
 * - A name is in `intents` from before the first write until the ADD is answered, undone, or known to have failed.
 */
import type { Owner } from '../../ipam/reservation.ts';
import { isOlderVersion } from '../../kube/core.ts';
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
  /**
   * It was somebody else's when it was to be written again for a pod that a restored API server does not know: it still is to be,
   * once it is free.
   */
  readonly isOwed?: true;
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
  /** The pod is to show these addresses (`ipam.annotatePod`). */
  readonly annotate?: true;
  /**
   * Its pod is deleted; or it was lost by a restore, after which its reservations were written again, once. They may be taken
   * back at any time, and that is final unless the API server knows the pod.
   */
  readonly isEnded?: true;
  /** Milliseconds since the Unix epoch when the ADD came in: a DEL that was called later means this attachment. */
  readonly addedAt: number;
}

/** An address that is about to be written, or of which some write may still happen although nobody waits for it. */
export interface Intent {
  readonly name: string;
  readonly network: string;
  readonly address: string;
  readonly pool: string;
  readonly origin: Origin;
  readonly owner: AttachmentOwner;
  /** Of a rebound one: the sandbox that had it, and that it goes back to if it still is an attachment by then. */
  readonly from?: AttachmentOwner;
  /**
   * An undo was sent, or is about to be: it may happen late, and would hit this attachment's next claim of the name
   * too, which looks the same to every guard.
   */
  readonly isGivenBack?: true;
}

export type JournalRecord =
  | { readonly t: 'intent'; readonly intent: Intent }
  /**
   * ADD is answered: its intents are resolved but for those whose reservation is named. `replaces` is the key of the
   * attachment whose addresses these were: one record, or a crash would leave both or neither.
   */
  | {
      readonly t: 'bound';
      readonly attachment: Attachment;
      readonly doubts?: readonly string[];
      readonly replaces?: string;
    }
  /** ADD has failed: its intents are resolved but for those whose reservation is named. */
  | { readonly t: 'failed'; readonly key: string; readonly doubts: readonly string[] }
  /** An intent (by `intentKey`) turned out to have had no effect, or its effect is undone. */
  | { readonly t: 'resolved'; readonly intent: string }
  /** DEL is accepted: the address will be released. */
  | { readonly t: 'release'; readonly key: string }
  /** The API has the release of all addresses of the attachment, or they were no longer its own. */
  | { readonly t: 'released'; readonly key: string }
  /** The attachment is no more, and its addresses are somebody else's or nobody's: there is nothing to release. */
  | { readonly t: 'dropped'; readonly key: string }
  /** A first comparison with the API has ended: from now on what the journal does not have is left over. */
  | { readonly t: 'complete' };

const KINDS: ReadonlySet<string> = new Set<JournalRecord['t']>([
  'intent',
  'bound',
  'failed',
  'resolved',
  'release',
  'released',
  'dropped',
  'complete',
]);

/**
 * A record as it was written.
 * @throws Error for anything else, such as the record of a newer version
 */
export function parseRecord(line: string): JournalRecord {
  // Only this program writes journals: what has a known kind is a record of that kind.
  const value = JSON.parse(line) as JournalRecord | null;
  if (typeof value !== 'object' || value === null || !KINDS.has(value.t)) {
    throw new Error('it is no record of this version');
  }
  return value;
}

export interface State {
  readonly attachments: Map<string, Attachment>;
  /** Pod UID, ifname and CNI network to the keys of the attachments that have them: what a new sandbox rebinds. */
  readonly byInterface: Map<string, Set<string>>;
  /** Name of a reservation to the key of the attachment that has it: whoever got it last. */
  readonly byName: Map<string, string>;
  readonly releasing: Map<string, Attachment>;
  /** By `intentKey`. */
  readonly intents: Map<string, Intent>;
  /** Key of an attachment to those of its intents. */
  readonly intentKeys: Map<string, Set<string>>;
  /** False until the attachments of this node were once compared with the API: the table may lack some. */
  isComplete: boolean;
}

export function emptyState(): State {
  return {
    attachments: new Map(),
    byInterface: new Map(),
    byName: new Map(),
    releasing: new Map(),
    intents: new Map(),
    intentKeys: new Map(),
    isComplete: false,
  };
}

/** Two attachments may be in doubt about one name: an intent belongs to both. */
export function intentKey(owner: AttachmentOwner, name: string): string {
  return `${attachmentKey(owner)} ${name}`;
}

function addTo(index: Map<string, Set<string>>, key: string, member: string): void {
  const members = index.get(key);
  if (members === undefined) index.set(key, new Set([member]));
  else members.add(member);
}

function deleteFrom(index: Map<string, Set<string>>, key: string, member: string): void {
  const members = index.get(key);
  members?.delete(member);
  if (members?.size === 0) index.delete(key);
}

function addIntent(state: State, intent: Intent): void {
  const id = intentKey(intent.owner, intent.name);
  state.intents.set(id, intent);
  addTo(state.intentKeys, attachmentKey(intent.owner), id);
}

function dropIntent(state: State, id: string): void {
  const intent = state.intents.get(id);
  if (intent === undefined) return;
  state.intents.delete(id);
  deleteFrom(state.intentKeys, attachmentKey(intent.owner), id);
}

/** The intents of this attachment that are not resolved. */
export function intentsOf(state: State, key: string): Intent[] {
  return Array.from(state.intentKeys.get(key) ?? []).flatMap((id) => state.intents.get(id) ?? []);
}

function dropIntents(state: State, key: string, except: readonly string[]): void {
  for (const { owner, name } of intentsOf(state, key)) {
    if (!except.includes(name)) dropIntent(state, intentKey(owner, name));
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
    for (const { name } of attachment.claims) {
      if (state.byName.get(name) === key) state.byName.delete(name);
    }
    const byInterface = interfaceKey(attachment.owner);
    if (byInterface !== undefined) deleteFrom(state.byInterface, byInterface, key);
  }
  return attachment;
}

/**
 * Another attachment gets the reservation: whoever had it has it no more. The operator took it back when its pod was gone, and its
 * DEL never came.
 */
function takeAway(state: State, name: string, from: string): void {
  const former = state.attachments.get(from);
  if (former === undefined) return;
  const claims = former.claims.filter((claim) => claim.name !== name);
  if (claims.length === 0) remove(state, from);
  else state.attachments.set(from, { ...former, claims });
}

function bind(state: State, attachment: Attachment): void {
  const key = attachmentKey(attachment.owner);
  remove(state, key);
  for (const { name } of attachment.claims) {
    const former = state.byName.get(name);
    if (former !== undefined) takeAway(state, name, former);
    state.byName.set(name, key);
  }
  state.attachments.set(key, attachment);
  const byInterface = interfaceKey(attachment.owner);
  if (byInterface !== undefined) addTo(state.byInterface, byInterface, key);
}

/** The attachments of the same pod's interface in other sandboxes, newest first. */
export function otherSandboxes(state: State, owner: AttachmentOwner): string[] {
  const byInterface = interfaceKey(owner);
  const keys = byInterface === undefined ? undefined : state.byInterface.get(byInterface);
  const own = attachmentKey(owner);
  if (keys === undefined || (keys.size === 1 && keys.has(own))) return [];
  const addedAt = (key: string): number => state.attachments.get(key)?.addedAt ?? 0;
  return [...keys].filter((key) => key !== own).toSorted((a, b) => addedAt(b) - addedAt(a));
}

/** The newest of them; undefined if there is none. */
export function otherSandbox(state: State, owner: AttachmentOwner): string | undefined {
  return otherSandboxes(state, owner)[0];
}

/** True if the attachment has this reservation, or is giving it back. */
export function hasClaim(state: State, key: string, name: string): boolean {
  return [state.attachments.get(key), state.releasing.get(key)].some(
    (attachment) => attachment?.claims.some((claim) => claim.name === name) ?? false,
  );
}

/** Changes `state` by one record. Records of things that are not there change nothing. */
export function applyRecord(state: State, record: JournalRecord): void {
  switch (record.t) {
    case 'intent':
      addIntent(state, record.intent);
      return;
    case 'bound':
      if (record.replaces !== undefined) {
        remove(state, record.replaces);
      }
      bind(state, record.attachment);
      dropIntents(state, attachmentKey(record.attachment.owner), record.doubts ?? []);
      return;
    case 'failed':
      dropIntents(state, record.key, record.doubts);
      return;
    case 'resolved':
      dropIntent(state, record.intent);
      return;
    case 'release': {
      const attachment = remove(state, record.key);
      if (attachment !== undefined) {
        // What an earlier life of the same attachment still gives back must not be forgotten.
        const earlier = state.releasing.get(record.key)?.claims ?? [];
        state.releasing.set(record.key, { ...attachment, claims: [...earlier, ...attachment.claims] });
      }
      return;
    }
    case 'dropped':
      remove(state, record.key);
      return;
    case 'released':
      state.releasing.delete(record.key);
      return;
    case 'complete':
      state.isComplete = true;
      return;
  }
}

/** The fewest records that make this state: what a compacted journal holds. */
export function recordsOf(state: State): JournalRecord[] {
  const records: JournalRecord[] = state.isComplete ? [{ t: 'complete' }] : [];
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

/** A claim that an attachment has, and the version that the API server gave it. */
export interface VersionedClaim {
  readonly claim: Claim;
  readonly owner: AttachmentOwner;
  readonly version: string;
}

/**
 * What this node wrote last, of what is in use, newest first: an API server that is restored from a snapshot loses it first.
 * @param until a version: all that was written after it, and the newest that was not; undefined: the newest alone
 */
export function birdsOf(state: State, until?: string): VersionedClaim[] {
  const all: VersionedClaim[] = [];
  for (const { owner, claims, isEnded } of state.attachments.values()) {
    if (isEnded === true) continue;
    for (const claim of claims) {
      const version = claim.resourceVersion;
      if (version !== undefined) all.push({ claim, owner, version });
    }
  }
  all.sort((a, b) =>
    isOlderVersion(a.version, b.version) ? 1 : isOlderVersion(b.version, a.version) ? -1 : 0,
  );
  const end = until === undefined ? 0 : all.findIndex(({ version }) => !isOlderVersion(until, version));
  return end === -1 ? all : all.slice(0, end + 1);
}

/** The attachment that has the reservation by what this node knows, whatever the API server says; undefined: none. */
export function attachmentOf(state: State, name: string): Attachment | undefined {
  const key = state.byName.get(name);
  return key === undefined ? undefined : state.attachments.get(key);
}

/** Addresses of the network that attachments have, give back or are about to get. */
export function* ownAddresses(state: State, network: string): Generator<string> {
  for (const attachment of [...state.attachments.values(), ...state.releasing.values()]) {
    for (const claim of attachment.claims) {
      if (claim.network === network) {
        yield claim.address;
      }
    }
  }
  for (const intent of state.intents.values()) {
    if (intent.network === network) {
      yield intent.address;
    }
  }
}
