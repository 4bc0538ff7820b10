/**
 * A clock that moves only when a test says so.
 *
 * - Timers fire in the order of their times; those of the same time in the order in which they were set.
 * - `advance` lets everything that can run without time passing run before it, between timers and after it.
 * - Does NOT wait for real I/O: a socket's answer needs a real clock.
 */
import type { Clock } from '../clock.ts';

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

/** Clocks that `takePendingTimers` has not looked at yet. */
const clocks = new Set<FakeClock>();

/** Lets every promise that can settle now settle. */
export function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

export class FakeClock implements Clock {
  #elapsed = 0;
  readonly #epoch: number;
  readonly #timers = new Set<Timer>();

  /** `epoch`: what `now` says at first, in milliseconds. Defaults to 2026-01-01T00:00:00Z. */
  constructor(epoch: number = Date.UTC(2026, 0, 1)) {
    this.#epoch = epoch;
    clocks.add(this);
  }

  /** Timers that have been set, and have neither fired nor been cancelled. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  now(): number {
    return this.#epoch + this.#elapsed;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#elapsed + Math.max(ms, 0), run };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        cancel();
        reject(signal?.reason);
      };
      const cancel = this.after(ms, () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      });
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Lets `ms` milliseconds pass. */
  async advance(ms: number): Promise<void> {
    const target = this.#elapsed + ms;
    await settle();
    for (let timer = this.#next(target); timer !== undefined; timer = this.#next(target)) {
      this.#elapsed = Math.max(this.#elapsed, timer.at);
      this.#timers.delete(timer);
      timer.run();
      await settle();
    }
    this.#elapsed = target;
    await settle();
  }

  #next(target: number): Timer | undefined {
    let next: Timer | undefined;
    // A set keeps insertion order, so the first of the earliest time was set first.
    for (const timer of this.#timers) {
      if (timer.at <= target && (next === undefined || timer.at < next.at)) next = timer;
    }
    return next;
  }
}

/**
 * The number of timers that the fake clocks made since the last call have left behind; forgets the clocks.
 * `leaks.ts` makes a test fail by it.
 */
export function takePendingTimers(): number {
  let pending = 0;
  for (const clock of clocks) pending += clock.pendingTimers;
  clocks.clear();
  return pending;
}
