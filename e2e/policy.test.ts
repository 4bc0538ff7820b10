/** An agent with the stolen token of another node: the API server refuses it, and it says so. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addressesOf, type Cluster, NodeAgent, podCall, startCluster } from './harness/cluster.ts';
import { codeOf, messageOf } from './harness/cni.ts';
import { waitFor } from './harness/wait.ts';

let cluster: Cluster;
/** Says that it is node-1's, with the token of node-2. */
let thief: NodeAgent;

beforeAll(async () => {
  cluster = await startCluster({ name: 'policy', nodes: ['node-1', 'node-2'] });
  await cluster.createPool('v4', { network: 'default', subnet: '10.1.0.0/24', default: true });
  const directory = join(cluster.directory, 'thief');
  await mkdir(directory);
  thief = new NodeAgent('node-1', directory, cluster.agent('node-2').kubeconfig);
});

afterAll(async () => {
  await thief?.program.stop();
  await cluster?.stop();
});

test('it gets no address for the other node and releases none of it, and its log says why', async () => {
  const honest = cluster.agent('node-1');
  const pod = await cluster.createPod('node-1', 'web');
  const [address = ''] = addressesOf(await honest.call(podCall('ADD', pod, honest.ipam())));
  const before = (await cluster.reservations()).get(`default.${address}`);
  expect(before?.spec).toMatchObject({ state: 'Bound', owner: { name: 'web', node: 'node-1' } });

  // Its journal is new, so it takes over what node-1 has: reading is allowed.
  await thief.program.start();
  await waitFor('it knows the pool', async () => (await thief.readyPools()).includes('v4'));

  const other = await cluster.createPod('node-1', 'other');
  const refused = await thief.call(podCall('ADD', other, thief.ipam()));
  expect(codeOf(refused)).toBe(11);
  expect(messageOf(refused)).toContain(
    "ValidatingAdmissionPolicy 'berth-agent' with binding 'berth-agent' denied request: the agent on node node-2 binds addresses to owners on its own node only, not on node \"node-1\"",
  );
  expect(thief.program.log()).toContain('the API server forbids what a CNI request needs');

  expect(codeOf(await thief.call(podCall('DEL', pod, thief.ipam())))).toBe(0);
  await waitFor('its log has the refusal', () =>
    thief.program.log().includes('the address is in use on node \\"node-1\\", not on node-2'),
  );
  expect(thief.program.log()).toContain('the API refuses a release');
  expect([...(await cluster.reservations()).values()]).toEqual([before]);

  expect(codeOf(await honest.call(podCall('DEL', pod, honest.ipam())))).toBe(0);
  expect((await cluster.reservations()).get(`default.${address}`)?.spec.state).toBe('Released');
});
