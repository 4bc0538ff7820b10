/**
 * Random mixes of pools, selectors, annotations, reservations and requests by value, given to four agents at the same
 * time, against a plain model of the rules.
 *
 * `BERTH_MIX_SEED` chooses other mixes, `BERTH_MIX_COUNT` how many, `BERTH_MIX` runs one of them alone.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Cluster, startCluster } from '../harness/cluster.ts';
import { inParallel } from '../harness/parallel.ts';
import { waitFor } from '../harness/wait.ts';
import { givenTwice } from './answer.ts';
import { generateMix } from './generator.ts';
import { attachmentOf, type Mix, type MixAdd, type MixAnswer, type MixReservation, NODES } from './mix.ts';
import { judge } from './model.ts';
import { Stage } from './stage.ts';
import { verify } from './verify.ts';

const SEED = Number(process.env['BERTH_MIX_SEED'] ?? 20_260);
const ONLY = process.env['BERTH_MIX'];
const COUNT = Number(process.env['BERTH_MIX_COUNT'] ?? 200);
/** Mixes whose ADDs run at the same time. */
const WIDTH = 8;
/** Milliseconds for which an agent may remember that a pool was full. */
const MEMORY_MS = 6_000;

const indices = ONLY === undefined ? Array.from({ length: COUNT }, (_, i) => i) : [Number(ONLY)];
const mixes: readonly Mix[] = indices.map((index) => generateMix(SEED, index));

let cluster: Cluster;
let stage: Stage;
let before: Map<Mix, MixReservation[]>;
const answers = new Map<Mix, Map<MixAdd, MixAnswer>>();

beforeAll(async () => {
  // Nobody but the ADDs may change anything: no owner is looked for, and what rests does so for an hour.
  cluster = await startCluster({ name: 'mixes', nodes: NODES, operatorFlags: { 'orphan-grace': '1h' } });
  stage = new Stage(cluster);
  await stage.set(mixes);
  before = await look();
});

afterAll(() => cluster?.stop());

/** What is reserved in each mix. */
async function look(): Promise<Map<Mix, MixReservation[]>> {
  const entries = await inParallel(
    WIDTH,
    mixes,
    async (mix) => [mix, await stage.reservations(mix)] as const,
  );
  return new Map(entries);
}

function report(mix: Mix, problems: readonly string[]): string[] {
  if (problems.length === 0) return [];
  const again = `env PATH="node_modules/.bin:$PATH" BERTH_MIX_SEED=${SEED} BERTH_MIX=${mix.id.slice(1)} vitest run --project integration e2e/mixes/mixes.test.ts`;
  console.log(
    [`mix ${mix.id} of seed ${SEED}; again: ${again}`, ...problems, JSON.stringify(mix, null, 1)].join('\n'),
  );
  return problems.map((problem) => `${mix.id}: ${problem}`);
}

test(`${mixes.length} mixes of seed ${SEED}: four agents at the same time answer what the model allows`, async () => {
  await inParallel(WIDTH, mixes, async (mix) => {
    const entries = await Promise.all(mix.adds.map(async (add) => [add, await stage.add(add)] as const));
    answers.set(mix, new Map(entries));
  });
  const after = await look();
  const problems = mixes.flatMap((mix) => {
    const own = answers.get(mix) ?? new Map<MixAdd, MixAnswer>();
    const round = { mix, before: before.get(mix) ?? [], after: after.get(mix) ?? [], answers: own };
    return report(mix, verify(round));
  });
  expect(problems).toEqual([]);
});

test('alone, each ADD that was refused in the crowd is answered by the model, to the letter', async () => {
  const problems = await inParallel(WIDTH, mixes, async (mix) => {
    const found: string[] = [];
    for (const [add, answer] of answers.get(mix) ?? []) {
      if (answer.code !== 101 && answer.code !== 102) continue;
      let verdict: string[] = [];
      const earlier = await stage.reservations(mix);
      const again = async (): Promise<boolean> => {
        const second = await stage.add(add);
        const later = await stage.reservations(mix);
        const round = { mix, before: earlier, after: later, answers: new Map([[add, second]]) };
        verdict = verify(round);
        answers.get(mix)?.set(add, second);
        // That a pool was full is remembered for a moment.
        return verdict.length === 0 || second.code !== 101;
      };
      await waitFor('the model agrees', again, { timeoutMs: MEMORY_MS, everyMs: 500 }).catch(() => undefined);
      found.push(...verdict);
    }
    return report(mix, found);
  });
  expect(problems.flat()).toEqual([]);
});

test('the same ADD again has the same answer, no address was given twice, and nothing is reserved for a refusal', async () => {
  const first = await look();
  const different = await inParallel(WIDTH, mixes, async (mix) => {
    const found: string[] = [];
    for (const [add, answer] of answers.get(mix) ?? []) {
      if (answer.code !== 0) continue;
      const again = await stage.add(add);
      if (again.stdout !== answer.stdout)
        found.push(`${attachmentOf(add)}: ${answer.stdout}, then ${again.stdout}`);
    }
    return report(mix, found);
  });
  expect(different.flat()).toEqual([]);
  const last = await look();
  expect(last).toEqual(first);
  const all = mixes.flatMap((mix) =>
    [...(answers.get(mix) ?? [])].map(([add, answer]) => ({ add, answer, after: last.get(mix) ?? [] })),
  );
  expect(givenTwice(all)).toEqual([]);
  const refused = new Set(all.filter(({ answer }) => answer.code !== 0).map(({ add }) => attachmentOf(add)));
  const left = [...last.values()]
    .flat()
    .filter((row) => row.state === 'Bound' && refused.has(row.attachment ?? ''));
  expect(left).toEqual([]);
});

test('the mixes meet every rule: each code and enough successes', () => {
  const codes = new Map<number, number>();
  for (const mix of mixes) {
    for (const { code } of answers.get(mix)?.values() ?? []) codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  const shares = [...codes].toSorted(([a], [b]) => a - b).map(([code, count]) => `${code}: ${count}`);
  console.log(`seed ${SEED}, ${mixes.length} mixes, ADDs by code (0 is success): ${shares.join(', ')}`);
  if (ONLY !== undefined) return;
  expect([...codes.keys()].toSorted((a, b) => a - b)).toEqual([0, 7, 11, 101, 102, 103, 104, 105]);
  const total = [...codes.values()].reduce((sum, count) => sum + count, 0);
  expect((codes.get(0) ?? 0) / total).toBeGreaterThan(0.25);
  expect(
    mixes.flatMap((mix) => mix.adds.filter((add) => 'refused' in judge(mix, add))).length,
  ).toBeGreaterThan(0);
});
