/** The agent where the machine is unkind: a full disk, one that cannot be written, a second agent, a crowd, a stop. */
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  addressesOf,
  type Cluster,
  NodeAgent,
  podCall,
  startCluster,
  type TestPod,
} from './harness/cluster.ts';
import { type CniCall, type CniOutcome, cniEnv, codeOf, runPlugin } from './harness/cni.ts';
import { artefacts } from './harness/programs.ts';
import { fillDisk, scratchDisk, seenBy } from './harness/scratchdisk.ts';
import { waitFor } from './harness/wait.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ name: 'hardening', nodes: ['node-1', 'node-2'] });
  await cluster.createPool('v4', { subnet: '10.1.0.0/20', default: true, cooldown: '0s' });
});

afterAll(() => cluster?.stop());

/** `pod address` of each Bound reservation of the node. */
async function boundOn(node: string): Promise<string[]> {
  const all = await cluster.reservations({ fieldSelector: `spec.owner.node=${node}` });
  return [...all.values()]
    .filter(({ spec }) => spec.state === 'Bound')
    .map(({ spec }) => `${spec.owner?.name ?? spec.owner?.containerID} ${spec.address}`)
    .toSorted();
}

describe('a full disk', () => {
  let agent: NodeAgent;
  const given = new Map<TestPod, string>();
  const rows = (): string[] => [...given].map(([pod, address]) => `${pod.name} ${address}`).toSorted();
  const add = (pod: TestPod): Promise<CniOutcome> => agent.call(podCall('ADD', pod, agent.ipam()));
  const del = (pod: TestPod): Promise<CniOutcome> => agent.call(podCall('DEL', pod, agent.ipam()));
  /** The binary, where it sees the same disk. */
  const binary = (call: CniCall): Promise<CniOutcome> =>
    runPlugin('nsenter', { ...cniEnv(call), PATH: process.env['PATH'] ?? '' }, JSON.stringify(call.config), [
      `--mount=/proc/${agent.program.pid}/ns/mnt`,
      artefacts.binary,
    ]);

  beforeAll(async () => {
    const { kubeconfig, program } = cluster.agent('node-1');
    await program.stop();
    const directory = join(cluster.directory, 'full');
    const stateDir = join(directory, 'disk');
    const { wrapper } = await scratchDisk(stateDir, 'size=128k,mode=0700');
    agent = new NodeAgent('node-1', directory, kubeconfig, { wrapper, stateDir });
    await agent.program.start();
    await waitFor('it knows the pool', async () => (await agent.readyPools()).includes('v4'));
  });

  afterAll(async () => {
    await agent?.program.stop();
    await cluster.agent('node-1').program.start();
  });

  test('an ADD that cannot be written down fails with 11 and leaves nothing; what is there stays', async () => {
    const makeRoom = await fillDisk(agent.program.pid, agent.stateDir);
    let refused: TestPod[] = [];
    // What is left of the journal's last page takes a few more.
    for (let i = 0; refused.length < 3; i += 1) {
      const pod = await cluster.createPod('node-1', `full-${i}`);
      const outcome = await add(pod);
      if (outcome.exitCode === 0) given.set(pod, addressesOf(outcome)[0] ?? '');
      else refused.push(pod);
      expect([0, 11]).toContain(codeOf(outcome));
      if (outcome.exitCode !== 0) expect(outcome.stdout).toContain('ENOSPC');
      expect(await boundOn('node-1')).toEqual(rows());
    }
    expect(agent.program.log()).toContain('ENOSPC');
    expect(given.size).toBeGreaterThan(0);

    // The same ADD again needs no room.
    for (const [pod, address] of given) expect(addressesOf(await add(pod))).toEqual([address]);

    // A DEL is true: 0 and the address is gone, or 11 and it is as it was.
    const codes = new Set<number>();
    for (const [pod] of given) {
      const code = codeOf(await del(pod));
      codes.add(code);
      if (code === 0) given.delete(pod);
      expect(await boundOn('node-1')).toEqual(rows());
    }
    expect([...codes].filter((code) => code !== 0 && code !== 11)).toEqual([]);

    await makeRoom();
    for (const pod of refused) given.set(pod, addressesOf(await add(pod))[0] ?? '');
    expect(await boundOn('node-1')).toEqual(rows());
    for (const [pod] of given) expect(codeOf(await del(pod))).toBe(0);
    expect(await boundOn('node-1')).toEqual([]);
    given.clear();
    refused = [];
  });

  test('a DEL that cannot be queued while the agent is away says so, and is queued when there is room', async () => {
    const pod = await cluster.createPod('node-1', 'unqueued');
    given.set(pod, addressesOf(await add(pod))[0] ?? '');
    // The disk is the program's: it must stay, so the agent only stops to answer.
    process.kill(agent.program.pid, 'SIGSTOP');
    try {
      const makeRoom = await fillDisk(agent.program.pid, agent.stateDir);
      const call = podCall('DEL', pod, agent.ipam());
      const refused = await binary(call);
      expect(codeOf(refused)).toBe(11);
      expect(refused.stdout).toContain('The release cannot be queued either: ');
      expect(refused.stdout).toContain('ENOSPC');
      expect(await readdir(seenBy(agent.program.pid, join(agent.stateDir, 'deletes')))).not.toContainEqual(
        expect.stringMatching(/\.json$/),
      );
      await makeRoom();
      expect(codeOf(await binary(call))).toBe(0);
    } finally {
      process.kill(agent.program.pid, 'SIGCONT');
    }
    await waitFor('its address is free', async () => (await boundOn('node-1')).length === 0);
    given.clear();
  });
});

