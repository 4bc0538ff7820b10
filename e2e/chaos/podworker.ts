/** What a kubelet and its runtime do for one pod: one thing after the other, but for DELs that lag behind. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Api } from '../../kube/api.ts';
import type { Random } from '../../kube/clock.ts';
import { type Pod, pods } from '../../kube/core.ts';
import type { TestPod } from '../harness/cluster.ts';
import { attempt, CALL_MS, KUBELET_FINALIZER, NAMESPACE, type Wanted, wantedOf } from './pods.ts';
import type { Interface, NodeRuntime, Sandbox } from './runtime.ts';

/** How kubelet and runtime behave: shares are 0 to 1, of the cases in which it could happen. */
export interface Habits {
  /** Milliseconds, on average, that a sandbox of a running pod lives before it has to be made anew. */
  readonly sandboxMs: number;
  /** Of the restarts, that add the new sandbox before the DEL of the old one. */
  readonly overtake: number;
  /** Of the sandboxes, that never get a DEL. */
  readonly forgetDel: number;
  /** Of the DELs that succeeded, that are sent again. */
  readonly repeatDel: number;
  /** Of the ADDs that failed, that are tried again for the same sandbox. */
  readonly retrySame: number;
  /** Of the restarts, before which the same ADD is sent again. */
  readonly repeatAdd: number;
  /** Of the restarts, in whose place the pod's containers end for good. */
  readonly finish: number;
}

export const HABITS: Omit<Habits, 'sandboxMs'> = {
  overtake: 0.35,
  forgetDel: 0.05,
  repeatDel: 0.05,
  retrySame: 0.25,
  repeatAdd: 0.05,
  finish: 0.05,
};

const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 4_000;
const LATE_DEL_MS = 3_000;

export interface WorkerOptions {
  readonly api: Api;
  readonly runtime: NodeRuntime;
  readonly habits: Habits;
  readonly random: Random;
  readonly interfaces: readonly Interface[];
  readonly newContainer: () => string;
  /** Milliseconds that never go back. */
  readonly now: () => number;
  /** True from when no sandbox of a running pod shall be made anew any more. */
  readonly isWindingDown: () => boolean;
  /** Told of what must not happen: a bug of the run, not of Berth. */
  readonly onFault: (error: unknown) => void;
}

export class PodWorker {
  readonly #options: WorkerOptions;
  readonly #pod: TestPod;
  #wanted: Wanted = 'run';
  /** Its object waits for this kubelet to take the finalizer away. */
  #isKept = false;
  #sandbox: Sandbox | undefined;
  #isUp = false;
  /** When the sandbox is to be made anew. */
  #restartAt = 0;
  /** Sandboxes whose DEL is due. */
  readonly #owed: Sandbox[] = [];
  /** DELs that lag behind and are under way. */
  #late = 0;
  /** Lists that began before do not show what this kubelet has written. */
  #wroteAt = 0;
  #failures = 0;
  #isStopped = false;
  #wake: PromiseWithResolvers<void> = Promise.withResolvers();
  /** Resolves when nothing is left to do for this pod, ever. */
  readonly ended: Promise<void>;

  constructor(pod: TestPod, options: WorkerOptions) {
    this.#pod = pod;
    this.#options = options;
    this.ended = this.#run().catch(options.onFault);
  }

  /** Whether the pod is as it shall be, and nothing of an earlier sandbox is left to do. */
  get isSettled(): boolean {
    const isRight =
      this.#wanted === 'run' ? this.#isUp : this.#wanted === 'end' && this.#sandbox === undefined;
    return isRight && this.#owed.length === 0 && this.#late === 0;
  }

  /** For whoever waits in vain. */
  get state(): string {
    const { name, node } = this.#pod;
    const dels = this.#owed.length + this.#late;
    return `pod ${name} on ${node}: ${this.#wanted}, ${this.#isUp ? 'up' : 'not up'}, ${dels} DELs due`;
  }

  /** The pod in a list that began then. */
  observe(pod: Pod | undefined, listBegan: number): void {
    if (listBegan < this.#wroteAt) return;
    const wanted = wantedOf(pod);
    const isNews = wanted !== this.#wanted || this.#isCondemned();
    this.#wanted = wanted;
    this.#isKept = (pod?.metadata.finalizers ?? []).length > 0;
    if (isNews || wanted === 'release') this.#wake.resolve();
  }

  /** A pod that came back, as from a restore, after it was given up: its sandbox is not worth anything any more. */
  #isCondemned(): boolean {
    const attachments = this.#sandbox === undefined ? [] : this.#options.runtime.attachments(this.#sandbox);
    return attachments.some(({ goneAt }) => goneAt !== undefined);
  }

