/** What a kubelet and its runtime do for one pod: one thing after the other, but for DELs that lag behind. */
import type { PodIdentity, Sandbox } from './oracle.ts';
import { addressesOf, codeOf, type PodHost, type PodState } from './runtime.ts';

/** Milliseconds after which the binary may have given up, and the agent may still be at it. */
const UNSURE_AFTER_MS = 20_000;

/** What may be asked of a pod that runs. */
export type Errand = 'restart' | 'repeat' | 'check' | 'strayDel';

export class PodWorker {
  readonly pod: PodIdentity;
  readonly #kubelet: PodHost;
  readonly #errands: Errand[] = [];
  #wanted: PodState = 'run';
  #current: Sandbox | undefined;
  /** Sandboxes whose DEL is due. */
  #owed: Sandbox[] = [];
  #wake: PromiseWithResolvers<void> = Promise.withResolvers();
  #isDiscarded = false;
  /** ADDs in a row that failed. */
  #failures = 0;

  constructor(kubelet: PodHost, pod: PodIdentity) {
    this.#kubelet = kubelet;
    this.pod = pod;
    this.#run().catch((error: unknown) => kubelet.options.oracle.broken(`the pod worker: ${String(error)}`));
  }

  get wanted(): PodState {
    return this.#wanted;
  }

  get isLive(): boolean {
    return this.#current?.state === 'live';
  }

