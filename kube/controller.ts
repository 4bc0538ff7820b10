/**
 * The control loop: takes keys from a queue and brings the world to what they should be.
 *
 * - `reconcile` is level-based: it gets a key, reads the present state and acts; it is not told what changed.
 * - What it returns decides what comes next: `done` forgets the key's failures; `requeueAfter` also looks again
 *   after a time; `terminal` gives up until the key is added again, and is logged. A throw is tried again
 *   with the queue's backoff.
 * - A key is worked on by one worker at a time.
 * - `runController` ends when its signal has aborted and the work in hand has ended.
 * - Does NOT limit how long a reconcile may take: pass its `signal` on.
 */
import type { Clock } from './clock.ts';
import { isApiError } from './errors.ts';
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

/** Works until the signal aborts; then shuts the queue down. Never rejects. */
export async function runController(options: ControllerOptions, signal: AbortSignal): Promise<void> {
  const { queue, workers = 1 } = options;
  const stop = (): void => queue.shutDown();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  try {
    await Promise.all(Array.from({ length: workers }, () => work(options, signal)));
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

async function work(options: ControllerOptions, signal: AbortSignal): Promise<void> {
  const { queue } = options;
  for (;;) {
    const key = await queue.get();
    // Keys that were queued before the stop are not begun.
    if (key === undefined || signal.aborted) return;
    await reconcileOnce(options, key, signal);
  }
}

async function reconcileOnce(options: ControllerOptions, key: string, signal: AbortSignal): Promise<void> {
  const { name, queue, reconcile, log, clock, onReconcile } = options;
  const started = clock.monotonic();
  let result: Outcome['type'] | 'error' = 'error';
  try {
    const outcome = await reconcile(key, signal);
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
    queue.addRateLimited(key, isApiError(error, 'Throttled') ? (error.retryAfterMs ?? 0) : 0);
  } finally {
    onReconcile?.(result, (clock.monotonic() - started) / 1000);
    queue.done(key);
  }
}