  /** Ends without doing what is due; what it is doing is waited for. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#wake.resolve();
    await this.ended;
    while (this.#late > 0) await sleep(50);
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      if (this.#wanted !== 'run') {
        if (await this.#stop()) return;
      } else if (this.#isCondemned()) {
        this.#end();
      } else if (this.#isUp) {
        await this.#keep();
      } else {
        await this.#setUp();
      }
    }
  }

  /** Waits for news, at most so long. */
  async #pause(ms: number): Promise<void> {
    if (this.#isStopped) return;
    this.#wake = Promise.withResolvers();
    const timer = setTimeout(this.#wake.resolve, ms);
    await this.#wake.promise;
    clearTimeout(timer);
  }

  async #keep(): Promise<void> {
    const { now, random, habits, runtime, isWindingDown } = this.#options;
    for (const old of this.#owed.splice(0)) this.#delLater(old);
    const left = this.#restartAt - now();
    if (left > 0 || isWindingDown()) {
      await this.#pause(Math.max(left, 250));
      return;
    }
    if (random() < habits.repeatAdd && this.#sandbox !== undefined) await runtime.repeat(this.#sandbox);
    if (random() < habits.finish) await this.#finish();
    else this.#end();
  }

  async #setUp(): Promise<void> {
    const { random, habits, interfaces, newContainer, runtime, now } = this.#options;
    if (this.#sandbox === undefined) {
      // In the usual order the old sandboxes are gone first.
      if (random() >= habits.overtake) await this.#delOwed();
      if (this.#wanted !== 'run') return;
      this.#sandbox = { pod: this.#pod, containerID: newContainer(), interfaces };
    }
    this.#isUp = await runtime.setUp(this.#sandbox);
    if (this.#isUp) {
      this.#failures = 0;
      // Exponential, so that restarts come at any time.
      this.#restartAt = now() - Math.log(1 - random()) * habits.sandboxMs;
      return;
    }
    if (random() >= habits.retrySame) this.#end();
    const backoffMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** this.#failures);
    this.#failures += 1;
    await this.#pause(backoffMs * (0.5 + random() / 2));
  }

  /** The sandbox is no more; its DEL is due, unless the runtime never sends it. */
  #end(): void {
    const { random, habits, runtime } = this.#options;
    const sandbox = this.#sandbox;
    this.#sandbox = undefined;
    this.#isUp = false;
    if (sandbox === undefined) return;
    runtime.ended(sandbox);
    if (random() >= habits.forgetDel) this.#owed.push(sandbox);
  }

  /** The pod's containers have ended for good: their sandbox goes, and the API server is told. */
  async #finish(): Promise<void> {
    const { api, now } = this.#options;
    this.#end();
    await this.#delOwed();
    const phase = { op: 'add', path: '/status/phase', value: 'Succeeded' } as const;
    const options = { subresource: 'status', timeoutMs: CALL_MS } as const;
    if ((await attempt(api.patch(pods, this.#key, [phase], options))) === undefined) return;
    this.#wroteAt = now();
    this.#wanted = 'end';
  }

  get #key(): { namespace: string; name: string } {
    return { namespace: NAMESPACE, name: this.#pod.name };
  }

  /** @returns true if nothing is left to do */
  async #stop(): Promise<boolean> {
    this.#end();
    await this.#delOwed();
    if (this.#wanted === 'run') return false;
    if (this.#wanted === 'forget') {
      while (this.#late > 0) await sleep(50);
      return true;
    }
    if (this.#wanted === 'release') await this.#release();
    await this.#pause(2_000);
    return false;
  }

  /**
   * A pod that is being deleted has ended here: its object may go. One without the finalizer is there because the API server was
   * killed between the two writes that removing it at once takes; a kubelet deletes it once more.
   */
  async #release(): Promise<void> {
    const { api } = this.#options;
    if (!this.#isKept) {
      const options = { preconditions: { uid: this.#pod.uid }, timeoutMs: CALL_MS };
      await attempt(api.delete(pods, this.#key, options));
      return;
    }
    const test = { op: 'test', path: '/metadata/uid', value: this.#pod.uid } as const;
    const finalizers = { op: 'test', path: '/metadata/finalizers', value: [KUBELET_FINALIZER] } as const;
    const remove = { op: 'remove', path: '/metadata/finalizers' } as const;
    await attempt(api.patch(pods, this.#key, [test, finalizers, remove], { timeoutMs: CALL_MS }));
  }

  async #delOwed(): Promise<void> {
    for (let old = this.#owed.shift(); old !== undefined; old = this.#owed.shift()) await this.#del(old);
  }

  #delLater(sandbox: Sandbox): void {
    const { random } = this.#options;
    this.#late += 1;
    const late = async (): Promise<void> => {
      await sleep(random() * LATE_DEL_MS);
      await this.#del(sandbox);
      this.#late -= 1;
    };
    late().catch(this.#options.onFault);
  }

  /** DEL until it succeeds. */
  async #del(sandbox: Sandbox): Promise<void> {
    const { runtime, random, habits } = this.#options;
    while (!this.#isStopped) {
      const isDone = await runtime.tearDown(sandbox);
      if (isDone && random() >= habits.repeatDel) return;
      await sleep(FIRST_BACKOFF_MS * (0.5 + random()));
    }
  }
}
