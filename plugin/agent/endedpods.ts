/**
 * Pods that are known to be deleted while attachments of theirs are left (their DEL is late, or never comes): that their
 * reservations go is no sign of a restore.
 *
 * - What counts is the word of a watch, or that a list lacks the pod while the API server has all that this node wrote. A
 *   list of any other time may lack it because of a restore.
 * - A pod that is seen again is not deleted: the kubelet makes a static pod's mirror anew.
 */
import { hasUid, MIRROR_ANNOTATION, type Pod } from '../../kube/core.ts';
import type { PodFacts } from './owners.ts';
import type { AttachmentOwner, State } from './state.ts';

export interface EndedPodsOptions {
  readonly state: State;
  /** A pod of the agent's watch of its node. */
  readonly cachedPod: (namespace: string, name: string) => PodFacts | undefined;
}

export class EndedPods {
  readonly #options: EndedPodsOptions;
  #uids: ReadonlySet<string> = new Set();

  constructor(options: EndedPodsOptions) {
    this.#options = options;
  }

  /** A watch says that the pod is deleted. */
  deleted({ metadata }: Pod): void {
    const isMirror = metadata.annotations?.[MIRROR_ANNOTATION] !== undefined;
    if (!isMirror) this.#mark(({ uid }) => uid === metadata.uid);
  }

  /** The pod is there. */
  seen({ metadata }: Pod): void {
    if ([...this.#uids].some((uid) => hasUid(metadata, uid))) {
      this.#uids = new Set([...this.#uids].filter((uid) => !hasUid(metadata, uid)));
    }
  }

  /** The list of pods is complete, and nothing that this node wrote is lost: who is not in it was deleted. */
  complete(): void {
    const { cachedPod } = this.#options;
    this.#mark(({ namespace = '', name = '', uid = '' }) => {
      const pod = cachedPod(namespace, name);
      return pod === undefined || !hasUid(pod, uid);
    });
  }

  /** True if the owner is a pod that was deleted. */
  has({ uid }: AttachmentOwner): boolean {
    return uid !== undefined && this.#uids.has(uid);
  }

  /** Those without an attachment are forgotten. */
  #mark(isEnded: (owner: AttachmentOwner) => boolean): void {
    const owners = [...this.#options.state.attachments.values()].map(({ owner }) => owner);
    this.#uids = new Set(
      owners.flatMap((owner) => (this.has(owner) || isEnded(owner) ? (owner.uid ?? []) : [])),
    );
  }
}
