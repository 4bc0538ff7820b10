/**
 * What an ADD and a DEL cost, counted by the API server itself.
 *
 * `apiserver_request_total` does not say who asked, so everybody else is silent while it counts: the operator is
 * stopped, the pods exist already and the agent has seen them, and only resources are counted that the API server
 * itself does not touch. Watches are left out: they are counted when they end, whenever that is.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { namespaces, type Pod } from '../kube/core.ts';
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

const annotatePods = join(import.meta.dirname, '../config/rbac/optional/agent-annotate-pods.yaml');

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
async function createPods(prefix: string, metadata: Partial<Pod['metadata']> = {}): Promise<TestPod[]> {
  const made: TestPod[] = [];
  for (let i = 0; i < PODS; i += 1) made.push(await cluster.createPod('node-1', `${prefix}-${i}`, metadata));
  // Events come in order: once the agent needs no read for the youngest pod, it has all of them.
  const marker = await cluster.createPod('node-1', `${prefix}-marker`, metadata);
  await waitFor('the agent knows the pods', async () => {
    const before = await reads();
    const call = podCall('ADD', marker, agent.ipam({ pools: ['v4'] }));
    expect(codeOf(await agent.call(call))).toBe(0);
    expect(codeOf(await agent.call({ ...call, command: 'DEL' }))).toBe(0);
    return (await reads()) === before;
  });
  return made;
}

/** Requests that the agent says it has made, by the labels of its metric: `verb="get",resource="pods"`. */
async function requestsOfAgent(...labels: string[]): Promise<number> {
  const lines = (await agent.show('/metrics')).split('\n');
  return lines
    .filter((line) => labels.some((each) => line.startsWith(`berth_agent_api_requests_total{${each}`)))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

const reads = (): Promise<number> =>
  requestsOfAgent('verb="get",resource="pods"', 'verb="get",resource="namespaces"');
const podPatches = (): Promise<number> => requestsOfAgent('verb="patch",resource="pods",code="200"');

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

/** What the network configuration says besides the agent's paths. */
interface Shape {
  readonly pools?: readonly string[];
  /** Of each pod, by its place in the list. */
  readonly config?: (index: number) => Record<string, unknown>;
}

async function all(
  command: 'ADD' | 'DEL',
  made: readonly TestPod[],
  { pools, config }: Shape,
): Promise<CniOutcome[]> {
  const ipam = agent.ipam(pools === undefined ? {} : { pools });
  const answers = await Promise.all(
    made.map((pod, i) => agent.call(podCall(command, pod, ipam, { config: config?.(i) ?? {} }))),
  );
  expect(answers.map(codeOf)).toEqual(made.map(() => 0));
  return answers;
}

/** ADD, the same ADD again, DEL, the same DEL again: `each` addresses a pod, and not one request more. */
async function costs(made: readonly TestPod[], shape: Shape, each: number): Promise<CniOutcome[]> {
  let answers: CniOutcome[] = [];
  const of = (command: 'ADD' | 'DEL') => async (): Promise<void> => {
    answers = await all(command, made, shape);
  };
  const adds = await counted(of('ADD'));
  const added = answers;
  expect(new Set(added.flatMap(addressesOf)).size).toBe(PODS * each);
  expect(adds).toEqual({ 'POST ipreservations': PODS * each });
  expect(await counted(of('ADD')), 'the same ADD again').toEqual({});
  expect(answers).toEqual(added);
  expect(await counted(of('DEL'))).toEqual({ 'DELETE ipreservations': PODS * each });
  expect(await counted(of('DEL')), 'DEL of what is not there any more').toEqual({});
  return added;
}

test.each([
  ['IPv4', ['v4'], 1],
  ['IPv6', ['v6'], 1],
  ['both families', ['v4', 'v6'], 2],
])(
  '%s: ADD is one create an address, DEL one delete, and neither reads anything',
  async (family, pools, each) => {
    const made = await createPods(`plain-${family.slice(0, 4).trim().toLowerCase()}`);
    await costs(made, { pools }, each);
  },
);

test('so it is for pools that the pod names in its annotation', async () => {
  const annotations = { 'ipam.berth.dev/pools': '{"net1": ["v6", "v4"]}' };
  const made = await createPods('annotated', { annotations });
  const answers = await costs(made, { pools: ['resting'] }, 2);
  for (const answer of answers) expect(addressesOf(answer)[0]).toMatch(/^fd00:1:/);
});

test('so it is for pools that its namespace names', async () => {
  const namespace = 'annotated';
  const annotations = { 'ipam.berth.dev/pools': 'v4' };
  await cluster.api.create(namespaces, {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: namespace, annotations },
  });
  const made = await createPods('of-namespace', { namespace });
  const answers = await costs(made, { pools: ['resting'] }, 1);
  for (const answer of answers) expect(addressesOf(answer)[0]).toMatch(/^10\.1\./);
});

