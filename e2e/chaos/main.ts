/** `make chaos`: a chaos run on a real control plane; says what came out, and whether it held. */
import { writeFileSync } from 'node:fs';
import { type Arguments, HELP, parseArguments, UsageError } from './options.ts';
import { reportOf } from './report.ts';
import { runChaos } from './run.ts';

function argumentsOrEnd(): Arguments {
  try {
    return parseArguments(process.argv.slice(2), process.env, Date.now() % 1_000_000_007);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(error.message);
    process.exit(2);
  }
}

const { help, options, json, logs } = argumentsOrEnd();
if (help) {
  process.stdout.write(HELP);
} else {
  const { seed, minutes, restores } = options;
  console.log(
    `${minutes} minutes of chaos, ${restores} restores, seed ${seed}; again: make chaos SEED=${seed}`,
  );
  const {
    holds,
    lines,
    json: result,
  } = reportOf(await runChaos(options, { log: (line) => console.log(line), logs }));
  for (const line of lines) console.log(line);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(result, undefined, 2)}\n`);
  process.exitCode = holds ? 0 : 1;
}