  /** What the runtime has, whatever its state. */
  get containers(): string[] {
    return [this.#current, ...this.#owed].flatMap((sandbox) => sandbox?.container ?? []);
  }

  want(state: PodState): void {
    this.#wanted = state;
    this.wake();
  }

  ask(errand: Errand): void {
    this.#errands.push(errand);
    this.wake();
  }

  wake(): void {
    this.#wake.resolve();
  }

  /** The runtime has lost what it was doing, not what it had. */
  restarted(): void {
    if (this.#current?.state === 'new') this.#endCurrent();
    this.wake();
  }

  lostPower(): void {
    this.#endCurrent();
  }

  /** Nobody on this node knows of the pod any more. */
  discard(): void {
    this.#isDiscarded = true;
    for (const sandbox of [this.#current, ...this.#owed]) {
      if (sandbox === undefined) continue;
      this.#kubelet.options.oracle.ended(sandbox);
      sandbox.isForgotten = true;
    }
    this.#current = undefined;
    this.#owed = [];
    this.wake();
  }

  async #run(): Promise<void> {
    while (!this.#isDiscarded) {
      this.#wake = Promise.withResolvers();
      if (!this.#kubelet.isUp) await this.#wake.promise;
      else if (this.#wanted === 'run') await this.#keepRunning();
      else if (await this.#tearDown()) return;
    }
  }

  async #keepRunning(): Promise<void> {
    if (this.#current?.state !== 'live') {
      await this.#setUp();
      return;
    }
    for (const old of this.#owed.splice(0)) this.#delSomeTime(old);
    const errand = this.#errands.shift();
    if (errand === undefined) await this.#wake.promise;
    else await this.#go(errand, this.#current);
  }

  async #go(errand: Errand, current: Sandbox): Promise<void> {
    switch (errand) {
      case 'restart':
        this.#endCurrent();
        return;
      case 'repeat':
        await this.#repeat(current);
        return;
      case 'check':
        await this.#kubelet.call('CHECK', current);
        return;
      case 'strayDel': {
        const stranger = { ...current, container: `${current.container}-unknown`, state: 'ended' as const };
        await this.#del(stranger);
      }
    }
  }

  async #setUp(): Promise<void> {
    const { random, options } = this.#kubelet;
    const { oracle, time, habits, newContainer } = options;
    if (this.#current === undefined) {
      // In the usual order the old sandboxes are gone first.
      const overtakes = random.next() < habits.overtake;
      for (let old = this.#owed.shift(); old !== undefined; old = this.#owed.shift()) {
        if (overtakes) this.#delSomeTime(old);
        else if (!(await this.#del(old))) return;
      }
      // Things may have changed meanwhile: look again.
      if (this.#wanted !== 'run' || !this.#kubelet.isUp) return;
      this.#current = {
        container: newContainer(),
        pod: this.pod,
        state: 'new',
        addresses: [],
        isForgotten: false,
        isUnsure: false,
      };
    }
    const sandbox = this.#current;
    const calledAt = time.monotonic();
    const answer = await this.#kubelet.call('ADD', sandbox);
    sandbox.isUnsure ||= answer === undefined || time.monotonic() - calledAt >= UNSURE_AFTER_MS;
    if (answer === undefined || this.#current !== sandbox) return;
    if (answer.exitCode === 0) {
      oracle.added(sandbox, addressesOf(answer), calledAt);
      this.#failures = 0;
      return;
    }
    if (random.next() >= habits.retrySame) this.#endCurrent();
    this.#failures += 1;
    const backoffMs = Math.min(60_000, 1_000 * 2 ** this.#failures);
    await Promise.race([time.sleep(backoffMs / 2 + random.below(backoffMs)), this.#wake.promise]);
  }

  /** The same ADD again gives the same answer, and writes nothing. */
  async #repeat(sandbox: Sandbox): Promise<void> {
    const { oracle, time } = this.#kubelet.options;
    const calledAt = time.monotonic();
    const hadLost = sandbox.addresses.some((address) => oracle.restored.isLost(sandbox, address));
    const before = oracle.writes.get(sandbox.container);
    const wasProtected = oracle.isProtected(sandbox);
    const answer = await this.#kubelet.call('ADD', sandbox);
    if (answer === undefined || sandbox.state !== 'live' || !wasProtected) return;
    if (answer.exitCode === 0) oracle.added(sandbox, addressesOf(answer), calledAt);
    else if (codeOf(answer) !== 11) oracle.broken(`ADD ${sandbox.container} again: ${answer.stdout}`);
    if (!hadLost && oracle.isProtected(sandbox) && oracle.writes.get(sandbox.container) !== before) {
      oracle.broken(`ADD ${sandbox.container} again wrote something`);
    }
  }

  /** @returns true if nothing is left to do for this pod, ever */
  async #tearDown(): Promise<boolean> {
    this.#endCurrent();
    for (let old = this.#owed.shift(); old !== undefined; old = this.#owed.shift()) {
      if (!(await this.#del(old))) return false;
    }
    if (this.#wanted === 'run' || !this.#kubelet.isUp || this.#current !== undefined) return false;
    if (this.#wanted === 'stop' && !(await this.#kubelet.options.finalize(this.pod))) {
      await this.#kubelet.options.time.sleep(1_000);
      return false;
    }
    if (this.#wanted === 'gone' && this.#owed.length === 0) {
      this.#kubelet.forget(this.pod.uid);
      return true;
    }
    await this.#wake.promise;
    return false;
  }

  /** The sandbox is no more; its DEL is due, unless the runtime never sends it. */
  #endCurrent(): void {
    const { random, options } = this.#kubelet;
    const sandbox = this.#current;
    if (sandbox === undefined) return;
    this.#current = undefined;
    options.oracle.ended(sandbox);
    if (random.next() < options.habits.forgetDel) {
      sandbox.isForgotten = true;
      options.note(`${this.pod.node}: the DEL of ${sandbox.container} is forgotten`);
    } else {
      this.#owed.push(sandbox);
    }
  }

  #delSomeTime(sandbox: Sandbox): void {
    const { random, options } = this.#kubelet;
    const later = async (): Promise<void> => {
      await options.time.sleep(random.below(5_000));
      await this.#del(sandbox);
    };
    later().catch((error: unknown) => options.oracle.broken(`a late DEL: ${String(error)}`));
  }

  /** DEL until it succeeds. @returns false if the runtime died meanwhile; it is then due again, or forgotten */
  async #del(sandbox: Sandbox): Promise<boolean> {
    const { random, options } = this.#kubelet;
    const { oracle, machine, habits, time } = options;
    for (let isFirst = true; ; isFirst = false) {
      const mustSucceed = machine.hasMarker;
      // An ADD that is known to have failed has left nothing that its DEL could end.
      oracle.promiseNothing(
        (promised) => promised === sandbox || (promised.pod.uid === sandbox.pod.uid && sandbox.isUnsure),
      );
      const answer = this.#kubelet.isUp ? await this.#kubelet.call('DEL', sandbox) : undefined;
      if (this.#isDiscarded) return false;
      if (answer === undefined) {
        this.#owed.push(sandbox);
        return false;
      }
      if (answer.exitCode === 0) {
        if (!isFirst || random.next() >= habits.repeatDel) return true;
      } else if (mustSucceed) {
        oracle.broken(`DEL ${sandbox.container}: ${answer.stdout}`);
        return true;
      }
      await time.sleep(random.below(3_000));
    }
  }
}
