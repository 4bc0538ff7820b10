/**
 * 500 ADDs and their DELs while operator and agents are killed again and again, at whatever step they are: at rest
 * the reservations are the live attachments, exactly, and no journal has anything left to do.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Cluster, startCluster } from '../harness/cluster.ts';
import { inParallel } from '../harness/parallel.ts';
import type { Program } from '../harness/programs.ts';
import { waitFor } from '../harness/wait.ts';
import { Runtime, type Sandbox } from './runtime.ts';

const NODES: readonly string[] = ['node-1', 'node-2', 'node-3'];
const PODS = 500;
/** Pods that a node's kubelet starts or ends at the same time. */
const CALLERS = 4;
/** Milliseconds, at most, between the start of one program and the end of the next. */
const LONGEST_PEACE_MS = 1_000;

let cluster: Cluster;
let runtime: Runtime;

beforeAll(async () => {
  cluster = await startCluster({
    name: 'faults-run',
    nodes: NODES,
    operatorFlags: { 'orphan-grace': '1s', 'scan-interval': '1s' },
  });
  runtime = new Runtime(cluster);
  const common = { network: 'default', cooldown: '0s' };
  await cluster.createPool('v4', { ...common, subnet: '10.1.0.0/23' });
  await cluster.createPool('v6', { ...common, subnet: 'fd00:1::/64' });
});

afterAll(() => cluster?.stop());

/** Kills the programs in turn at random times, and starts them again, until told to stop. @returns how many died */
async function killAgainAndAgain(programs: readonly Program[], signal: AbortSignal): Promise<number> {
  let kills = 0;
  while (!signal.aborted) {
    await sleep(Math.random() * LONGEST_PEACE_MS);
    const program = programs[kills % programs.length];
    await program?.kill();
    await program?.start();
    kills += 1;
  }
  return kills;
}

/** One pod's life: up, perhaps a new sandbox, and its end: by DEL, without a DEL, or not in this test. */
async function live(i: number): Promise<void> {
  const pod = await cluster.createPod(NODES[i % NODES.length] ?? '', `pod-${i}`);
  let sandbox = await runtime.run(pod, i % 4 === 0 ? ['v4', 'v6'] : ['v4']);
  if (i % 5 === 0) {
    const old: Sandbox = sandbox;
    sandbox = await runtime.run(pod, sandbox.pools);
    await runtime.del(old);
  }
  if (i % 10 === 1) {
    await cluster.deletePod(pod);
    runtime.lost(pod);
  } else if (i % 3 !== 2) {
    await runtime.del(sandbox);
  }
}

test('500 ADDs and DELs under kills leave exactly the live attachments', { timeout: 400_000 }, async () => {
  const stop = new AbortController();
  const programs = [cluster.operator, ...NODES.map((node) => cluster.agent(node).program)];
  const killing = killAgainAndAgain(programs, stop.signal);
  let kills = 0;
  try {
    await inParallel(
      NODES.length * CALLERS,
      Array.from({ length: PODS }, (_, i) => i),
      live,
    );
  } finally {
    stop.abort();
    kills = await killing;
  }
  expect(kills).toBeGreaterThan(2 * programs.length);
  const left = runtime.live();
  expect(left.length).toBeGreaterThan(0);
  await runtime.whenEqual();

  // At rest: what was in doubt is settled, and the settling took nothing from anybody.
  for (const node of NODES) {
    await waitFor(
      `the journal of ${node} has nothing left to do`,
      async () => {
        const shown = JSON.parse(await cluster.agent(node).show('/v1/attachments')) as Record<
          string,
          unknown[]
        >;
        return shown['releasing']?.length === 0 && shown['inDoubt']?.length === 0;
      },
      { timeoutMs: 120_000, everyMs: 500 },
    );
  }
  expect(runtime.live()).toEqual(left);
  await runtime.whenEqual();
});
