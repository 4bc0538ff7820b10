/** Waiting for a condition, never for a time. */
import { setTimeout as sleep } from 'node:timers/promises';

export interface WaitOptions {
  /** Milliseconds until it is given up. Defaults to 30,000. */
  readonly timeoutMs?: number;
  /** Milliseconds between looks. Defaults to 50. */
  readonly everyMs?: number;
  /** More to say when it is given up. */
  readonly onTimeout?: () => string;
}

/**
 * Resolves as soon as `condition` gives true. A throw counts as "not yet" and is shown if it never comes.
 * @param what the condition in words
 * @throws Error that names it
 */
export async function waitFor(
  what: string,
  condition: () => boolean | Promise<boolean>,
  options: WaitOptions = {},
): Promise<void> {
  const deadline = performance.now() + (options.timeoutMs ?? 30_000);
  let failure: unknown;
  while (performance.now() < deadline) {
    try {
      if (await condition()) return;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    await sleep(options.everyMs ?? 50);
  }
  const more = options.onTimeout?.();
  throw new Error(`waited in vain until ${what}${more === undefined ? '' : `:\n${more}`}`, {
    cause: failure,
  });
}
