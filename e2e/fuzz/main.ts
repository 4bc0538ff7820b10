/**
 * `make fuzz`: 100,000 inputs, with a new seed each time.
 *
 * `BERTH_FUZZ_SEED` repeats a seed, `BERTH_FUZZ_INPUTS` says how many inputs. A finding is printed as the JSON that goes
 * into a file of `corpus/`, which is replayed first ever after.
 */
import { fuzz, problemsOf, report } from './session.ts';

const seed = Number(process.env['BERTH_FUZZ_SEED'] ?? Date.now() % 1_000_000_007);
const inputs = Number(process.env['BERTH_FUZZ_INPUTS'] ?? 100_000);

console.log(`fuzzing with seed ${seed}; again: BERTH_FUZZ_SEED=${seed} make fuzz`);
let shown = 0;
const outcome = await fuzz({
  seed,
  inputs,
  warmUp: Math.min(5_000, inputs / 4),
  binaryShare: 100,
  log: (line) => {
    if (performance.now() - shown < 5_000) return;
    shown = performance.now();
    console.log(line);
  },
});
console.log(report(outcome));
const problems = problemsOf(outcome);
for (const problem of problems) console.log(`✗ ${problem}`);
console.log(
  problems.length === 0 ? '✓ no crash, no hang, no growth, and every answer is valid' : `seed ${seed} failed`,
);
process.exitCode = problems.length === 0 ? 0 : 1;
