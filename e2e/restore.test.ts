/**
 * etcd restored from a backup forgets addresses that pods have: every node's agent writes its own again, before it
 * serves another ADD, and without waiting for its next comparison.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addressesOf, type Cluster, podCall, startCluster, type TestPod } from './harness/cluster.ts';
import type { CniOutcome } from './harness/cni.ts';
import { inParallel } from './harness/parallel.ts';
import { waitFor } from './harness/wait.ts';

const NODES: readonly string[] = ['node-1', 'node-2'];
/** Pods of each node: whose ADD the backup has, whose it has not, and who come after the restore. */
const [BEFORE, AFTER, LATER] = [10, 20, 20];

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ name: 'restore', nodes: NODES });
  await cluster.createPool('blue', { subnet: '10.1.0.0/24', cooldown: '0s' });
});

afterAll(() => cluster?.stop());

function add(pod: TestPod): Promise<CniOutcome> {
  return cluster.agent(pod.node).call(podCall('ADD', pod, cluster.agent(pod.node).ipam({ pools: ['blue'] })));
}

/** An ADD as a runtime makes it: again while the answer is to try again. */
async function addPatiently(pod: TestPod): Promise<string> {
  let answer: CniOutcome | undefined;
  await waitFor(`pod ${pod.name} has an address`, async () => {
    answer = await add(pod);
    expect(answer.exitCode === 0 || answer.output?.['code'] === 11).toBe(true);
    return answer.exitCode === 0;
  });
  return addressesOf(answer as CniOutcome)[0] ?? ''; // waitFor has ended, so there is one.
}

async function conflictsOf(node: string): Promise<number> {
  const text = await (await fetch(cluster.agent(node).metricsUrl)).text();
  return Number(/^berth_address_conflicts_total (\d+)$/m.exec(text)?.[1]);
}

test('live addresses that a restored etcd has lost are reserved again before the agent gives out others', async () => {
  const pods = await inParallel(
    8,
    NODES.flatMap((node) =>
      Array.from({ length: BEFORE + AFTER + LATER }, (_, i) => ({ node, name: `${node}-pod-${i}`, i })),
    ),
    async ({ node, name, i }) => ({ i, pod: await cluster.createPod(node, name) }),
  );
  const part = (from: number, to: number, node?: string): TestPod[] =>
    pods.filter(({ i, pod }) => i >= from && i < to && (node ?? pod.node) === pod.node).map(({ pod }) => pod);
  const had = new Map<string, string>();
  const addAll = async (some: readonly TestPod[]): Promise<void> => {
    await inParallel(8, some, async (pod) => void had.set(pod.uid, await addPatiently(pod)));
  };

  await addAll(part(0, BEFORE));
  const snapshot = await cluster.controlPlane.snapshot();
  await addAll(part(BEFORE, BEFORE + AFTER));
  await cluster.controlPlane.restore(snapshot);

  // node-1 is asked for addresses at once, node-2 is left alone: its watches tell it.
  const own = part(0, BEFORE + AFTER, 'node-1').map(({ uid }) => had.get(uid) ?? '');
  const fresh = await inParallel(8, part(BEFORE + AFTER, BEFORE + AFTER + LATER, 'node-1'), addPatiently);
  expect(own.filter((address) => fresh.includes(address))).toEqual([]);
  expect(new Set(fresh).size).toBe(LATER);

  // What node-2 had and node-1 was faster to give out is reported, and stays with the new owner.
  const lost = part(0, BEFORE + AFTER, 'node-2').filter(({ uid }) => fresh.includes(had.get(uid) ?? ''));
  const expected = [...had].filter(([uid]) => !lost.some((pod) => pod.uid === uid));
  await waitFor('every live address is reserved for its pod again', async () => {
    const byAddress = new Map(
      [...(await cluster.reservations()).values()].map(({ spec }) => [spec.address, spec.owner?.uid]),
    );
    return expected.every(([uid, address]) => byAddress.get(address) === uid);
  });
  expect((await cluster.reservations()).size).toBe(had.size - lost.length + LATER);
  expect(await conflictsOf('node-1')).toBe(0);
  for (const node of NODES) {
    expect(cluster.agent(node).program.log()).toContain('has lost the newest reservation of this node');
  }
  await waitFor('lost addresses are counted', async () => (await conflictsOf('node-2')) === lost.length);
});
