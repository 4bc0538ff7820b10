/**
 * Exponential backoff with jitter, as client-go's `wait.Backoff`.
 *
 * - `next()` is the delay before the coming attempt: it doubles from `initialMs` to `maxMs`,
 *   each time stretched by a random part of up to `jitter` of itself.
 * - `reset()` after a success.
 * - Does NOT wait or read a clock.
 */
import type { Random } from './clock.ts';

export interface BackoffOptions {
  /** Milliseconds of the first delay, before jitter. */
  readonly initialMs: number;
  /** Milliseconds that no delay exceeds before jitter. */
  readonly maxMs: number;
  /** Defaults to 2. */
  readonly factor?: number;
  /** 1 stretches a delay to at most twice itself; 0 does not. Defaults to 1. */
  readonly jitter?: number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  readonly #random: Random;
  #delayMs: number;

  constructor(options: BackoffOptions, random: Random) {
    this.#options = options;
    this.#random = random;
    this.#delayMs = options.initialMs;
  }

  /** Milliseconds to wait before the coming attempt. */
  next(): number {
    const { maxMs, factor = 2, jitter = 1 } = this.#options;
    const delay = Math.min(this.#delayMs, maxMs);
    this.#delayMs = Math.min(delay * factor, maxMs);
    return delay * (1 + this.#random() * jitter);
  }

  /** The coming delay is the first one again. */
  reset(): void {
    this.#delayMs = this.#options.initialMs;
  }
}
