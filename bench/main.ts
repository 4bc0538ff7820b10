/**
 * `make bench`: what an ADD costs, as a ratio to the raw create rate of the same API server in the same run.
 *
 * `node bench/main.ts flatness` measures only what is named. Rounds of all subjects are interleaved, so that a slow minute
 * of the machine falls on all of them. The settings are in setup.ts.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { artefacts } from '../e2e/harness/programs.ts';
import { measureBinary } from './binary.ts';
import { measureCallers } from './callers.ts';
import { chartsOf } from './charts.ts';
import { measureCrowd } from './crowd.ts';
import { measureFlatness } from './flatness.ts';
import { measureManyNodes } from './manynodes.ts';
import { circumstances, print, type Result } from './report.ts';
import { outDirectory, pinThisProcess, say } from './setup.ts';
import { measureShapes } from './shapes.ts';
import { measureTraffic } from './traffic.ts';

const MEASUREMENTS: Readonly<Record<string, () => Promise<Partial<Result>>>> = {
  // Before anything else runs, and on all cores.
  binary: async () => ({ binaryAlone: await measureBinary(artefacts.binary) }),
  callers: async () => ({ callers: await measureCallers() }),
  flatness: async () => ({ flatness: await measureFlatness() }),
  shapes: async () => ({ shapes: await measureShapes() }),
  crowd: async () => ({ crowd: await measureCrowd() }),
  traffic: async () => ({ traffic: await measureTraffic() }),
  many: async () => ({ manyNodes: await measureManyNodes() }),
};

const HELP = `usage: node bench/main.ts [MEASUREMENT…]

Measurements, all of them unless some are named: ${Object.keys(MEASUREMENTS).join(', ')}

BENCH_QUICK=1   less of each, in less than three minutes
BENCH_ROUNDS    rounds (5)
BENCH_SCALE     share of the operations (1), to try a measurement out
BENCH_PINNED=0  everything shares all cores
BENCH_OUT       directory for JSON and charts (bench/out)`;

const named = process.argv.slice(2);
const unknown = named.filter((name) => !Object.hasOwn(MEASUREMENTS, name));
if (named.includes('--help') || unknown.length > 0) {
  say(named.includes('--help') ? HELP : `unknown: ${unknown.join(', ')}\n\n${HELP}`);
  process.exit(named.includes('--help') ? 0 : 2);
}

const out = outDirectory();
mkdirSync(out, { recursive: true });
let result = circumstances();
for (const [name, measure] of Object.entries(MEASUREMENTS)) {
  if (named.length > 0 && !named.includes(name)) continue;
  if (name !== 'binary') pinThisProcess();
  say(`measuring: ${name}`);
  result = { ...result, ...(await measure()) };
  // After each: what comes next may fail, and takes minutes.
  writeFileSync(join(out, 'latest.json'), `${JSON.stringify(result, undefined, 2)}\n`);
}
print(result);
for (const [file, svg] of chartsOf(result)) writeFileSync(join(out, file), svg);
say(`written to ${out}: latest.json, and its charts`);
