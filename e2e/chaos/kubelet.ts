/** A node's kubelet: runs the pods that the API server has for its node, and ends those that it has no more. */
import type { Pod } from '../../kube/core.ts';
import { NAMESPACE, type PodList, SLOT_LABEL } from './pods.ts';
import { PodWorker, type WorkerOptions } from './podworker.ts';
import type { Interface } from './runtime.ts';

export interface KubeletOptions extends Omit<WorkerOptions, 'interfaces'> {
  readonly node: string;
  readonly interfacesOf: (slot: number) => readonly Interface[];
}

export class Kubelet {
  readonly #options: KubeletOptions;
  readonly #workers = new Map<string, PodWorker>();

  constructor(options: KubeletOptions) {
    this.#options = options;
  }

  /** What is still to be done so that every pod of the list is as it shall be, and no other is left; one line each. */
  unsettled(list: PodList): string[] {
    const here = [...list.pods].filter(([, pod]) => this.#isHere(pod)).map(([uid]) => uid);
    const workers = [...this.#workers].filter(([uid, worker]) => !worker.isSettled || !list.pods.has(uid));
    return [
      ...here.filter((uid) => !this.#workers.has(uid)).map((uid) => `pod ${uid} has not been seen`),
      ...workers.map(([, worker]) => worker.state),
    ];
  }

  observe({ pods, began }: PodList): void {
    for (const [uid, pod] of pods) {
      if (this.#isHere(pod) && !this.#workers.has(uid)) this.#start(uid, pod);
    }
    for (const [uid, worker] of this.#workers) worker.observe(pods.get(uid), began);
  }

  /** Ends without doing what is due. */
  async stop(): Promise<void> {
    await Promise.all([...this.#workers.values()].map((worker) => worker.stop()));
  }

  #isHere({ spec }: Pod): boolean {
    return spec?.nodeName === this.#options.node;
  }

  #start(uid: string, { metadata }: Pod): void {
    const { node, interfacesOf, onFault } = this.#options;
    const pod = { namespace: NAMESPACE, name: metadata.name ?? '', uid, node };
    const interfaces = interfacesOf(Number(metadata.labels?.[SLOT_LABEL]));
    const worker = new PodWorker(pod, { ...this.#options, interfaces });
    this.#workers.set(uid, worker);
    worker.ended.then(() => this.#workers.delete(uid)).catch(onFault);
  }
}
