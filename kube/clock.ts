/**
 * Time and randomness, passed in so that tests and the simulation own them.
 *
 * Nothing in Berth reads the wall clock, sets a timer or rolls a die in any other way.
 */

/** A source of time. `Clock` promises order within one process, not agreement between machines. */
export interface Clock {
  /** Wall-clock time in milliseconds since the Unix epoch. May jump; use it only for what is shown or stored. */
  now(): number;
  /** Milliseconds that never go back, from an arbitrary start. Use it for durations and deadlines. */
  monotonic(): number;
  /**
   * Resolves after `ms` milliseconds.
   * @throws the signal's reason as soon as `signal` aborts; the timer is then gone.
   */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `run` once after `ms` milliseconds; the result cancels it. `run` must not throw. */
  after(ms: number, run: () => void): () => void;
}

/** Uniform in [0, 1), as Math.random. */
export type Random = () => number;

/** The process's own generator: for spreading load, not for secrets. */
export const systemRandom: Random = Math.random;

/** The machine's own clock. Its timers keep the process alive: owners must cancel what they set. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      }, ms);
      signal?.addEventListener('abort', onAbort, { once: true });
    }),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};