test('an agent whose state directory cannot be written ends, and says why', async () => {
  const directory = join(cluster.directory, 'readonly');
  const stateDir = join(directory, 'disk');
  const { wrapper } = await scratchDisk(stateDir, 'ro,mode=0700');
  const agent = new NodeAgent('node-1', directory, cluster.agent('node-1').kubeconfig, { wrapper, stateDir });
  await agent.program.spawn();
  await agent.program.whenEnded();
  expect(agent.program.log()).toMatch(/"level":"error".*EROFS: read-only file system.*readonly\/disk/);
});

describe('two agents on one state directory', () => {
  const second = async (name: string): Promise<NodeAgent> => {
    const { kubeconfig, stateDir } = cluster.agent('node-2');
    const directory = join(cluster.directory, name);
    await mkdir(directory);
    return new NodeAgent('node-2', directory, kubeconfig, { stateDir });
  };

  test('the second waits until the first is killed, then serves what the first gave', async () => {
    const first = cluster.agent('node-2');
    const pod = await cluster.createPod('node-2', 'handed-over');
    const [address] = addressesOf(await first.call(podCall('ADD', pod, first.ipam())));
    const next = await second('next');
    await next.program.spawn();
    try {
      await waitFor('it says that it waits', () =>
        next.program.log().includes('another agent has the state directory'),
      );
      expect(codeOf(await first.call(podCall('CHECK', pod, first.ipam())))).toBe(0);
      await expect(next.call(podCall('ADD', pod, next.ipam()))).rejects.toThrow(/ENOENT/);
      await first.program.kill();
      await next.program.whenUp();
      expect(addressesOf(await next.call(podCall('ADD', pod, next.ipam())))).toEqual([address]);
      expect(codeOf(await next.call(podCall('DEL', pod, next.ipam())))).toBe(0);
    } finally {
      await next.program.stop();
      await first.program.start();
    }
  });

  test('a stop ends the one that waits', async () => {
    const next = await second('waiting');
    await next.program.spawn();
    await waitFor('it says that it waits', () =>
      next.program.log().includes('another agent has the state directory'),
    );
    await next.program.stop();
    expect(next.program.log()).toContain('"msg":"stopped"');
  });
});

