/**
 * The control loop: takes keys from a queue and brings the world to what they should be.
 *
 * - `reconcile` is level-based: it gets a key, reads the present state and acts; it is not told what changed.
 * - What it returns decides what comes next: `done` forgets the key's failures; `requeueAfter` also looks again
 *   after a time; `terminal` gives up until the key is added again, and is logged. A throw is tried again
 *   with the queue's backoff.
 * - A key is worked on by one worker at a time.
 * - An API server that throttles or is away is left alone by all workers: a long queue would else be a storm of
 *   requests, each of them refused.
 * - `runController` ends when its signal has aborted and the work in hand has ended.
 * - Does NOT limit how long a reconcile may take: pass its `signal` on.
 */

import { isAborted, pause } from './abort.ts';
import type { Clock } from './clock.ts';
import { isApiError, retryAfterOf } from './errors.ts';
import type { Log } from './log.ts';
import type { RateLimitingQueue } from './workqueue.ts';

/** How a reconcile ended. */
export type Outcome =
  | { readonly type: 'done' }
  /** Look again after `ms` milliseconds, sooner if the key is added. */
  | { readonly type: 'requeueAfter'; readonly ms: number }
  /** Trying again is no use until something changes; `reason` says why. */
  | { readonly type: 'terminal'; readonly reason: string };

export const done: Outcome = { type: 'done' };

export interface ControllerOptions {
  /** In logs. */
  readonly name: string;
  readonly queue: RateLimitingQueue;
  /** Keys worked on at the same time. Defaults to 1. */
  readonly workers?: number | undefined;
  readonly reconcile: (key: string, signal: AbortSignal) => Promise<Outcome>;
  readonly log: Log;
  readonly clock: Clock;
  /** For metrics: called after each reconcile. Must not throw. */
  readonly onReconcile?: ((result: Outcome['type'] | 'error', seconds: number) => void) | undefined;
}

/** Milliseconds for which all workers rest after a first failure of the API server, and at most. */
const FIRST_REST_MS = 100;
const LONGEST_REST_MS = 10_000;

/** How long the workers leave the API server alone. */
class Rest {
  readonly #clock: Clock;
  #until = 0;
  #failures = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async over(signal: AbortSignal): Promise<void> {
    for (;;) {
      const left = this.#until - this.#clock.monotonic();
      if (left <= 0 || isAborted(signal)) return;
      await pause(this.#clock, left, signal);
    }
  }

  succeeded(): void {
    this.#failures = 0;
  }

  failed(error: unknown): void {
    const now = this.#clock.monotonic();
    // One rest for all who failed together.
    if (now < this.#until || !isApiError(error, 'Throttled', 'Unreachable')) return;
    const rest = Math.min(FIRST_REST_MS * 2 ** this.#failures, LONGEST_REST_MS);
    this.#failures += 1;
    this.#until = now + Math.max(rest, Math.min(retryAfterOf(error), LONGEST_REST_MS));
  }
}

/** Works until the signal aborts; then shuts the queue down. Never rejects. */
export async function runController(options: ControllerOptions, signal: AbortSignal): Promise<void> {
  const { queue, workers = 1 } = options;
  const stop = (): void => queue.shutDown();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  try {
    const rest = new Rest(options.clock);
    await Promise.all(Array.from({ length: workers }, () => work(options, rest, signal)));
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

async function work(options: ControllerOptions, rest: Rest, signal: AbortSignal): Promise<void> {
  const { queue } = options;
  for (;;) {
    const key = await queue.get();
    await rest.over(signal);
    // Keys that were queued before the stop are not begun.
    if (key === undefined || signal.aborted) return;
    await reconcileOnce(options, key, rest, signal);
  }
}

async function reconcileOnce(
  options: ControllerOptions,
  key: string,
  rest: Rest,
  signal: AbortSignal,
): Promise<void> {
  const { name, queue, reconcile, log, clock, onReconcile } = options;
  const started = clock.monotonic();
  let result: Outcome['type'] | 'error' = 'error';
  try {
    const outcome = await reconcile(key, signal);
    rest.succeeded();
    result = outcome.type;
    queue.forget(key);
    if (outcome.type === 'requeueAfter') queue.addAfter(key, outcome.ms);
    if (outcome.type === 'terminal') {
      log.error({ controller: name, key, reason: outcome.reason }, 'reconcile gave up');
    }
  } catch (error) {
    if (signal.aborted) return;
    log.warn(
      { controller: name, key, error, failures: queue.requeues(key) + 1 },
      'reconcile failed, trying again',
    );
    rest.failed(error);
    queue.addRateLimited(key, retryAfterOf(error));
  } finally {
    onReconcile?.(result, (clock.monotonic() - started) / 1000);
    queue.done(key);
  }
}