test.each<[string, Shape]>([
  ['in the pool that is named', { pools: ['v4'] }],
  ['in any pool of the network', {}],
])('so it is for an address by value, %s', async (what, shape) => {
  const made = await createPods(`static-${what.includes('any') ? 'any' : 'named'}`);
  const wanted = (index: number): string => `10.1.200.${index + 1}`;
  const config = (index: number): Record<string, unknown> => ({ runtimeConfig: { ips: [wanted(index)] } });
  const answers = await costs(made, { ...shape, config }, 1);
  expect(answers.map(addressesOf)).toEqual(made.map((_pod, index) => [wanted(index)]));
});

test('a pod that shows its addresses costs one patch of the pod more, and no read', async () => {
  await cluster.controlPlane.kubectl(['apply', '-f', annotatePods]);
  const ipam = agent.ipam({ pools: ['v4'], annotatePod: true });
  // A role counts as soon as the API server's authorizer has seen it.
  let tries = 0;
  await waitFor('the agent may patch pods', async () => {
    const pod = await cluster.createPod('node-1', `may-${(tries += 1)}`);
    await agent.call(podCall('ADD', pod, ipam));
    return (await podPatches()) > 0;
  });
  const made = await createPods('shown');
  await waitFor('every pod that waited for the role is patched', async () => (await podPatches()) >= tries);
  const before = await podPatches();
  const adds = await counted(async () => {
    const answers = await Promise.all(made.map((pod) => agent.call(podCall('ADD', pod, ipam))));
    expect(answers.map(codeOf)).toEqual(made.map(() => 0));
    await waitFor('all pods are patched', async () => (await podPatches()) === before + PODS);
  });
  expect(adds).toEqual({ 'POST ipreservations': PODS, 'PATCH pods': PODS });
});

test('DEL into a cooldown is one patch', async () => {
  const made = await createPods('resting');
  await all('ADD', made, { pools: ['resting'] });
  const dels = await counted(async () => {
    await all('DEL', made, { pools: ['resting'] });
  });
  expect(dels).toEqual({ 'PATCH ipreservations': PODS });
});

test('a restarted sandbox is one patch', async () => {
  const made = await createPods('rebound');
  await all('ADD', made, { pools: ['v4'] });
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
      await all('DEL', made, { pools: ['v4'] });
    }),
  ).toEqual({});
});

test('ADDs at the same time on a full pool are one list for all of them, and no write', async () => {
  const [first, ...others] = await createPods('single');
  if (first === undefined) throw new Error('no pods');
  await all('ADD', [first], { pools: ['single'] });
  const adds = await counted(async () => {
    const answers = await Promise.all(
      others.map((pod) => agent.call(podCall('ADD', pod, agent.ipam({ pools: ['single'] })))),
    );
    expect(new Set(answers.map(codeOf))).toEqual(new Set([101]));
  });
  // A refusal may be an Event on its pod, which no ADD waits for.
  const { 'POST events': _events, ...requests } = adds;
  expect(requests).toEqual({ 'LIST ipreservations': 1 });
});
