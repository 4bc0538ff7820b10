/** Many seeds on all processors: this file is also what each worker process runs. */
import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { type Action, scheduleOf } from './schedule.ts';
import { withoutKinds } from './shrink.ts';
import { run } from './simulation.ts';
import { type Result, resultOf } from './totals.ts';

/** Seeds that a worker gets at a time. */
const BATCH = 8;

interface Batch {
  readonly seeds: readonly number[];
  readonly onlyWith: readonly Action['do'][];
}

/**
 * Runs one seed; what the simulation itself throws is a failure of that seed.
 * @param onlyWith what breaks a promise without the seed's steps of these kinds as well does not count
 */
export async function runSeed(seed: number, onlyWith: readonly Action['do'][] = []): Promise<Result> {
  try {
    const schedule = scheduleOf(seed);
    const verdict = await run(schedule);
    if (verdict.violation === undefined || onlyWith.length === 0) return resultOf(seed, verdict);
    const without = await run(withoutKinds(schedule, onlyWith));
    return resultOf(seed, without.violation === undefined ? verdict : { ...verdict, violation: undefined });
  } catch (error) {
    const violation = `the simulation failed: ${error instanceof Error ? error.stack : String(error)}`;
    return { seed, violation, steps: 0, faults: [], checks: 0, simulatedMs: 0 };
  }
}

export interface CampaignOptions {
  readonly from: number;
  readonly seeds: number;
  /** See `runSeed`. */
  readonly onlyWith?: readonly Action['do'][];
  /** Told of each result as it comes; true ends the campaign. */
  readonly onResult: (result: Result) => boolean;
}

/**
 * Runs the seeds, in no particular order, on as many processes as there are processors.
 * @throws Error if a worker dies
 */
export async function campaign({ from, seeds, onlyWith = [], onResult }: CampaignOptions): Promise<void> {
  const end = from + seeds;
  let next = from;
  let isOver = false;
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = fork(import.meta.filename, [], { stdio: 'inherit' });
      let left = 0;
      const feed = (): void => {
        if (isOver || next >= end) {
          worker.disconnect();
          return;
        }
        const batch: Batch = {
          seeds: Array.from({ length: Math.min(BATCH, end - next) }, (_, i) => next + i),
          onlyWith,
        };
        next += batch.seeds.length;
        left = batch.seeds.length;
        worker.send(batch);
      };
      // Only the worker below sends, and only results.
      worker.on('message', (result) => {
        if (!isOver && onResult(result as Result)) isOver = true;
        left -= 1;
        if (left === 0) feed();
      });
      worker.on('error', reject);
      worker.on('exit', (code, signal) => {
        if (code === 0) resolve();
        else reject(new Error(`a worker ended with ${signal ?? `status ${code}`}: see above`));
      });
      feed();
    });
  const processes = Math.max(1, Math.min(availableParallelism(), Math.ceil(seeds / BATCH)));
  await Promise.all(Array.from({ length: processes }, work));
}

if (process.argv[1] === import.meta.filename) {
  let before: Promise<void> = Promise.resolve();
  // Only `campaign` sends, and only batches.
  process.on('message', (batch) => {
    before = before.then(async () => {
      const { seeds, onlyWith } = batch as Batch;
      for (const seed of seeds) {
        const result = await runSeed(seed, onlyWith);
        // The other side may have gone: then there is nobody to tell.
        if (process.connected) process.send?.(result);
      }
    });
  });
}
