/** A whole fuzzing: the corpus, then generated inputs in batches, with progress, memory and a verdict. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Campaign, type Finding, line, type Tally } from './campaign.ts';
import { generateBatch } from './generator.ts';
import type { FuzzInput } from './input.ts';
import { FuzzWorld, type Memory } from './world.ts';

/** Calls that are made at the same time. */
const CALLERS = 8;
const BATCH = 500;
/** Findings after which it is no use going on. */
const ENOUGH = 20;
const MIB = 1024 * 1024;

const CORPUS = join(import.meta.dirname, 'corpus');

export interface SessionOptions {
  readonly seed: number;
  /** Generated inputs, besides the corpus. */
  readonly inputs: number;
  /** Inputs before memory is measured for the first time: what grows then is caches and compiled code. */
  readonly warmUp: number;
  /** One of so many calls goes through the compiled binary. */
  readonly binaryShare: number;
  readonly log: (line: string) => void;
}

export interface Outcome {
  readonly tally: Tally;
  readonly findings: readonly Finding[];
  /** Lines that the agent logged as errors. */
  readonly errors: readonly string[];
  /** Of a warmed-up agent, and at the end: after garbage was collected and everything was given back. */
  readonly memory: { readonly before: Memory; readonly after: Memory };
}

/** The corpus: inputs that were interesting once, by file name. */
export function corpus(): Map<string, FuzzInput[]> {
  const names = readdirSync(CORPUS).filter((name) => name.endsWith('.json'));
  return new Map(
    // Ours: each file is a list of inputs.
    names
      .toSorted()
      .map((name) => [name, JSON.parse(readFileSync(join(CORPUS, name), 'utf8')) as FuzzInput[]]),
  );
}

/** Runs it on a cluster of its own. */
export async function fuzz(options: SessionOptions): Promise<Outcome> {
  const world = await FuzzWorld.start(CALLERS);
  try {
    const campaign = new Campaign(world, CALLERS);
    await campaign.run([...corpus().values()].flat());
    options.log(`corpus: ${line(campaign.tally)}`);
    let before: Memory | undefined;
    const started = performance.now();
    const isWorthIt = (): boolean => campaign.findings.length < ENOUGH && !campaign.isLeftBehind;
    for (let done = 0; done < options.inputs && isWorthIt(); done += BATCH) {
      if (done >= options.warmUp) before ??= await world.memory();
      const size = Math.min(BATCH, options.inputs - done);
      await campaign.run(generateBatch(options.seed, done / BATCH, size, options.binaryShare));
      const rate = Math.round((done + size) / ((performance.now() - started) / 1000));
      options.log(`${done + size} of ${options.inputs}, ${rate}/s: ${line(campaign.tally)}`);
    }
    const after = await world.memory();
    return {
      tally: campaign.tally,
      findings: campaign.findings,
      errors: world.errors(),
      memory: { before: before ?? after, after },
    };
  } finally {
    await world.stop();
  }
}

/** What is wrong with an outcome, one text each; nothing if all is well. */
export function problemsOf({ tally, findings, errors, memory }: Outcome): string[] {
  const growth = growthOf(memory);
  return [
    ...findings.map(({ inputs, complaints }) =>
      [complaints.join('; '), ...inputs.map((input) => JSON.stringify(input))].join('\n  '),
    ),
    ...errors.map((text) => `the agent logged an error: ${text}`),
    ...(growth.heap > 64 ? [`the heap has grown by ${growth.heap.toFixed(1)} MB`] : []),
    ...(growth.rss > 64 ? [`the resident memory has grown by ${growth.rss.toFixed(1)} MB`] : []),
    // Else it is the generator that does not test.
    ...(tally.reached * 3 < tally.inputs
      ? ['less than a third of the inputs reach the choice of a pool']
      : []),
    ...(tally.succeeded * 10 < tally.inputs ? ['less than a tenth of the inputs succeed'] : []),
  ];
}

/** In MB. */
function growthOf({ before, after }: Outcome['memory']): Memory {
  return { heap: (after.heap - before.heap) / MIB, rss: (after.rss - before.rss) / MIB };
}

/** The shares, codes and memory of an outcome, in words. */
export function report({ tally, memory }: Outcome): string {
  const codes = [...tally.codes].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([code, n]) => `${code}: ${n}`);
  const growth = growthOf(memory);
  const now = `heap ${(memory.after.heap / MIB).toFixed(1)} MB, resident ${(memory.after.rss / MIB).toFixed(1)} MB`;
  return [
    line(tally),
    `answers by code (0 is success): ${codes.join(', ')}`,
    `${now}; since it was warm: heap ${growth.heap.toFixed(1)} MB, resident ${growth.rss.toFixed(1)} MB more`,
  ].join('\n');
}
