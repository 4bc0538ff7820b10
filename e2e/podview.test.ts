/** What a pod's users see of its addresses: Events of ADDs that failed, and the annotation with those it has. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Event, events, pods } from '../kube/core.ts';
import { type Cluster, type NodeAgent, podCall, startCluster, type TestPod } from './harness/cluster.ts';
import { codeOf, messageOf } from './harness/cni.ts';
import { waitFor } from './harness/wait.ts';

const ADDRESSES = 'ipam.berth.dev/addresses';
const role = join(import.meta.dirname, '../config/rbac/optional/agent-annotate-pods.yaml');

let cluster: Cluster;
let agent: NodeAgent;

beforeAll(async () => {
  cluster = await startCluster({ name: 'podview' });
  agent = cluster.agent('node-1');
  await cluster.createPool('v4', { subnet: '10.1.0.0/16', cooldown: '0s' });
  await cluster.createPool('v6', { subnet: 'fd00:1::/64', cooldown: '0s' });
  await cluster.createPool('one', { subnet: '10.2.0.0/29', ranges: ['10.2.0.1'], cooldown: '0s' });
});

afterAll(() => cluster?.stop());

async function eventsOf(pod: TestPod): Promise<Event[]> {
  const { items } = await cluster.api.list(events, {
    namespace: pod.namespace,
    // As kubectl describe asks.
    fieldSelector: `involvedObject.name=${pod.name},involvedObject.namespace=${pod.namespace},involvedObject.uid=${pod.uid}`,
  });
  return items;
}

/** The pod's addresses by interface; undefined without the annotation. */
async function shown({ namespace, name }: TestPod): Promise<unknown> {
  const { metadata } = await cluster.api.get(pods, { namespace, name });
  const value = metadata.annotations?.[ADDRESSES];
  return value === undefined ? undefined : JSON.parse(value);
}

async function add(pod: TestPod, ifname: string, ipam: object): Promise<string[]> {
  const answer = await agent.call(podCall('ADD', pod, agent.ipam({ ...ipam }), { ifname }));
  expect(codeOf(answer), messageOf(answer)).toBe(0);
  const ips = answer.output?.['ips'];
  if (!Array.isArray(ips)) throw new Error(`not the result of an ADD: ${answer.stdout}`);
  return ips.map(({ address }: { address: string }) => address);
}

test('tries that fail are one warning Event on the pod, counted, with the newest message', async () => {
  const first = await cluster.createPod('node-1', 'first');
  const second = await cluster.createPod('node-1', 'second');
  await add(first, 'net1', { pools: ['one'] });
  const call = podCall('ADD', second, agent.ipam({ pools: ['one'] }));
  const answers = [await agent.call(call), await agent.call(call), await agent.call(call)];
  expect(answers.map(codeOf)).toEqual([101, 101, 101]);
  await waitFor('the Event counts three', async () => (await eventsOf(second))[0]?.count === 3);
  expect(await eventsOf(second)).toMatchObject([
    {
      type: 'Warning',
      reason: 'AddressesExhausted',
      message: messageOf(answers[2] ?? expect.unreachable()),
      source: { component: 'berth-agent', host: 'node-1' },
    },
  ]);
  const taken = podCall('ADD', second, agent.ipam({ pools: ['one'] }), {
    config: { args: { cni: { ips: ['10.2.0.1'] } } },
  });
  expect(messageOf(await agent.call(taken))).toContain(
    'is taken: bound to pod default/first, interface net1,',
  );
  await waitFor('there is an Event for the other reason', async () => (await eventsOf(second)).length === 2);
  expect((await eventsOf(second)).map(({ reason }) => reason).toSorted((a, b) => a.localeCompare(b))).toEqual(
    ['AddressesExhausted', 'AddressTaken'],
  );
  expect(await eventsOf(first)).toEqual([]);
});

test('without the role for it ADD works, and log and Event say what is missing; with it the pods show their addresses', async () => {
  const annotatePod = true;
  const early = await cluster.createPod('node-1', 'early');
  const given = await add(early, 'net1', { pools: ['v4'], annotatePod });
  await waitFor('the pod has the Event', async () => (await eventsOf(early)).length === 1);
  expect(await eventsOf(early)).toMatchObject([{ type: 'Warning', reason: 'AnnotationForbidden' }]);
  expect(agent.program.log().match(/the agent may not patch pods/g)).toHaveLength(1);
  expect(await shown(early)).toBeUndefined();

  await cluster.controlPlane.kubectl(['apply', '-f', role]);
  const pod = await cluster.createPod('node-1', 'late', { annotations: { other: 'stays' } });
  const both = { pools: ['v4', 'v6'], annotatePod };
  const names = ['net1', 'net2', 'net3'];
  const ips = await Promise.all(names.map((ifname) => add(pod, ifname, both)));
  const plain = await add(pod, 'net4', { pools: ['v4'] });
  expect(plain).toHaveLength(1);
  const whole = Object.fromEntries(names.map((ifname, i) => [ifname, ips[i]]));
  await waitFor('the pod shows every interface that asks for it', async () => {
    expect(await shown(pod)).toEqual(whole);
    return true;
  });
  await waitFor('the earlier pod shows its address', async () => {
    expect(await shown(early)).toEqual({ net1: given });
    return true;
  });
  const { metadata } = await cluster.api.get(pods, { namespace: 'default', name: 'late' });
  expect(metadata.annotations).toMatchObject({ other: 'stays' });

  await cluster.api.patch(pods, { namespace: 'default', name: 'late' }, [
    { op: 'add', path: '/metadata/annotations/ipam.berth.dev~1addresses', value: '{"net1":["1.2.3.4/8"]}' },
  ]);
  await waitFor('what somebody else wrote is written over', async () => {
    expect(await shown(pod)).toEqual(whole);
    return true;
  });

  const del = (ifname: string): Promise<unknown> =>
    agent.call(podCall('DEL', pod, agent.ipam(both), { ifname }));
  await del('net1');
  await waitFor('the interface that went is not shown', async () => {
    expect(await shown(pod)).toEqual({ net2: ips[1], net3: ips[2] });
    return true;
  });
  await Promise.all([del('net2'), del('net3')]);
  await waitFor('nothing is shown of a pod without interfaces', async () => (await shown(pod)) === undefined);
});
