/**
 * A pod that is re-created under its name while its forerunner's address is being collected: the old address comes
 * back, the new one stays. Nobody sends a DEL, and the collection is as hasty as its flags allow.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addressesOf, type Cluster, podCall, startCluster, type TestPod } from './harness/cluster.ts';
import { inParallel } from './harness/parallel.ts';
import { waitFor } from './harness/wait.ts';

const NODES = ['node-1', 'node-2'] as const;
const SCAN_MS = 1_000;
/** Pods at the same time, and how often each is re-created. */
const PODS = 24;
const ROUNDS = 4;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    name: 'recreated',
    nodes: NODES,
    operatorFlags: { 'orphan-grace': '1s', 'scan-interval': `${SCAN_MS}ms` },
  });
  await cluster.createPool('v4', { network: 'default', subnet: '10.1.0.0/24', cooldown: '0s' });
});

afterAll(() => cluster?.stop());

interface Incarnation {
  readonly pod: TestPod;
  readonly address: string;
}

/** A pod of that name on the round's node, and its address. */
async function incarnate(name: string, round: number): Promise<Incarnation> {
  const node = NODES[round % NODES.length] ?? NODES[0];
  const pod = await cluster.createPod(node, name);
  const agent = cluster.agent(node);
  const [address = ''] = addressesOf(await agent.call(podCall('ADD', pod, agent.ipam({ pools: ['v4'] }))));
  return { pod, address };
}

/** The UID that each reserved address is Bound to. */
async function owners(): Promise<Map<string, string>> {
  const all = [...(await cluster.reservations()).values()];
  return new Map(all.map(({ spec }) => [spec.address, `${spec.state} ${spec.owner?.uid}`]));
}

test('the new pod keeps its address and the old one comes back, however often and however many at a time', async () => {
  const names = Array.from({ length: PODS }, (_, i) => `web-${i}`);
  let present = await inParallel(8, names, (name) => incarnate(name, 0));
  for (let round = 1; round <= ROUNDS; round += 1) {
    // Each at its own moment, so that scans and graces meet every stage of a re-creation.
    const next = await Promise.all(
      present.map(async ({ pod }) => {
        await sleep(Math.random() * SCAN_MS);
        await cluster.deletePod(pod);
        await sleep(Math.random() * SCAN_MS * 1.5);
        return incarnate(pod.name, round);
      }),
    );
    const expected = new Map(next.map(({ pod, address }) => [address, `Bound ${pod.uid}`]));
    const lost: string[] = [];
    await waitFor(
      'the old addresses have come back',
      async () => {
        const found = await owners();
        // At every moment of the wait, not only at its end.
        for (const [address, owner] of expected) {
          if (found.get(address) !== owner) lost.push(`${address} is ${found.get(address)}, not ${owner}`);
        }
        return lost.length > 0 || found.size === expected.size;
      },
      { everyMs: 100 },
    );
    expect(lost).toEqual([]);
    present = next;
  }
  // Nothing is left to collect: several scans later everything is as it was.
  const before = await owners();
  await sleep(SCAN_MS * 4);
  expect(await owners()).toEqual(before);
});
