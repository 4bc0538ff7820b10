/** Small help with AbortSignals. */
import type { Clock } from './clock.ts';

/** `signal.aborted`, for code after an await: the compiler believes that it cannot have changed since the last look. */
export function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

/** Waits for `ms` milliseconds; ends early, without an error, when the signal aborts. */
export async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
