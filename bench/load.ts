/** Closed-loop load: as many callers as asked for, each beginning its next operation when the last one has ended. */
import { type Round, roundOf } from './stats.ts';

/**
 * Runs `operations` of them, shared among the callers.
 * @param operation gets the number of the operation, 0 to operations − 1
 * @throws what the first failing operation throws: a benchmark with failures measures something else
 */
export async function measure(
  callers: number,
  operations: number,
  operation: (index: number) => Promise<void>,
): Promise<Round> {
  const times: number[] = [];
  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < operations) {
      const index = next;
      next += 1;
      const start = performance.now();
      await operation(index);
      times.push(performance.now() - start);
    }
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: callers }, caller));
  const seconds = (performance.now() - start) / 1000;
  return roundOf(times, seconds);
}
