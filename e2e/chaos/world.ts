/** Shows the pods to kubelets and users more than twice a second, and reads what Berth reports. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Faults } from './faults.ts';
import type { Kubelet } from './kubelet.ts';
import type { Ledger } from './ledger.ts';
import { attempt, listPods, type PodList } from './pods.ts';
import type { Reports } from './reports.ts';
import type { Stage } from './stage.ts';
import type { Users } from './users.ts';

const OBSERVE_EVERY_MS = 400;
const READ_EVERY_MS = 3_000;

export interface WorldOptions {
  readonly stage: Stage;
  readonly ledger: Ledger;
  readonly reports: Reports;
  readonly users: Users;
  readonly kubelets: readonly Kubelet[];
  readonly faults: Faults;
  /** Milliseconds that never go back. */
  readonly now: () => number;
  readonly log: (line: string) => void;
}

export class World {
  readonly #options: WorldOptions;
  readonly #failed: PromiseWithResolvers<never> = Promise.withResolvers();
  #list: PodList | undefined;
  #phase: 'load' | 'winding down' | 'clearing' = 'load';
  /** Lists that began before do not show what the phase has changed. */
  #phaseBegan = 0;
  readonly #removed = new Set<string>();

  constructor(options: WorldOptions) {
    this.#options = options;
  }

  /** Rejects with what has broken the run itself. */
  get failure(): Promise<never> {
    return this.#failed.promise;
  }

  readonly fail = (error: unknown): void => this.#failed.reject(error);

  get isWindingDown(): boolean {
    return this.#phase !== 'load';
  }

  /** No pod and no sandbox is replaced any more. */
  windDown(): void {
    this.#phase = 'winding down';
    this.#phaseBegan = this.#options.now();
  }

  /** From now on every pod is deleted. */
  clear(): void {
    this.#phase = 'clearing';
    this.#phaseBegan = this.#options.now();
  }

  /** What kubelets still have to do, by a list of after the phase began; one line each. */
  unsettled(): string[] {
    const list = this.#list;
    if (list === undefined || list.began <= this.#phaseBegan) return ['the pods have not been listed since'];
    if (this.#phase === 'clearing' && list.pods.size > 0) return [`${list.pods.size} pods are still there`];
    return this.#options.kubelets.flatMap((kubelet) => kubelet.unsettled(list));
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#observe(signal), this.#read(signal)]);
  }

  /** Ends all kubelets; what they were doing is waited for. */
  async stop(): Promise<void> {
    await Promise.all(this.#options.kubelets.map((kubelet) => kubelet.stop()));
  }

  async #observe(signal: AbortSignal): Promise<void> {
    const { stage, ledger, kubelets, users, faults, now } = this.#options;
    while (!signal.aborted) {
      const list = await attempt(listPods(stage.cluster.api, now));
      if (list !== undefined) {
        this.#list = list;
        for (const uid of list.pods.keys()) ledger.podSeen(uid, list.began);
        // Whoever is not there and was not removed was lost by the last restore.
        const since = faults.restores.at(-1)?.from ?? list.began;
        for (const { pod } of ledger.live()) if (!list.pods.has(pod.uid)) ledger.podGone(pod.uid, since);
        for (const kubelet of kubelets) kubelet.observe(list);
        users.act(list, this.#phase).catch(this.fail);
      }
      await sleep(OBSERVE_EVERY_MS);
    }
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { stage, reports, faults } = this.#options;
    while (!signal.aborted) {
      for (const [node, agent] of stage.agents) {
        if (!agent.isHeld) await reports.scrape(stage.cluster.agent(node));
      }
      if (faults.restores.length > 0 && !faults.isRestoring) {
        await reports.readEvents(stage.cluster.api);
        await this.#obey();
      }
      await sleep(READ_EVERY_MS);
    }
  }

  /** What a person does who reads of a conflict: deletes one of the two pods, the one without the reservation. */
  async #obey(): Promise<void> {
    const { reports, users, log } = this.#options;
    for (const { uid, message, isWithoutReservation } of reports.events) {
      const pod = this.#list?.pods.get(uid);
      if (pod === undefined || !isWithoutReservation || this.#removed.has(uid)) continue;
      this.#removed.add(uid);
      log(`deleting pod ${pod.metadata.name}, of which an Event says: ${message}`);
      await users.remove(pod);
    }
  }
}
