/** Makes a failing schedule as short as it can be: delta debugging over its steps (Zeller, "ddmin"). */
import type { Action, Schedule } from './schedule.ts';
import { run } from './simulation.ts';

export interface Shrunk {
  /** Indices of the steps that are left, in order. */
  readonly kept: readonly number[];
  readonly schedule: Schedule;
  readonly violation: string;
  readonly runs: number;
}

/** The schedule with these of its steps alone. The time that dropped steps took passes all the same. */
export function withSteps(schedule: Schedule, kept: readonly number[]): Schedule {
  const keep = new Set(kept);
  let waited = 0;
  const steps = schedule.steps.flatMap((step, index) => {
    waited += step.after;
    if (!keep.has(index)) return [];
    const after = waited;
    waited = 0;
    return [{ ...step, after }];
  });
  return { ...schedule, steps };
}

/** The schedule without its steps of these kinds. */
export function withoutKinds(schedule: Schedule, kinds: readonly Action['do'][]): Schedule {
  return withSteps(
    schedule,
    schedule.steps.flatMap((step, index) => (kinds.includes(step.do) ? [] : [index])),
  );
}

/**
 * Drops steps for as long as some promise is still broken without them.
 * @param violation what the whole schedule breaks
 * @param mostRuns gives up shrinking after so many runs
 */
export async function shrink(schedule: Schedule, violation: string, mostRuns = 400): Promise<Shrunk> {
  let kept: readonly number[] = schedule.steps.map((_, index) => index);
  let broken = violation;
  let runs = 0;
  for (let size = Math.ceil(kept.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < kept.length && runs < mostRuns; ) {
      const fewer = [...kept.slice(0, at), ...kept.slice(at + size)];
      runs += 1;
      const verdict = await run(withSteps(schedule, fewer));
      if (verdict.violation === undefined) {
        at += size;
      } else {
        kept = fewer;
        broken = verdict.violation;
      }
    }
  }
  return { kept, schedule: withSteps(schedule, kept), violation: broken, runs };
}
