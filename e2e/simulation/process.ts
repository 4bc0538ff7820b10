/** One process of a simulated cluster: it lives until it is killed, on a clock and with dice of its own. */

import type { Clock, Random } from '../../kube/clock.ts';
import type { SeededRandom } from '../../plugin/agent/testing/random.ts';

/** A machine's wall clock, as milliseconds ahead of the true time. */
export interface WallClock {
  offsetMs: number;
}

/**
 * After `kill` nothing of the process happens any more: its timers are gone, and whatever else would have an effect
 * (API, journal, socket) asks `isAlive` first. SIGKILL does not unwind stacks, so its promises stay open for ever.
 */
export class SimulatedProcess {
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  #isAlive = true;
  readonly #death = Promise.withResolvers<void>();
  readonly #timers = new Set<() => void>();
  /** There while it is stopped. */
  #stopped: PromiseWithResolvers<void> | undefined;
  /** Timers that would have fired while it was stopped. */
  readonly #missed: (() => void)[] = [];
  /** Effects (API calls, journal records) until it is killed, and how. */
  #fuse: { left: number; readonly burn: () => void } | undefined;

  constructor(name: string, time: Clock, wall: WallClock, random: SeededRandom) {
    this.name = name;
    this.random = random.next;
    // A monotonic clock says nothing to the next process.
    const start = time.monotonic() - 1_000 * random.below(1_000_000);
    const after = (ms: number, run: () => void): (() => void) => {
      if (!this.#isAlive) return () => undefined;
      const cancel = time.after(ms, () => {
        this.#timers.delete(cancel);
        if (this.#stopped === undefined) run();
        else this.#missed.push(run);
      });
      this.#timers.add(cancel);
      return () => {
        this.#timers.delete(cancel);
        cancel();
      };
    };
    this.clock = {
      now: () => time.now() + wall.offsetMs,
      monotonic: () => time.monotonic() - start,
      after,
      sleep: (ms, signal) => sleepBy(after, ms, signal),
    };
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** Settles when it is killed. */
  get death(): Promise<void> {
    return this.#death.promise;
  }

  /** SIGSTOP: no timer fires and no answer is heard until `resume`. What was sent happens. */
  pause(): void {
    this.#stopped ??= Promise.withResolvers();
  }

  /** SIGCONT: all that it has missed comes at once. */
  resume(): void {
    this.#stopped?.resolve();
    this.#stopped = undefined;
    for (const run of this.#missed.splice(0)) {
      if (this.#isAlive) run();
    }
  }

  /** Settles when it is not stopped (any more). */
  async awake(): Promise<void> {
    while (this.#stopped !== undefined) await this.#stopped.promise;
  }

  kill(): void {
    this.#isAlive = false;
    this.resume();
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    this.#death.resolve();
  }

  /** `burn` is called instead of the effect that follows `effects` others. */
  setFuse(effects: number, burn: () => void): void {
    this.#fuse = { left: effects, burn };
  }

  /** To be called before each effect. */
  effect(): void {
    const fuse = this.#fuse;
    if (fuse === undefined) return;
    if (fuse.left === 0) {
      this.#fuse = undefined;
      fuse.burn();
    }
    fuse.left -= 1;
  }
}

function sleepBy(after: Clock['after'], ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = after(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
