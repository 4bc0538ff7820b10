/** The main job through the real parts: an interface gets its addresses, keeps them, and gives them back. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { IPReservation } from '../crds/types.ts';
import {
  addressesOf,
  type Cluster,
  type NodeAgent,
  podCall,
  startCluster,
  type TestPod,
} from './harness/cluster.ts';
import {
  type CniCall,
  type CniOutcome,
  callBinary,
  callSocket,
  cniEnv,
  codeOf,
  messageOf,
  runPlugin,
} from './harness/cni.ts';
import { artefacts } from './harness/programs.ts';
import { waitFor } from './harness/wait.ts';

const COOLDOWN_MS = 2_000;

let cluster: Cluster;
let agent: NodeAgent;

beforeAll(async () => {
  cluster = await startCluster({ name: 'mainjob' });
  agent = cluster.agent('node-1');
  const pools = {
    'default-v6': { network: 'default', subnet: 'fd00:1::/64', default: true, cooldown: '0s' },
    'default-v4': {
      network: 'default',
      subnet: '10.1.0.0/24',
      gateway: '10.1.0.1',
      default: true,
      cooldown: '0s',
    },
    'storage-v4': { network: 'storage', subnet: '10.2.0.0/24', cooldown: '0s' },
    'storage-v6': { network: 'storage', subnet: 'fd00:2::/64', cooldown: '0s' },
    'resting-v4': { network: 'storage', subnet: '10.3.0.0/24', cooldown: `${COOLDOWN_MS}ms` },
    'single-v6': { network: 'storage', subnet: 'fd00:3::/64', ranges: ['fd00:3::9'], cooldown: '0s' },
    'elsewhere-v4': {
      network: 'storage',
      subnet: '10.4.0.0/24',
      nodeSelector: { matchLabels: { rack: 'elsewhere' } },
    },
  };
  await Promise.all(Object.entries(pools).map(([name, spec]) => cluster.createPool(name, spec)));
});

afterAll(() => cluster?.stop());

afterEach(async () => {
  // Each test gives back what it took; a leak is shown where it happened.
  await waitFor('no reservation is left', async () => (await cluster.reservations()).size === 0, {
    onTimeout: () => 'a test has leaked a reservation',
  });
});

const throughBinary = (call: CniCall): Promise<CniOutcome> => callBinary(artefacts.binary, call);
const throughSocket = (call: CniCall): Promise<CniOutcome> => callSocket(agent.socket, call);

async function specOf(network: string, address: string): Promise<IPReservation['spec'] | undefined> {
  return [...(await cluster.reservations()).values()].find(
    ({ spec }) => spec.network === network && spec.address === address,
  )?.spec;
}

async function release(pod: TestPod, containerID?: string): Promise<void> {
  const call = podCall('DEL', pod, agent.ipam(), containerID === undefined ? {} : { containerID });
  expect(await throughSocket(call)).toMatchObject({ exitCode: 0, stdout: '' });
}

describe.each([
  ['the binary', throughBinary],
  ['the socket', throughSocket],
])('through %s', (way, call) => {
  const suffix = way.slice(4);

  test.each([
    ['IPv4', ['storage-v4'], [/^10\.2\.0\.\d+\/24$/]],
    ['IPv6', ['storage-v6'], [/^fd00:2::[0-9a-f:]+\/64$/]],
    ['both families', ['storage-v6', 'storage-v4'], [/^fd00:2::/, /^10\.2\.0\./]],
  ])('ADD of %s reserves, CHECK agrees, DEL frees', async (family, pools, expected) => {
    const pod = await cluster.createPod('node-1', `job-${suffix}-${family.toLowerCase().replace(' ', '-')}`);
    const ipam = agent.ipam({ pools });
    const added = await call(podCall('ADD', pod, ipam));
    const ips = added.output?.['ips'] as { address: string }[];
    expect(ips).toHaveLength(expected.length);
    for (const [index, pattern] of expected.entries()) expect(ips[index]?.address).toMatch(pattern);
    for (const address of addressesOf(added)) {
      expect(await specOf('storage', address)).toMatchObject({
        state: 'Bound',
        owner: {
          kind: 'Pod',
          namespace: 'default',
          name: pod.name,
          uid: pod.uid,
          node: 'node-1',
          containerID: `c-${pod.uid}`,
          ifname: 'net1',
          cniNetwork: 'test-network',
        },
      });
    }
    const check = podCall('CHECK', pod, ipam, { config: { prevResult: added.output } });
    expect(await call(check)).toMatchObject({ exitCode: 0, stdout: '' });
    expect(await call(podCall('DEL', pod, ipam))).toMatchObject({ exitCode: 0, stdout: '' });
    expect((await cluster.reservations()).size).toBe(0);
    expect(codeOf(await call(check))).toBe(106);
  });

  test('the default pools serve who names none: IPv4 first, with gateway', async () => {
    const pod = await cluster.createPod('node-1', `default-${suffix}`);
    const added = await call(podCall('ADD', pod, agent.ipam()));
    expect(added.output?.['ips']).toEqual([
      { address: expect.stringMatching(/^10\.1\.0\.\d+\/24$/), gateway: '10.1.0.1' },
      { address: expect.stringMatching(/^fd00:1::/) },
    ]);
    await release(pod);
  });

  test('the same ADD again answers the same', async () => {
    const pod = await cluster.createPod('node-1', `again-${suffix}`);
    const add = podCall('ADD', pod, agent.ipam({ pools: ['storage-v4', 'storage-v6'] }));
    const first = await call(add);
    expect(await call(add)).toEqual(first);
    expect((await cluster.reservations()).size).toBe(2);
    await release(pod);
  });

  test('DEL of what was never added succeeds', async () => {
    const pod = { namespace: 'default', name: 'never', uid: 'never-was', node: 'node-1' };
    expect(await call(podCall('DEL', pod, agent.ipam()))).toMatchObject({ exitCode: 0, stdout: '' });
  });
});

test('both families or none: a family without room leaves nothing of the other behind', async () => {
  const [first, second] = [
    await cluster.createPod('node-1', 'room-first'),
    await cluster.createPod('node-1', 'room-second'),
  ];
  const ipam = agent.ipam({ pools: ['storage-v4', 'single-v6'] });
  expect(addressesOf(await throughBinary(podCall('ADD', first, ipam)))).toContain('fd00:3::9');
  const refused = await throughBinary(podCall('ADD', second, ipam));
  expect(codeOf(refused)).toBe(101);
  expect(messageOf(refused)).toContain('room-second');
  expect(messageOf(refused)).toContain('net1');
  expect(messageOf(refused)).toMatch(/pool single-v6 has no free address: 1 bound, 0 held, 0 cooling down/);
  expect([...(await cluster.reservations()).values()].map(({ spec }) => spec.owner?.name)).toEqual([
    'room-first',
    'room-first',
  ]);
  await release(first);
});

test('a released address rests for the cooldown, then the operator frees it', async () => {
  const pod = await cluster.createPod('node-1', 'resting');
  const ipam = agent.ipam({ pools: ['resting-v4'] });
  const [address = ''] = addressesOf(await throughBinary(podCall('ADD', pod, ipam)));
  const start = performance.now();
  expect(codeOf(await throughBinary(podCall('DEL', pod, ipam)))).toBe(0);
  expect(await specOf('storage', address)).toMatchObject({ state: 'Released', owner: { uid: pod.uid } });
  await waitFor('the address is free', async () => (await specOf('storage', address)) === undefined);
  // A lower bound only: it proves that the address did rest.
  expect(performance.now() - start).toBeGreaterThan(COOLDOWN_MS * 0.9);
});

test('a restarted sandbox keeps its addresses, and the late DEL of the old one changes nothing', async () => {
  const pod = await cluster.createPod('node-1', 'restarted');
  const ipam = agent.ipam({ pools: ['storage-v4', 'storage-v6'] });
  const old = { containerID: 'sandbox-1' };
  const young = { containerID: 'sandbox-2' };
  const before = addressesOf(await throughBinary(podCall('ADD', pod, ipam, old)));
  const after = addressesOf(await throughBinary(podCall('ADD', pod, ipam, young)));
  expect(after).toEqual(before);
  expect(codeOf(await throughBinary(podCall('DEL', pod, ipam, old)))).toBe(0);
  for (const address of after) {
    expect(await specOf('storage', address)).toMatchObject({
      state: 'Bound',
      owner: { containerID: 'sandbox-2', uid: pod.uid },
    });
  }
  await release(pod, 'sandbox-2');
});

describe('refusals', () => {
  const refusals: [number, string, Record<string, unknown>, Record<string, unknown>, RegExp][] = [
    [105, 'a pool that does not exist', { pools: ['nowhere'] }, {}, /pool nowhere does not exist/],
    [104, 'a pool of other nodes', { pools: ['elsewhere-v4'] }, {}, /pool elsewhere-v4 may not be used/],
    [7, 'an unknown key of ipam', { subnet: '10.0.0.0/8' }, {}, /"ipam\.subnet"/],
    [1, 'a version that does not exist', {}, { cniVersion: '9.9.9' }, /cniVersion "9\.9\.9"/],
  ];

  test.each(refusals)('code %i: %s', async (code, _what, ipam, config, message) => {
    const pod = await cluster.createPod('node-1', `refused-${code}`);
    const refused = await throughBinary(podCall('ADD', pod, agent.ipam(ipam), { config }));
    expect(codeOf(refused)).toBe(code);
    expect(messageOf(refused)).toMatch(message);
  });

  test('code 4: an environment without container ID', async () => {
    const pod = await cluster.createPod('node-1', 'refused-4');
    const refused = await throughBinary(podCall('ADD', pod, agent.ipam(), { containerID: '' }));
    expect(codeOf(refused)).toBe(4);
    expect(messageOf(refused)).toContain('CNI_CONTAINERID');
  });

  test('code 6: input that is no JSON', async () => {
    const pod = await cluster.createPod('node-1', 'refused-6');
    const refused = await runPlugin(
      artefacts.binary,
      cniEnv(podCall('ADD', pod, agent.ipam())),
      '{"cniVersion"',
    );
    expect(codeOf(refused)).toBe(6);
  });

  test('code 11: a pod that the API server knows under another UID', async () => {
    const pod = await cluster.createPod('node-1', 'refused-11');
    const refused = await throughBinary(podCall('ADD', { ...pod, uid: 'of-yesterday' }, agent.ipam()));
    expect(codeOf(refused)).toBe(11);
    expect(messageOf(refused)).toContain(pod.uid);
  });
});

test('without API server ADD is code 11, DEL succeeds, and its address is released when the server is back', async () => {
  const pod = await cluster.createPod('node-1', 'outage');
  const other = await cluster.createPod('node-1', 'outage-other');
  const ipam = agent.ipam({ pools: ['storage-v4'] });
  const [address = ''] = addressesOf(await throughBinary(podCall('ADD', pod, ipam)));
  await cluster.controlPlane.killApiServer();
  try {
    expect(codeOf(await throughBinary(podCall('ADD', other, ipam)))).toBe(11);
    expect(await throughBinary(podCall('DEL', pod, ipam))).toMatchObject({ exitCode: 0, stdout: '' });
  } finally {
    await cluster.controlPlane.startApiServer();
  }
  await waitFor('the address is free', async () => (await specOf('storage', address)) === undefined);
});

test('without agent DEL is queued and succeeds, and the next agent does it', async () => {
  const pod = await cluster.createPod('node-1', 'queued');
  const ipam = agent.ipam({ pools: ['storage-v4'] });
  const [address = ''] = addressesOf(await throughBinary(podCall('ADD', pod, ipam)));
  await agent.program.kill();
  try {
    expect(await throughBinary(podCall('DEL', pod, ipam))).toMatchObject({ exitCode: 0, stdout: '' });
    expect(await specOf('storage', address)).toMatchObject({ state: 'Bound' });
  } finally {
    await agent.program.start();
  }
  await waitFor('the address is free', async () => (await specOf('storage', address)) === undefined);
});
