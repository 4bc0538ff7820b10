/**
 * At most so many a second, with a burst after a pause: client-go's `flowcontrol.RateLimiter`, a token bucket.
 *
 * - Whoever comes first goes first.
 * - Does NOT know how long what it lets through takes: limit how many run at once elsewhere.
 */
import type { Clock } from './clock.ts';

export interface RateLimiterOptions {
  readonly clock: Clock;
  readonly perSecond: number;
  /** How many may go at once after a pause; at least 1. */
  readonly burst: number;
}

export class RateLimiter {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #burstMs: number;
  /** Monotonic time at which the bucket is full again. */
  #fullAt = Number.NEGATIVE_INFINITY;

  constructor({ clock, perSecond, burst }: RateLimiterOptions) {
    this.#clock = clock;
    this.#intervalMs = 1000 / perSecond;
    this.#burstMs = burst * this.#intervalMs;
  }

  /**
   * Resolves when it is the caller's turn.
   * @throws the signal's reason; the turn is then lost
   */
  async take(signal?: AbortSignal): Promise<void> {
    const now = this.#clock.monotonic();
    this.#fullAt = Math.max(this.#fullAt, now) + this.#intervalMs;
    const wait = this.#fullAt - this.#burstMs - now;
    if (wait > 0) await this.#clock.sleep(wait, signal);
  }
}
