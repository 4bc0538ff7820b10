import { describe, expect, test } from 'vitest';
import { campaign } from './campaign.ts';
import { scheduleOf } from './schedule.ts';
import { shrink, withSteps } from './shrink.ts';
import { run } from './simulation.ts';
import { Totals } from './totals.ts';

/** As many as the planted bugs of mutations.test.ts are looked for in. */
export const SEEDS = 200;

test('whatever fails, moves, dies or is killed: no promise is broken, and nothing is left over', async () => {
  const totals = new Totals();
  await campaign({
    from: 1,
    seeds: SEEDS,
    onResult: (result) => {
      totals.add(result);
      return totals.failures.length >= 5;
    },
  });
  const hint = totals.failures.map(({ seed }) => `make simulate SEEDS=1 FROM=${seed}`).join('\n');
  expect(totals.failures, hint).toEqual([]);
  expect(totals.schedules).toBe(SEEDS);
}, 300_000);

describe('a run is decided by its seed alone', () => {
  test.each([3, 47, 126])('seed %d happens twice in the same way', async (seed) => {
    const [first, second]: string[][] = [[], []];
    const directory = /berth-simulation-\w+/g;
    await run(scheduleOf(seed), (line) => first?.push(line.replace(directory, '')));
    await run(scheduleOf(seed), (line) => second?.push(line.replace(directory, '')));
    expect(first?.length).toBeGreaterThan(20);
    const at = first?.findIndex((line, index) => line !== second?.[index]) ?? 0;
    expect([at, second?.[at], second?.length]).toEqual([-1, undefined, first?.length]);
  });

  test('a schedule with some of its steps keeps their times', () => {
    const whole = scheduleOf(5);
    const at = (steps: readonly { after: number }[], count: number): number =>
      steps.slice(0, count).reduce((sum, { after }) => sum + after, 0);
    const some = withSteps(whole, [2, 9]);
    expect(some.steps.map((step) => step.do)).toEqual([whole.steps[2]?.do, whole.steps[9]?.do]);
    expect(at(some.steps, 2)).toBe(at(whole.steps, 10));
  });

  test('nothing breaks: there is nothing to shrink to', async () => {
    const { kept, violation, runs } = await shrink(withSteps(scheduleOf(5), [0, 1]), 'as it was');
    expect([kept, violation, runs]).toEqual([[0, 1], 'as it was', 2]);
  });
});
