/**
 * Pods that are known to be deleted while attachments of theirs are left (their DEL is late, or never comes): that their
 * reservations go is no sign of a restore. The journal has it, so that it is known after the next start, too.
 *
 * - What counts is the word of a watch, or that a list lacks the pod while the API server has all that this node wrote. A
 *   list of any other time may lack it because of a restore.
 * - Static pods are left out: the kubelet may have to make their mirror anew at any time. Their UID is the kubelet's hash.
 */
import { hasUid, type Pod } from '../../kube/core.ts';
import { changed } from './intents.ts';
import type { Journal } from './journal.ts';
import type { PodFacts } from './owners.ts';
import type { AttachmentOwner } from './state.ts';

/** A UID as the API server gives it (RFC 9562, in text). */
const API_UID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export interface EndedPodsOptions {
  readonly journal: Journal;
  /** A pod of the agent's watch of its node. */
  readonly cachedPod: (namespace: string, name: string) => PodFacts | undefined;
}

export class EndedPods {
  readonly #options: EndedPodsOptions;

  constructor(options: EndedPodsOptions) {
    this.#options = options;
  }

  /** A watch says that the pod is deleted. @throws Error if the journal cannot be written */
  deleted({ metadata }: Pod): void {
    this.#mark(({ uid }) => uid === metadata.uid);
  }

  /**
   * The list of pods is complete, and nothing that this node wrote is lost: who is not in it was deleted.
   * @throws Error if the journal cannot be written
   */
  complete(): void {
    const { cachedPod } = this.#options;
    this.#mark(({ namespace, name, uid }) => {
      if (namespace === undefined || name === undefined || uid === undefined || !API_UID.test(uid))
        return false;
      const pod = cachedPod(namespace, name);
      return pod === undefined || !hasUid(pod, uid);
    });
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
