/**
 * Pods that are known to be deleted while attachments of theirs are left (their DEL is late, or never comes): that their
 * reservations go is no sign of a restore. The journal has it, so that it is known after the next start, too.
 *
 * - What counts is the word of a watch, or that a list lacks the pod while the API server has all that this node wrote. A
 *   list of any other time may lack it because of a restore.
 * - A pod that is seen again is not deleted: the kubelet makes a static pod's mirror anew.
 */
import { hasUid, MIRROR_ANNOTATION, type Pod } from '../../kube/core.ts';
import { doubtsOf } from './intents.ts';
import type { Journal } from './journal.ts';
import type { PodFacts } from './owners.ts';
import type { AttachmentOwner } from './state.ts';

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
    const isMirror = metadata.annotations?.[MIRROR_ANNOTATION] !== undefined;
    if (!isMirror) this.#mark(true, ({ uid }) => uid === metadata.uid);
  }

  /** The pod is there. @throws Error if the journal cannot be written */
  seen({ metadata }: Pod): void {
    this.#mark(false, ({ uid }) => uid !== undefined && hasUid(metadata, uid));
  }

  /**
   * The list of pods is complete, and nothing that this node wrote is lost: who is not in it was deleted.
   * @throws Error if the journal cannot be written
   */
  complete(): void {
    const { cachedPod } = this.#options;
    this.#mark(true, ({ namespace, name, uid }) => {
      if (namespace === undefined || name === undefined || uid === undefined) return false;
      const pod = cachedPod(namespace, name);
      return pod === undefined || !hasUid(pod, uid);
    });
  }

  #mark(isEnded: boolean, isMeant: (owner: AttachmentOwner) => boolean): void {
    const { journal } = this.#options;
    // Collected first: writing one down moves it within the table.
    const all = Array.from(journal.state.attachments);
    for (const [key, { isEnded: wasEnded, ...attachment }] of all) {
      if ((wasEnded === true) === isEnded || !isMeant(attachment.owner)) continue;
      journal.append({
        t: 'bound',
        attachment: { ...attachment, ...(isEnded && { isEnded }) },
        doubts: doubtsOf(journal.state, key),
      });
    }
  }
}
