/**
 * The cluster's users and controllers: they want one pod for each slot, and delete, remove by force, re-create and move them.
 *
 * Pods of a third of the slots have another name each time, as those of a Deployment; the others keep theirs, as those of a
 * StatefulSet, so that one of the same name follows at once, here or on another node. Pods of another third live long: what
 * they have is what a restore takes from them.
 */
import type { Api } from '../../kube/api.ts';
import type { Random } from '../../kube/clock.ts';
import { type Pod, pods } from '../../kube/core.ts';
import type { Ledger } from './ledger.ts';
import { attempt, CALL_MS, KUBELET_FINALIZER, NAMESPACE, type PodList, SLOT_LABEL } from './pods.ts';

export interface UsersOptions {
  readonly api: Api;
  readonly ledger: Ledger;
  readonly random: Random;
  readonly nodes: readonly string[];
  readonly slots: number;
  /** Milliseconds that a pod lives, on average, if it is not one of those that live long. */
  readonly podMs: number;
  /** Milliseconds that never go back. */
  readonly now: () => number;
}

/** Share of pods that are removed by force when their time is over: nobody waits for their kubelet. */
const FORCED = 0.3;
/** How many times as long the pods live that live long. */
const LONG = 10;
/** Share of re-created pods that come up on another node. */
const MOVED = 0.5;

export interface Churn {
  created: number;
  deleted: number;
  forced: number;
  moved: number;
}

export class Users {
  readonly #options: UsersOptions;
  /** When the pod of a slot is to go. */
  readonly #endAt = new Map<number, number>();
  readonly #lastNode = new Map<number, string>();
  /** Slots that are being written, and until when lists do not show what was. */
  readonly #busy = new Set<number>();
  readonly #wroteAt = new Map<number, number>();
  #names = 0;
  readonly churn: Churn = { created: 0, deleted: 0, forced: 0, moved: 0 };

  constructor(options: UsersOptions) {
    this.#options = options;
  }

  /** Does what is due, by a list of what there is. Resolves when the API server has answered, or has not in time. */
  async act(list: PodList, phase: 'load' | 'winding down' | 'clearing'): Promise<void> {
    if (phase === 'winding down') return;
    if (phase === 'clearing') {
      const left = [...list.pods.values()].filter(({ metadata }) => metadata.deletionTimestamp === undefined);
      await Promise.all(left.map((pod) => this.#delete(pod)));
      return;
    }
    const bySlot = new Map<number, Pod[]>();
    for (const pod of list.pods.values()) {
      const slot = Number(pod.metadata.labels?.[SLOT_LABEL]);
      bySlot.set(slot, [...(bySlot.get(slot) ?? []), pod]);
    }
    const slots = Array.from({ length: this.#options.slots }, (_, slot) => slot);
    const shown = slots.filter(
      (slot) => !this.#busy.has(slot) && (this.#wroteAt.get(slot) ?? 0) < list.began,
    );
    await Promise.all(shown.map((slot) => this.#actOn(slot, bySlot.get(slot) ?? [])));
  }

  /** Deletes a pod as a person does that has read of a conflict. */
  async remove(pod: Pod): Promise<void> {
    await this.#delete(pod);
  }

  async #actOn(slot: number, found: readonly Pod[]): Promise<void> {
    this.#busy.add(slot);
    try {
      const [present, ...surplus] = found.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
      // More than one: a restore has brought back what had been replaced.
      for (const pod of surplus) await this.#delete(pod);
      if (present === undefined) {
        // A name is free only when the last pod of that name is gone.
        if (found.length === 0) await this.#create(slot);
        return;
      }
      const endAt = this.#endAt.get(slot) ?? this.#endOf(slot);
      this.#endAt.set(slot, endAt);
      const isOver = present.status?.phase === 'Succeeded';
      if (!isOver && this.#options.now() < endAt) return;
      const became = await this.#delete(present);
      this.#wroteAt.set(slot, this.#options.now());
      if (became === 'gone') await this.#create(slot);
    } finally {
      this.#busy.delete(slot);
    }
  }

  /** When a pod that begins now is to go: exponential, so that it may be at any time. */
  #endOf(slot: number): number {
    const { now, random, podMs } = this.#options;
    return now() - Math.log(1 - random()) * podMs * (slot % 3 === 2 ? LONG : 1);
  }

  async #create(slot: number): Promise<void> {
    const { api, random, nodes } = this.#options;
    const last = this.#lastNode.get(slot) ?? nodes[slot % nodes.length] ?? '';
    const node = random() < MOVED ? (nodes[Math.floor(random() * nodes.length)] ?? last) : last;
    this.#names += 1;
    const name = slot % 3 === 0 ? `pod-${slot}-${this.#names}` : `pod-${slot}`;
    const finalizers = random() < FORCED ? [] : [KUBELET_FINALIZER];
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { namespace: NAMESPACE, name, labels: { [SLOT_LABEL]: String(slot) }, finalizers },
      // The API server wants a container, which nothing runs; Pod has only the fields that Berth reads.
      spec: {
        nodeName: node,
        terminationGracePeriodSeconds: 0,
        containers: [{ name: 'c', image: 'none' }],
      } as Pod['spec'] & object,
    };
    if ((await attempt(api.create(pods, pod, { timeoutMs: CALL_MS }))) === undefined) return;
    this.#wroteAt.set(slot, this.#options.now());
    this.#endAt.set(slot, this.#endOf(slot));
    this.churn.created += 1;
    if (node !== last && this.#lastNode.has(slot)) this.churn.moved += 1;
    this.#lastNode.set(slot, node);
  }

  /** @returns 'gone' if its object is gone at once */
  async #delete({ metadata }: Pod): Promise<'gone' | 'going' | undefined> {
    const { api, ledger, now } = this.#options;
    const { name = '', uid = '', finalizers = [] } = metadata;
    const isForced = finalizers.length === 0;
    // From here on its addresses may be given to somebody else, whatever becomes of the call.
    if (isForced) ledger.podGone(uid, now());
    const key = { namespace: NAMESPACE, name };
    const done = api.delete(pods, key, { preconditions: { uid }, timeoutMs: CALL_MS }).then(() => true);
    if ((await attempt(done)) === undefined) return undefined;
    if (isForced) this.churn.forced += 1;
    else this.churn.deleted += 1;
    return isForced ? 'gone' : 'going';
  }
}