test('a stop answers what was begun, and only then the next agent begins', async () => {
  const agent = cluster.agent('node-2');
  const pods = await Promise.all([0, 1, 2, 3].map((i) => cluster.createPod('node-2', `begun-${i}`)));
  await waitFor('it has seen the pods', async () => {
    // A pod that its watch has shown costs no read; a frozen API server would not answer one.
    return (await agent.call(podCall('ADD', pods[3] as TestPod, agent.ipam()))).exitCode === 0;
  });
  const { apiServerPid } = cluster.controlPlane;
  process.kill(apiServerPid, 'SIGSTOP');
  const begun = pods.slice(0, 3).map((pod) => agent.call(podCall('ADD', pod, agent.ipam())));
  let stopped: Promise<void>;
  try {
    await waitFor('the ADDs are under way', async () => {
      const { inDoubt } = JSON.parse(await agent.show('/v1/attachments')) as { inDoubt: unknown[] };
      return inDoubt.length === 3;
    });
    process.kill(agent.program.pid, 'SIGTERM');
    stopped = agent.program.whenEnded();
    await waitFor('it takes nothing new', async () =>
      agent.show('/v1/config').then(
        () => false,
        () => true,
      ),
    );
  } finally {
    process.kill(apiServerPid, 'SIGCONT');
  }
  const addresses = (await Promise.all(begun)).map((outcome) => addressesOf(outcome)[0]);
  expect(new Set(addresses).size).toBe(3);
  await stopped;
  expect(agent.program.log()).toContain('"msg":"stopped"');
  await agent.program.start();
  for (const [i, pod] of pods.slice(0, 3).entries()) {
    expect(addressesOf(await agent.call(podCall('ADD', pod, agent.ipam())))).toEqual([addresses[i]]);
  }
  for (const pod of pods) expect(codeOf(await agent.call(podCall('DEL', pod, agent.ipam())))).toBe(0);
  expect(await boundOn('node-2')).toEqual([]);
});

test('a thousand callers at once are all answered, with an address of their own or 11, in bounded memory', async () => {
  const agent = cluster.agent('node-2');
  const callers = 1000;
  /** Of no pod: what the node itself asks for. */
  const call = (command: 'ADD' | 'DEL', i: number): CniCall => ({
    command,
    containerID: `crowd-${i}`,
    ifname: 'net1',
    config: { cniVersion: '1.1.0', name: 'test-network', type: 'bridge', ipam: agent.ipam() },
  });
  const all = (command: 'ADD' | 'DEL'): Promise<CniOutcome[]> =>
    Promise.all(Array.from({ length: callers }, (_, i) => patient(() => agent.call(call(command, i)))));

  const outcomes = await all('ADD');
  expect(outcomes.filter((o) => ![0, 11].includes(codeOf(o)))).toEqual([]);
  const addresses = outcomes.filter((o) => o.exitCode === 0).flatMap(addressesOf);
  expect(addresses.length).toBeGreaterThan(0);
  expect(new Set(addresses).size).toBe(addresses.length);
  await waitFor(
    'what was refused is given back',
    async () => (await boundOn('node-2')).length === addresses.length,
    { timeoutMs: 90_000 },
  );
  const peak = /VmHWM:\s+(\d+) kB/.exec(await readFile(`/proc/${agent.program.pid}/status`, 'utf8'));
  expect(Number(peak?.[1])).toBeLessThan(256 * 1024);

  expect((await all('DEL')).filter((o) => codeOf(o) !== 0)).toEqual([]);
  await waitFor('all are free', async () => (await boundOn('node-2')).length === 0, { timeoutMs: 90_000 });
});

/** Comes again while too many wait to be accepted, as the binary does. */
async function patient(call: () => Promise<CniOutcome>): Promise<CniOutcome> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
      await sleep(50);
    }
  }
}
