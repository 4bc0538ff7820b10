/**
 * A queue of keys: client-go's rate-limiting work queue.
 *
 * - Fair: keys are handed out in the order in which they were added.
 * - Stingy: a key that is added several times before it is handed out is handed out once.
 * - One at a time: a key is never handed out twice at the same time. Added while it is being worked on,
 *   it is handed out again after `done`.
 * - Many producers and consumers.
 * - Shutdown: after it nothing is accepted; what is queued is still handed out, then `get` gives undefined.
 * - `addAfter` keeps the earliest time of a key; `addRateLimited` waits longer with each failure of that key.
 * - Does NOT survive the process, and does NOT hold anything but keys: the state is read when a key's turn comes.
 */
import type { Clock } from './clock.ts';

export interface WorkQueueOptions {
  readonly clock: Clock;
  /** Milliseconds of a key's first delay by `addRateLimited`; it doubles with each. Defaults to 5. */
  readonly baseDelayMs?: number | undefined;
  /** Defaults to 1,000,000 (client-go's 1000 s). */
  readonly maxDelayMs?: number | undefined;
}

interface Waiting {
  readonly at: number;
  readonly cancel: () => void;
}

export class RateLimitingQueue {
  readonly #clock: Clock;
  readonly #baseDelayMs: number;
  readonly #maxDelayMs: number;
  /** Keys to hand out, in order: each is dirty and not being processed. */
  #queue: string[] = [];
  #head = 0;
  /** Keys that need work. */
  readonly #dirty = new Set<string>();
  /** Keys that somebody works on. */
  readonly #processing = new Set<string>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #failures = new Map<string, number>();
  #getters: ((key: string | undefined) => void)[] = [];
  #idleWaiters: (() => void)[] = [];
  #shuttingDown = false;

  constructor(options: WorkQueueOptions) {
    this.#clock = options.clock;
    this.#baseDelayMs = options.baseDelayMs ?? 5;
    this.#maxDelayMs = options.maxDelayMs ?? 1_000_000;
  }

  /** Keys that are ready to be handed out. */
  get length(): number {
    return this.#queue.length - this.#head;
  }

  get shuttingDown(): boolean {
    return this.#shuttingDown;
  }

  /** The key needs work now. */
  add(key: string): void {
    if (this.#shuttingDown || this.#dirty.has(key)) return;
    this.#dirty.add(key);
    if (!this.#processing.has(key)) this.#enqueue(key);
  }

  /** The key needs work in `ms` milliseconds, or sooner if it is waiting for an earlier time already. */
  addAfter(key: string, ms: number): void {
    if (this.#shuttingDown) return;
    if (ms <= 0) {
      this.add(key);
      return;
    }
    const at = this.#clock.monotonic() + ms;
    const waiting = this.#waiting.get(key);
    if (waiting !== undefined) {
      if (waiting.at <= at) return;
      waiting.cancel();
    }
    const cancel = this.#clock.after(ms, () => {
      this.#waiting.delete(key);
      this.add(key);
    });
    this.#waiting.set(key, { at, cancel });
  }

  /** The key failed: it needs work again after a delay that doubles with each call until `forget`, `atLeastMs` or more. */
  addRateLimited(key: string, atLeastMs = 0): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const delay = Math.min(this.#baseDelayMs * 2 ** failures, this.#maxDelayMs);
    this.addAfter(key, Math.max(delay, atLeastMs));
  }

  /** The key is well again: its next failure waits the base delay. Does not remove it from the queue. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** Calls of `addRateLimited` since the last `forget`. */
  requeues(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /** The next key, as soon as there is one; undefined when the queue is shut down and empty. Call `done` after the work. */
  get(): Promise<string | undefined> {
    const key = this.#dequeue();
    if (key !== undefined) return Promise.resolve(key);
    if (this.#shuttingDown) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#getters.push(resolve);
    });
  }

  /** The work on a key that `get` gave has ended, well or not. */
  done(key: string): void {
    this.#processing.delete(key);
    if (this.#dirty.has(key)) this.#enqueue(key);
    if (this.#processing.size === 0 && this.length === 0) {
      const waiters = this.#idleWaiters;
      this.#idleWaiters = [];
      for (const resolve of waiters) resolve();
    }
  }

  /** Accepts nothing more and drops what waits for a time; queued keys are still handed out. */
  shutDown(): void {
    this.#shuttingDown = true;
    for (const { cancel } of this.#waiting.values()) cancel();
    this.#waiting.clear();
    const getters = this.#getters;
    this.#getters = [];
    for (const resolve of getters) resolve(undefined);
  }

  /** `shutDown`, and resolves when every key that was queued or being worked on is done. */
  async shutDownWithDrain(): Promise<void> {
    this.shutDown();
    if (this.#processing.size === 0 && this.length === 0) return;
    await new Promise<void>((resolve) => {
      this.#idleWaiters.push(resolve);
    });
  }

  #enqueue(key: string): void {
    const getter = this.#getters.shift();
    if (getter === undefined) {
      this.#queue.push(key);
      return;
    }
    this.#start(key);
    getter(key);
  }

  #dequeue(): string | undefined {
    const key = this.#queue[this.#head];
    if (key === undefined) return undefined;
    this.#head += 1;
    // Cut the used part off now and then: shifting each time is quadratic.
    if (this.#head > 1000 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    this.#start(key);
    return key;
  }

  #start(key: string): void {
    this.#dirty.delete(key);
    this.#processing.add(key);
  }
}
