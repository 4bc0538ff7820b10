/**
 * `make simulate`: runs seeds and says what came out; a failing one is shrunk and its schedule printed.
 *
 *   node e2e/simulation/main.ts --seeds 20000 [--from 1]     many seeds, on all processors
 *   node e2e/simulation/main.ts --seed 17 [--steps 3,8,21]   one seed, or some of its steps, with all that happens
 *
 * With `--only-with secondOperator,pauseOperator` a failing seed counts only if it breaks nothing without its steps of these kinds.
 */
import { parseArgs } from 'node:util';
import { isStepKind } from './actions.ts';
import { campaign, runSeed } from './campaign.ts';
import { type Action, describeStep, type Schedule, scheduleOf } from './schedule.ts';
import { shrink, withSteps } from './shrink.ts';
import { run } from './simulation.ts';
import { Totals } from './totals.ts';

/** Failing seeds after which nobody wants more. */
const MOST_FAILURES = 5;
const PROGRESS_MS = 5_000;
const DEFAULT_SEEDS = 1_000;

function wholeNumber(flag: string, text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  if (!/^\d+$/.test(text)) {
    console.error(`--${flag} is ${JSON.stringify(text)}; give a whole number`);
    process.exit(2);
  }
  return Number(text);
}

function printSchedule({ seed, setup, steps }: Schedule, kept?: readonly number[]): void {
  console.log(`seed ${seed}: ${JSON.stringify(setup)}`);
  for (const [index, step] of steps.entries()) {
    console.log(`  ${String(kept?.[index] ?? index).padStart(3)}: ${describeStep(step)}`);
  }
}

async function replay(seed: number, stepList: string): Promise<boolean> {
  const whole = scheduleOf(seed);
  const kept = stepList === '' ? whole.steps.map((_, i) => i) : stepList.split(',').map(Number);
  const schedule = withSteps(whole, kept);
  printSchedule(schedule, kept);
  const { violation } = await run(schedule, (line) => console.log(line));
  console.log(violation === undefined ? `seed ${seed}: all promises held` : `seed ${seed}: ${violation}`);
  return violation === undefined;
}

async function explain(seed: number, violation: string): Promise<void> {
  console.log(`\nseed ${seed}: ${violation}\nshrinking its schedule …`);
  if ((await runSeed(seed)).violation !== violation) {
    console.log(
      'it does not fail in the same way again: something real has a part in it, which is a bug of the simulation',
    );
    return;
  }
  const { kept, schedule, violation: small, runs } = await shrink(scheduleOf(seed), violation);
  console.log(`after ${runs} runs ${kept.length} steps are left:`);
  printSchedule(schedule, kept);
  console.log(`  breaks: ${small}`);
  console.log(`all that happens in it: make simulate SEED=${seed} STEPS=${kept.join(',')}`);
}

function stepKinds(text: string): Action['do'][] {
  const kinds = text === '' ? [] : text.split(',');
  return kinds.map((kind) => {
    if (isStepKind(kind)) return kind;
    console.error(`--only-with names ${JSON.stringify(kind)}, which is no kind of step: see schedule.ts`);
    process.exit(2);
  });
}

interface Search {
  readonly from: number;
  readonly seeds: number;
  readonly onlyWith: readonly Action['do'][];
  /** The first failure ends it, and is not shrunk. */
  readonly isBrief: boolean;
}

async function search({ from, seeds, onlyWith, isBrief }: Search): Promise<boolean> {
  const most = isBrief ? 1 : MOST_FAILURES;
  const totals = new Totals();
  let told = performance.now();
  await campaign({
    from,
    seeds,
    onlyWith,
    onResult: (result) => {
      totals.add(result);
      if (result.violation !== undefined) console.log(`seed ${result.seed} failed: ${result.violation}`);
      if (performance.now() - told > PROGRESS_MS) {
        told = performance.now();
        console.log(`${totals.schedules} of ${seeds} seeds, ${totals.failures.length} failed`);
      }
      return totals.failures.length >= most;
    },
  });
  for (const { seed, violation } of totals.failures) {
    if (isBrief) console.log(`seed ${seed}: ${violation}`);
    else await explain(seed, violation);
  }
  for (const line of totals.report()) console.log(line);
  console.log(totals.failures.length === 0 ? 'all promises held' : `${totals.failures.length} failed`);
  return totals.failures.length === 0;
}

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    from: { type: 'string' },
    seed: { type: 'string' },
    steps: { type: 'string', default: '' },
    'only-with': { type: 'string', default: '' },
    brief: { type: 'boolean', default: false },
  },
});
const seed = wholeNumber('seed', values.seed);
const isWell =
  seed === undefined
    ? await search({
        from: wholeNumber('from', values.from) ?? 1,
        seeds: wholeNumber('seeds', values.seeds) ?? DEFAULT_SEEDS,
        onlyWith: stepKinds(values['only-with']),
        isBrief: values.brief,
      })
    : await replay(seed, values.steps);
process.exitCode = isWell ? 0 : 1;
