/**
 * What an ADD and a DEL cost, counted by the API server itself.
 *
 * `apiserver_request_total` does not say who asked, so everybody else is silent while it counts: the operator is
 * stopped, the pods exist already and the agent has seen them, and only resources are counted that the API server
 * itself does not touch. Watches are left out: they are counted when they end, whenever that is.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requestDifference } from './controlplane/metrics.ts';
import {
  addressesOf,
  type Cluster,
  type NodeAgent,
  podCall,
  startCluster,
  type TestPod,
} from './harness/cluster.ts';
import { type CniOutcome, codeOf } from './harness/cni.ts';
import { waitFor } from './harness/wait.ts';

/** Enough that one stray request shows, and few enough that no candidate of the pools is met twice. */
const PODS = 20;

/** What an agent may read or write. The API server's own controllers look at namespaces and nodes by watches. */
const RESOURCES: ReadonlySet<string> = new Set([
  'ippools',
  'ipreservations',
  'pods',
  'namespaces',
  'nodes',
  'events',
]);

let cluster: Cluster;
let agent: NodeAgent;

beforeAll(async () => {
  cluster = await startCluster({ name: 'requestcount' });
  agent = cluster.agent('node-1');
  const common = { network: 'default', cooldown: '0s' };
  await cluster.createPool('v4', { ...common, subnet: '10.1.0.0/16' });
  await cluster.createPool('v6', { ...common, subnet: 'fd00:1::/64' });
  await cluster.createPool('resting', { ...common, subnet: '10.2.0.0/16', cooldown: '1h' });
  await cluster.createPool('single', { ...common, subnet: '10.3.0.0/29', ranges: ['10.3.0.1'] });
  await cluster.operator.stop();
});

afterAll(() => cluster?.stop());

/** Creates pods and waits until the agent's watch has them: the steady state, in which a pod is older than its ADD. */
async function createPods(prefix: string): Promise<TestPod[]> {
  const made: TestPod[] = [];
  for (let i = 0; i < PODS; i += 1) made.push(await cluster.createPod('node-1', `${prefix}-${i}`));
  // Events come in order: once the agent needs no read for the youngest pod, it has all of them.
  const marker = await cluster.createPod('node-1', `${prefix}-marker`);
  await waitFor('the agent knows the pods', async () => {
    const before = await podReads();
    const call = podCall('ADD', marker, agent.ipam({ pools: ['v4'] }));
    expect(codeOf(await agent.call(call))).toBe(0);
    expect(codeOf(await agent.call({ ...call, command: 'DEL' }))).toBe(0);
    return (await podReads()) === before;
  });
  return made;
}

/** GETs of pods that the agent says it has made. */
async function podReads(): Promise<number> {
  const metrics = await agent.show('/metrics');
  const lines = metrics
    .split('\n')
    .filter((line) => line.startsWith('berth_agent_api_requests_total{verb="get",resource="pods"'));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

/** How often the API server was asked for what, while `work` ran. */
async function counted(work: () => Promise<void>): Promise<Record<string, number>> {
  const before = await cluster.controlPlane.countRequests();
  await work();
  const after = await cluster.controlPlane.countRequests();
  const counts: Record<string, number> = {};
  for (const { verb, resource, count } of requestDifference(before, after)) {
    if (!RESOURCES.has(resource) || verb === 'WATCH') continue;
    const key = `${verb} ${resource}`;
    counts[key] = (counts[key] ?? 0) + count;
  }
  return counts;
}

async function all(
  command: 'ADD' | 'DEL',
  pods: readonly TestPod[],
  pools: readonly string[],
): Promise<CniOutcome[]> {
  const answers = await Promise.all(
    pods.map((pod) => agent.call(podCall(command, pod, agent.ipam({ pools })))),
  );
  expect(answers.map(codeOf)).toEqual(pods.map(() => 0));
  return answers;
}

test.each([
  ['IPv4', ['v4'], 1],
  ['IPv6', ['v6'], 1],
  ['both families', ['v4', 'v6'], 2],
])(
  '%s: ADD is one create an address, DEL one delete, and neither reads anything',
  async (family, pools, each) => {
    const made = await createPods(`plain-${family.slice(0, 4).trim().toLowerCase()}`);
    const adds = await counted(async () => {
      const answers = await all('ADD', made, pools);
      expect(new Set(answers.flatMap(addressesOf)).size).toBe(PODS * each);
    });
    expect(adds).toEqual({ 'POST ipreservations': PODS * each });
    expect(
      await counted(async () => {
        await all('ADD', made, pools);
      }),
      'the same ADD again',
    ).toEqual({});
    const dels = await counted(async () => {
      await all('DEL', made, pools);
    });
    expect(dels).toEqual({ 'DELETE ipreservations': PODS * each });
    expect(
      await counted(async () => {
        await all('DEL', made, pools);
      }),
      'DEL of what is not there any more',
    ).toEqual({});
  },
);

test('DEL into a cooldown is one patch', async () => {
  const made = await createPods('resting');
  await all('ADD', made, ['resting']);
  const dels = await counted(async () => {
    await all('DEL', made, ['resting']);
  });
  expect(dels).toEqual({ 'PATCH ipreservations': PODS });
});

test('a restarted sandbox is one patch', async () => {
  const made = await createPods('rebound');
  await all('ADD', made, ['v4']);
  const rebinds = await counted(async () => {
    for (const pod of made) {
      const call = podCall('ADD', pod, agent.ipam({ pools: ['v4'] }), { containerID: `again-${pod.uid}` });
      expect(codeOf(await agent.call(call))).toBe(0);
    }
  });
  expect(rebinds).toEqual({ 'PATCH ipreservations': PODS });
  // The late DEL of the old sandbox finds nothing to do.
  expect(
    await counted(async () => {
      await all('DEL', made, ['v4']);
    }),
  ).toEqual({});
});

test('ADDs at the same time on a full pool are one list for all of them, and no write', async () => {
  const [first, ...others] = await createPods('single');
  if (first === undefined) throw new Error('no pods');
  await all('ADD', [first], ['single']);
  const adds = await counted(async () => {
    const answers = await Promise.all(
      others.map((pod) => agent.call(podCall('ADD', pod, agent.ipam({ pools: ['single'] })))),
    );
    expect(new Set(answers.map(codeOf))).toEqual(new Set([101]));
  });
  expect(adds).toEqual({ 'LIST ipreservations': 1 });
});
