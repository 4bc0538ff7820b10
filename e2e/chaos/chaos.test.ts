/** A short chaos run, small enough for every day: what `make chaos` does for twenty minutes, with some faults of each kind. */
import { expect, test } from 'vitest';
import { FULL } from './options.ts';
import { reportOf } from './report.ts';
import { runChaos } from './run.ts';
import { verdictOn } from './verdict.ts';

const SEED = Number(process.env['BERTH_CHAOS_SEED'] ?? 6);

test(`seed ${SEED}: kills and pauses of everything lose, double and leak nothing`, {
  timeout: 900_000,
}, async () => {
  const evidence = await runChaos(
    {
      ...FULL,
      minutes: 0.75,
      seed: SEED,
      nodes: 3,
      podsPerNode: 4,
      sandboxMs: 6_000,
      podMs: 20_000,
      // `restore.test.ts` has them: what an older state brings back may rest for ten minutes (ADR 0007).
      restores: 0,
      peace: { agents: 4_000, operators: 8_000, servers: 10_000 },
      times: { orphanGrace: 10, scanInterval: 10 },
      // How many there are is the machine's matter.
      adds: 1,
    },
    { log: console.log },
  );
  // What the machine's speed decides is printed, and not asserted.
  console.log(reportOf(evidence).lines.join('\n'));
  expect(Object.keys(evidence.faults.counts).length).toBeGreaterThan(3);
  expect(evidence.tally.successes).toBeGreaterThan(0);
  const criteria = verdictOn(evidence).criteria.filter(({ isTimed }) => !isTimed);
  expect(criteria.length).toBeGreaterThan(5);
  expect(criteria.filter(({ holds }) => !holds)).toEqual([]);
});
