/**
 * How many calls run at the same time: found out by how the server takes them, as TCP finds its window.
 *
 * - Halved when a call is turned away (429) or times out, once for all calls that were under way together.
 * - One more after four times as many writes as may run at once, if all places were in use: up to where it began in any
 *   case, beyond that only while a write takes hardly longer than with the fewest. More in hand would then only wait in
 *   the server instead of here.
 * - Who waits is served in order, and given up on time: it never has a place afterwards.
 * - Does NOT wait after a refusal: how long is the caller's decision (Retry-After). Watches are not counted.
 */
import type { Clock } from './clock.ts';

export interface AdaptiveLimitOptions {
  readonly clock: Clock;
  /** It begins here, or with `most` if that is less. Defaults to 32. */
  readonly initial?: number;
  /** Defaults to 2: one that waits for its time-out must not stop everything. */
  readonly least?: number;
  readonly most: number;
}

/** A window has so many writes for each that may run at once. */
const ROUNDS = 4;
/** A write that takes so many times the shortest mean is not slower yet. */
const FLAT = 1.5;
/** The shortest mean grows by this with each window: a server does not stay as it once was. */
const FORGET = 1.02;

interface Waiting {
  /** False: it has been given up. */
  enter(): boolean;
}

export class AdaptiveLimit {
  readonly #clock: Clock;
  readonly #initial: number;
  readonly #least: number;
  readonly #most: number;
  #limit: number;
  #running = 0;
  #queue: Waiting[] = [];
  /** Place in the queue of the one who has waited longest. */
  #first = 0;
  #cutAt = Number.NEGATIVE_INFINITY;
  /** Milliseconds that a write took, as the mean of a window: the shortest. */
  #shortest = Number.POSITIVE_INFINITY;
  /** Of the present window. */
  #writes = 0;
  #writesMs = 0;
  #wasFull = false;

  constructor({ clock, initial = 32, least = 2, most }: AdaptiveLimitOptions) {
    this.#clock = clock;
    this.#most = most;
    this.#initial = Math.min(initial, most);
    this.#least = Math.min(least, most);
    this.#limit = this.#initial;
  }

  /** Calls that may run at the same time now. */
  get limit(): number {
    return this.#limit;
  }

  /** True: there is a place, and the caller has it until `leave`. Costs nothing where nobody waits. */
  tryEnter(): boolean {
    if (this.#running >= this.#limit) {
      this.#wasFull = true;
      return false;
    }
    this.#running += 1;
    return true;
  }

  /**
   * Resolves when the caller has a place, which it has until `leave`.
   * @returns false if there was none within `timeoutMs`
   * @throws the signal's reason
   */
  enter(timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      if (this.tryEnter()) {
        resolve(true);
        return;
      }
      let isSettled = false;
      const settle = (): void => {
        isSettled = true;
        cancel();
        signal?.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        settle();
        reject(signal?.reason);
      };
      const cancel = this.#clock.after(timeoutMs, () => {
        settle();
        resolve(false);
      });
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#queue.push({
        enter: () => {
          if (isSettled) return false;
          settle();
          resolve(true);
          return true;
        },
      });
    });
  }

  /**
   * The call has ended, and its place is free.
   * @param call since when it ran (monotonic), whether it was a write that was answered, and whether the server turned it
   *   away or let it time out
   */
  leave(call: { readonly since: number; readonly isWrite: boolean; readonly isOverload: boolean }): void {
    if (call.isOverload) this.#cut(call.since);
    else if (call.isWrite) this.#learn(this.#clock.monotonic() - call.since);
    this.#running -= 1;
    while (this.#running < this.#limit && this.#first < this.#queue.length) {
      const next = this.#queue[this.#first];
      this.#first += 1;
      if (next?.enter() === true) this.#running += 1;
    }
    if (this.#first === this.#queue.length && this.#first > 0) {
      this.#queue = [];
      this.#first = 0;
    }
  }

  #cut(since: number): void {
    this.#beginWindow();
    // Begun before the last cut: it says nothing about the limit since.
    if (since < this.#cutAt) return;
    this.#cutAt = this.#clock.monotonic();
    this.#limit = Math.max(this.#least, Math.floor(this.#limit / 2));
  }

  #learn(ms: number): void {
    this.#writes += 1;
    this.#writesMs += ms;
    if (this.#running >= this.#limit) this.#wasFull = true;
    if (this.#writes < this.#limit * ROUNDS) return;
    const mean = this.#writesMs / this.#writes;
    const isFlat = mean <= this.#shortest * FLAT;
    this.#shortest = Math.min(this.#shortest * FORGET, mean);
    if (this.#wasFull && (this.#limit < this.#initial || isFlat)) {
      this.#limit = Math.min(this.#most, this.#limit + 1);
    }
    this.#beginWindow();
  }

  #beginWindow(): void {
    this.#writes = 0;
    this.#writesMs = 0;
    this.#wasFull = false;
  }
}
