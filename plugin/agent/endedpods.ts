/**
 * Pods that are known to be deleted while attachments of theirs are left (their DEL is late, or never comes): that their
 * reservations go is no sign of a restore. The journal has it, so that it is known after the next start, too.
 *
 * - What counts is the word of a watch, or that a list lacks the pod while the API server has all that this node wrote. A
 *   list of any other time may lack it because of a restore.
 * - Of a static pod, whose UID is the kubelet's hash, the kubelet may have to make the mirror anew at any time. It has ended when
 *   no mirror was there for as long as the operator waits, and a live look finds none.
 */
import type { Clock } from '../../kube/clock.ts';
import { hasUid, type Pod } from '../../kube/core.ts';
import { changed } from './intents.ts';
import type { Journal } from './journal.ts';
import type { OwnerResolver, PodFacts } from './owners.ts';
import { attachmentKey } from './request.ts';
import type { Attachment, AttachmentOwner } from './state.ts';

/** A UID as the API server gives it (RFC 9562, in text). */
const API_UID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Milliseconds without a mirror after which a static pod has ended: `--orphan-grace` of the operator, by default. */
const MIRROR_GRACE_MS = 60_000;

export interface EndedPodsOptions {
  readonly clock: Clock;
  readonly journal: Journal;
  readonly owners: Pick<OwnerResolver, 'liveness'>;
  /** A pod of the agent's watch of its node. */
  readonly cachedPod: (namespace: string, name: string) => PodFacts | undefined;
}

export class EndedPods {
  readonly #options: EndedPodsOptions;
  /** Static pods' attachments without a mirror, by key, and since when (monotonic). */
  readonly #withoutMirror = new Map<string, number>();

  constructor(options: EndedPodsOptions) {
    this.#options = options;
  }

  /** A watch says that the pod is deleted. @throws Error if the journal cannot be written */
  deleted({ metadata }: Pod): void {
    this.#mark(({ uid }) => uid === metadata.uid);
    this.#noteMirrors();
  }

  /**
   * The list of pods is complete, and nothing that this node wrote is lost: who is not in it was deleted.
   * @throws Error if the journal cannot be written
   */
  complete(): void {
    this.#mark((owner) => !isStatic(owner) && this.#isMissing(owner));
    this.#noteMirrors();
  }

  /**
   * Asks for the static pods whose mirror has been away for long enough.
   * @throws CniError 11 if the API does not answer; Error if the journal cannot be written
   */
  async look(): Promise<void> {
    const { clock, journal, owners } = this.#options;
    for (const [key, since] of this.#withoutMirror) {
      if (clock.monotonic() - since < MIRROR_GRACE_MS) continue;
      const owner = journal.state.attachments.get(key)?.owner;
      if (owner !== undefined && (await owners.liveness(owner)) !== 'alive') {
        this.#mark((each) => attachmentKey(each) === key);
      }
      this.#withoutMirror.delete(key);
    }
  }

  #isMissing({ namespace, name, uid }: AttachmentOwner): boolean {
    if (namespace === undefined || name === undefined || uid === undefined) return false;
    const pod = this.#options.cachedPod(namespace, name);
    return pod === undefined || !hasUid(pod, uid);
  }

  #noteMirrors(): void {
    const { clock, journal } = this.#options;
    const isWithout = ({ owner, isEnded }: Attachment): boolean =>
      isEnded !== true && isStatic(owner) && this.#isMissing(owner);
    for (const [key, attachment] of journal.state.attachments) {
      if (!isWithout(attachment)) this.#withoutMirror.delete(key);
      else if (!this.#withoutMirror.has(key)) this.#withoutMirror.set(key, clock.monotonic());
    }
  }

  #mark(hasEnded: (owner: AttachmentOwner) => boolean): void {
    const { journal } = this.#options;
    // Collected first: writing one down moves it within the table.
    const all = Array.from(journal.state.attachments.values());
    for (const attachment of all) {
      if (attachment.isEnded === true || !hasEnded(attachment.owner)) continue;
      journal.append(changed(journal.state, { ...attachment, isEnded: true }));
    }
  }
}

/** True for the owner that a kubelet has named by the hash of its manifest. */
function isStatic({ uid }: AttachmentOwner): boolean {
  return uid !== undefined && !API_UID.test(uid);
}
