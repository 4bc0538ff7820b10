/** Reservations that people make with kubectl: respected, counted, given to whom they wait for, and never collected. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ipReservations } from '../crds/resources.ts';
import type { IPReservationSpec } from '../crds/types.ts';
import {
  addressesOf,
  type Cluster,
  type NodeAgent,
  podCall,
  startCluster,
  type TestPod,
} from './harness/cluster.ts';
import { type CniCall, type CniOutcome, codeOf, messageOf } from './harness/cni.ts';
import { waitFor } from './harness/wait.ts';

let cluster: Cluster;
let agent: NodeAgent;

beforeAll(async () => {
  cluster = await startCluster({
    name: 'persons',
    operatorFlags: { 'orphan-grace': '1s', 'scan-interval': '1s' },
  });
  agent = cluster.agent('node-1');
});

afterAll(() => cluster?.stop());

/** As a person writes it. */
async function reserve(pool: string, address: string, spec: Record<string, unknown>): Promise<void> {
  const manifest = {
    apiVersion: 'ipam.berth.dev/v1alpha1',
    kind: 'IPReservation',
    metadata: { name: `default.${address}` },
    spec: { network: 'default', address, pool, state: 'Held', ...spec },
  };
  await cluster.controlPlane.kubectl(['apply', '-f', '-'], JSON.stringify(manifest));
}

/** Waits until the pool's status has the holder; agents see it a moment later. */
async function whenHeld(pool: string, holder: string): Promise<void> {
  await cluster.whenPool(pool, `the status of ${pool} has ${holder}`, ({ status }) =>
    (status?.holders ?? []).some((held) => held.holder === holder),
  );
}

function call(
  command: CniCall['command'],
  pod: TestPod,
  pool: string,
  more: { ips?: string[]; containerID?: string } = {},
): Promise<CniOutcome> {
  const { ips, containerID } = more;
  const config = ips === undefined ? {} : { args: { cni: { ips } } };
  const shape = { config, ...(containerID !== undefined && { containerID }) };
  return agent.call(podCall(command, pod, agent.ipam({ pools: [pool] }), shape));
}

async function spec(address: string): Promise<IPReservationSpec> {
  return (await cluster.api.get(ipReservations, { name: `default.${address}` })).spec;
}

/** Gives the pod its address, trying again while the agent has not seen what the pool holds. */
async function addUntil(pod: TestPod, pool: string, address: string): Promise<void> {
  await waitFor(`pod ${pod.name} gets ${address}`, async () => {
    const [given] = addressesOf(await call('ADD', pod, pool));
    if (given === address) return true;
    await call('DEL', pod, pool);
    return false;
  });
}

test('an address of something outside is not given, counts as held, and stays', async () => {
  await cluster.createPool('office', {
    subnet: '10.1.0.0/24',
    ranges: ['10.1.0.2-10.1.0.3'],
    cooldown: '0s',
  });
  await reserve('office', '10.1.0.2', { owner: { kind: 'External', name: 'printer' } });
  await cluster.whenPool('office', 'the address counts as held', ({ status }) => status?.held === '1');
  const [one, two] = [await cluster.createPod('node-1', 'one'), await cluster.createPod('node-1', 'two')];
  expect(addressesOf(await call('ADD', one, 'office'))).toEqual(['10.1.0.3']);
  const full = await call('ADD', two, 'office');
  expect(codeOf(full)).toBe(101);
  expect(messageOf(full)).toContain('1 bound, 1 held, 0 cooling down');
  const taken = await call('ADD', two, 'office', { ips: ['10.1.0.2'] });
  expect(codeOf(taken)).toBe(102);
  expect(messageOf(taken)).toContain('held for something outside the cluster (printer)');
  await cluster.whenPool('office', 'nothing is free', ({ status }) => status?.free === '0');
  expect(await spec('10.1.0.2')).toMatchObject({
    state: 'Held',
    owner: { kind: 'External', name: 'printer' },
  });
});

test('a pod that an address waits for gets it without asking; it is Held again after DEL and after collection', async () => {
  const holder = 'Pod/default/vip';
  await cluster.createPool('vips', { subnet: '10.2.0.0/24', cooldown: '0s' });
  await reserve('vips', '10.2.0.77', { holder });
  await whenHeld('vips', holder);
  const other = await cluster.createPod('node-1', 'other');
  const refused = await call('ADD', other, 'vips', { ips: ['10.2.0.77'] });
  expect(codeOf(refused)).toBe(102);
  expect(messageOf(refused)).toContain(`held for ${holder}`);

  const vip = await cluster.createPod('node-1', 'vip');
  await addUntil(vip, 'vips', '10.2.0.77');
  expect(await spec('10.2.0.77')).toMatchObject({ state: 'Bound', holder, owner: { uid: vip.uid } });
  expect(codeOf(await call('DEL', vip, 'vips'))).toBe(0);
  expect(await spec('10.2.0.77')).toMatchObject({ state: 'Held', holder });

  // By value it is had, too, and at once.
  const byValue = await call('ADD', vip, 'vips', { ips: ['10.2.0.77'], containerID: 'second' });
  expect(addressesOf(byValue)).toEqual(['10.2.0.77']);
  // Its pod is deleted and no DEL comes: the operator takes it back, to Held, and never further.
  await cluster.deletePod(vip);
  await waitFor('the operator has taken it back', async () => (await spec('10.2.0.77')).state === 'Held');
  expect(await spec('10.2.0.77')).toMatchObject({ state: 'Held', holder });
  // Another orphan goes its way meanwhile; the person's address outlives that collection.
  const orphan = await cluster.createPod('node-1', 'orphan');
  const [address = ''] = addressesOf(await call('ADD', orphan, 'vips'));
  await cluster.deletePod(orphan);
  await waitFor(
    'the orphan is collected',
    async () => !(await cluster.reservations()).has(`default.${address}`),
  );
  expect(await spec('10.2.0.77')).toMatchObject({ state: 'Held', holder });

  const again = await cluster.createPod('node-1', 'vip');
  await addUntil(again, 'vips', '10.2.0.77');
});

test.each(['0s', '1h'])(
  'an address that a person pins while it is in use is Held when its pod ends (cooldown %s)',
  async (cooldown) => {
    const pool = `pinned-${cooldown}`;
    await cluster.createPool(pool, { subnet: cooldown === '0s' ? '10.3.0.0/24' : '10.4.0.0/24', cooldown });
    const pod = await cluster.createPod('node-1', `pinned-${cooldown}`);
    const [address = ''] = addressesOf(await call('ADD', pod, pool));
    const holder = `Pod/default/${pod.name}`;
    const patch = JSON.stringify({ spec: { holder } });
    await cluster.controlPlane.kubectl(['patch', 'ipr', `default.${address}`, '--type=merge', '-p', patch]);
    expect(codeOf(await call('DEL', pod, pool))).toBe(0);
    expect(await spec(address)).toMatchObject({ state: 'Held', holder });
  },
);
