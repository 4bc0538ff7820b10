/**
 * Several interfaces of one pod, each an attachment of its own: their addresses differ, annotations speak to each of
 * them, and what happens to one leaves the others alone. Through the compiled binary, the agent and a real API server.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ipReservations } from '../crds/resources.ts';
import type { IPPoolSpec } from '../crds/types.ts';
import { namespaces } from '../kube/core.ts';
import {
  addressesOf,
  type Cluster,
  type NodeAgent,
  podCall,
  startCluster,
  type TestPod,
} from './harness/cluster.ts';
import { type CniCall, type CniOutcome, callBinary, codeOf, messageOf } from './harness/cni.ts';
import { artefacts } from './harness/programs.ts';
import { waitFor } from './harness/wait.ts';

const POOLS = 'ipam.berth.dev/pools';
const IPS = 'ipam.berth.dev/ips';
const BOTH = ['lan-v4', 'lan-v6'];

let cluster: Cluster;
let agent: NodeAgent;

beforeAll(async () => {
  cluster = await startCluster({ name: 'interfaces' });
  agent = cluster.agent('node-1');
  const pools: Record<string, Omit<IPPoolSpec, 'cooldown'>> = {
    'lan-v4': { network: 'lan', subnet: '10.1.0.0/24', default: true },
    'lan-v6': { network: 'lan', subnet: 'fd00:1::/64', default: true },
    'one-v4': { network: 'lan', subnet: '10.2.0.0/24', ranges: ['10.2.0.9'] },
    'one-v6': { network: 'lan', subnet: 'fd00:2::/64', ranges: ['fd00:2::9'] },
    'elsewhere-v6': {
      network: 'lan',
      subnet: 'fd00:3::/64',
      nodeSelector: { matchLabels: { rack: 'elsewhere' } },
    },
  };
  await Promise.all(
    Object.entries(pools).map(([name, spec]) => cluster.createPool(name, { ...spec, cooldown: '0s' })),
  );
});

afterAll(() => cluster?.stop());

afterEach(async () => {
  // Each test gives back what it took; a leak is shown where it happened.
  expect([...(await cluster.reservations()).keys()]).toEqual([]);
});

/** One interface: its name, the network configuration's name, and the configuration's pools. */
interface Nic {
  readonly ifname: string;
  /** "lan" unless given. */
  readonly cniNetwork?: string;
  /** None unless given: then those of the annotations or the default ones of network lan. */
  readonly pools?: readonly string[];
  readonly containerID?: string;
}

function call(command: CniCall['command'], pod: TestPod, nic: Nic, config = {}): Promise<CniOutcome> {
  const { ifname, cniNetwork = 'lan', pools, containerID } = nic;
  const ipam = agent.ipam({ network: 'lan', ...(pools !== undefined && { pools }) });
  const made = podCall(command, pod, ipam, {
    ifname,
    config: { name: cniNetwork, ...config },
    ...(containerID !== undefined && { containerID }),
  });
  return callBinary(artefacts.binary, made);
}

const add = async (pod: TestPod, nic: Nic): Promise<string[]> => addressesOf(await call('ADD', pod, nic));

async function del(pod: TestPod, ...nics: readonly Nic[]): Promise<void> {
  for (const nic of nics) expect(await call('DEL', pod, nic)).toMatchObject({ exitCode: 0, stdout: '' });
}

const newPod = (name: string, annotations: Record<string, unknown> = {}, namespace = 'default') =>
  cluster.createPod('node-1', name, {
    namespace,
    annotations: Object.fromEntries(
      Object.entries(annotations).map(([key, value]) => [
        key,
        typeof value === 'string' ? value : JSON.stringify(value),
      ]),
    ),
  });

const V4 = expect.stringMatching(/^10\.1\.0\.\d+$/);
const V6 = expect.stringMatching(/^fd00:1::/);

describe('interfaces of one pod', () => {
  test('on one pool, added at the same moment, have different addresses, and each gives back its own', async () => {
    const pod = await newPod('three');
    const nics = ['eth0', 'net1', 'net2'].map((ifname) => ({
      ifname,
      cniNetwork: `of-${ifname}`,
      pools: BOTH,
    }));
    const given = await Promise.all(nics.map((nic) => add(pod, nic)));
    expect(new Set(given.flat()).size).toBe(6);
    for (const [index, { ifname }] of nics.entries()) {
      expect(given[index]).toEqual([V4, V6]);
      expect((await cluster.boundTo(pod))[ifname]).toEqual(given[index]?.toSorted());
    }
    const [eth0 = { ifname: '' }, ...others] = nics;
    const before = await cluster.reservations();
    await del(pod, eth0);
    const after = await cluster.reservations();
    expect([...after.values()]).toEqual(
      [...before.values()].filter(({ spec }) => spec.owner?.ifname !== 'eth0'),
    );
    await del(pod, ...others);
  });

  test('attached twice to one network are two attachments, each with what is asked for it by name', async () => {
    const pod = await newPod('twice', {
      [IPS]: { net1: ['10.1.0.11', 'fd00:1::11/64'], net2: '10.1.0.12' },
    });
    const [net1, net2] = [{ ifname: 'net1' }, { ifname: 'net2' }];
    const results = await Promise.all([net1, net2].map((nic) => call('ADD', pod, nic)));
    const [first = [], second = []] = results.map(addressesOf);
    expect(first).toEqual(['10.1.0.11', 'fd00:1::11']);
    expect(second).toEqual(['10.1.0.12', V6]);
    // Each is checked against its own.
    const [ofNet1, ofNet2] = results.map(({ output }) => ({ prevResult: output }));
    expect(codeOf(await call('CHECK', pod, net1, ofNet1))).toBe(0);
    expect(codeOf(await call('CHECK', pod, net2, ofNet2))).toBe(0);
    expect(codeOf(await call('CHECK', pod, net1, ofNet2))).toBe(106);
    // The same ADD again is the same attachment's.
    expect(await add(pod, net2)).toEqual(second);
    await del(pod, net1, net2);
  });

  test('attached twice to one network can not both have the address that its name asks for', async () => {
    const pod = await newPod('greedy', { [IPS]: { lan: '10.1.0.13' } });
    const [net1, net2] = [{ ifname: 'net1' }, { ifname: 'net2' }];
    expect(await add(pod, net1)).toEqual(['10.1.0.13', V6]);
    const before = await cluster.reservations();
    const refused = await call('ADD', pod, net2);
    expect(codeOf(refused)).toBe(102);
    expect(messageOf(refused)).toMatch(
      /interface net2: .*10\.1\.0\.13 .*taken: bound to pod default\/greedy, interface net1,/,
    );
    expect(await cluster.reservations()).toEqual(before);
    await del(pod, net2, net1);
  });

  test('are told apart by annotations: interface, then network, then the weaker sources', async () => {
    await cluster.api.create(namespaces, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: {
        name: 'shop',
        annotations: { [POOLS]: JSON.stringify({ net3: 'one-v4', net1: 'one-v6' }) },
      },
    });
    const pod = await newPod('told', { [POOLS]: { net1: ['lan-v6', 'lan-v4'], lan: 'lan-v6' } }, 'shop');
    const nics: [Nic, unknown[]][] = [
      [{ ifname: 'net1' }, [V6, V4]],
      [{ ifname: 'net2', pools: ['lan-v4'] }, [V6]],
      [{ ifname: 'net3', cniNetwork: 'other', pools: ['lan-v4'] }, ['10.2.0.9']],
      [{ ifname: 'net4', cniNetwork: 'other', pools: ['lan-v4'] }, [V4]],
      [{ ifname: 'net5', cniNetwork: 'other' }, [V4, V6]],
    ];
    for (const [nic, expected] of nics) expect(await add(pod, nic)).toEqual(expected);
    await del(pod, ...nics.map(([nic]) => nic));
  });

  test('have the families that their pools have: IPv4, IPv6, or both in the order of the pools', async () => {
    const pod = await newPod('families');
    const nics: [Nic, unknown[]][] = [
      [{ ifname: 'net1', pools: ['lan-v4'] }, [V4]],
      [{ ifname: 'net2', pools: ['lan-v6'] }, [V6]],
      [{ ifname: 'net3', pools: ['lan-v6', 'lan-v4'] }, [V6, V4]],
      [{ ifname: 'net4' }, [V4, V6]],
    ];
    const given = await Promise.all(nics.map(([nic]) => add(pod, nic)));
    expect(given).toEqual(nics.map(([, expected]) => expected));
    expect(await cluster.reservations()).toHaveProperty('size', 6);
    await del(pod, ...nics.map(([nic]) => nic));
  });

  test('share one address that is held for their pod: the first has it, and it waits again when that one goes', async () => {
    await cluster.api.create(ipReservations, {
      apiVersion: 'ipam.berth.dev/v1alpha1',
      kind: 'IPReservation',
      metadata: { name: 'lan.10.1.0.14' },
      spec: {
        network: 'lan',
        address: '10.1.0.14',
        pool: 'lan-v4',
        state: 'Held',
        holder: 'Pod/default/held',
        since: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
      },
    });
    await waitFor('the agent knows of it', async () =>
      (await agent.show('/v1/pools')).includes('Pod/default/held'),
    );
    const pod = await newPod('held');
    const nics = ['net1', 'net2'].map((ifname) => ({ ifname, pools: ['lan-v4'] }));
    const given = (await Promise.all(nics.map((nic) => add(pod, nic)))).flat();
    expect(given).toContain('10.1.0.14');
    expect(new Set(given).size).toBe(2);
    await del(pod, ...nics);
    const left = [...(await cluster.reservations()).values()].map(({ spec }) => [spec.address, spec.state]);
    expect(left).toEqual([['10.1.0.14', 'Held']]);
    await cluster.api.delete(ipReservations, { name: 'lan.10.1.0.14' });
  });
});

describe('an interface that can not have all that it needs', () => {
  const TAKEN = 'fd00:1::aa';
  const refusals: [string, number, Nic['pools'], string[]][] = [
    ['IPv6 is full', 101, ['lan-v4', 'one-v6'], []],
    ['IPv4 is full', 101, ['one-v4', 'lan-v6'], []],
    ['the address asked for is taken', 102, BOTH, [TAKEN]],
    ['one of two addresses asked for is taken', 102, BOTH, ['10.1.0.15', TAKEN]],
    ['the address asked for is in no pool', 103, BOTH, ['10.9.0.1']],
    ['IPv6 may not be used here', 104, ['lan-v4', 'elsewhere-v6'], []],
    ['a pool does not exist', 105, ['lan-v4', 'nowhere'], []],
  ];

  test.each(refusals)(
    'has nothing, and its sibling loses nothing: %s (%i)',
    async (_why, code, pools, ips) => {
      const pod = await newPod(`refused-${code}-${ips.length}${pools?.[0]}`, { [IPS]: { net2: ips } });
      const other = await newPod(`other-${code}-${ips.length}${pools?.[0]}`, { [IPS]: { net3: TAKEN } });
      const occupied = ['one-v4', 'one-v6'].map((name, i) => ({ ifname: `net${i + 1}`, pools: [name] }));
      const taken = { ifname: 'net3', pools: BOTH };
      for (const nic of [...occupied, taken]) await add(other, nic);
      const sibling = { ifname: 'net1', pools: BOTH };
      const given = await add(pod, sibling);
      const before = await cluster.reservations();
      const failing = { ifname: 'net2', ...(pools !== undefined && { pools }) };
      // What one refusal has taught the agent must not change the next.
      for (const _again of [1, 2]) {
        const refused = await call('ADD', pod, failing);
        expect(codeOf(refused)).toBe(code);
        expect(messageOf(refused)).toMatch(/^pod default\/refused-\S+, interface net2: /);
        // With their resourceVersions: nobody has touched them.
        expect(await cluster.reservations()).toEqual(before);
      }
      expect(await add(pod, sibling)).toEqual(given);
      await del(other, ...occupied, taken);
      await del(pod, failing, sibling);
    },
  );

  test('has everything as soon as there is room', async () => {
    const [pod, other] = [await newPod('patient'), await newPod('in-the-way')];
    const nic = { ifname: 'net1', pools: ['lan-v4', 'one-v6'] };
    await add(other, nic);
    expect(codeOf(await call('ADD', pod, nic))).toBe(101);
    await del(other, nic);
    expect(await add(pod, nic)).toEqual([V4, 'fd00:2::9']);
    await del(pod, nic);
  });
});

describe('a sandbox that is made anew', () => {
  test('keeps the addresses of each interface, whatever the order, and the late DELs change nothing', async () => {
    const pod = await newPod('restarted', { [IPS]: { net2: '10.1.0.16' } });
    const nics = (containerID: string): Nic[] =>
      ['eth0', 'net1', 'net2'].map((ifname) => ({ ifname, pools: BOTH, containerID }));
    const before: string[][] = [];
    for (const nic of nics('old')) before.push(await add(pod, nic));
    expect(before[2]).toEqual(['10.1.0.16', V6]);
    const after = await Promise.all(
      nics('new')
        .toReversed()
        .map((nic) => add(pod, nic)),
    );
    expect(after.toReversed()).toEqual(before);
    const owners = [...(await cluster.reservations()).values()];
    expect(owners).toHaveLength(6);
    expect(new Set(owners.map(({ spec }) => spec.owner?.containerID))).toEqual(new Set(['new']));
    await del(pod, ...nics('old'));
    expect([...(await cluster.reservations()).values()]).toEqual(owners);
    await del(pod, ...nics('new'));
  });

  test('with fewer interfaces takes over what it has, and the others go with the old one', async () => {
    const pod = await newPod('fewer');
    const nic = (ifname: string, containerID: string): Nic => ({ ifname, pools: BOTH, containerID });
    const kept = await add(pod, nic('eth0', 'old'));
    await add(pod, nic('net1', 'old'));
    expect(await add(pod, nic('eth0', 'new'))).toEqual(kept);
    await del(pod, nic('net1', 'old'), nic('eth0', 'old'));
    expect(await cluster.boundTo(pod)).toEqual({ eth0: kept.toSorted() });
    await del(pod, nic('eth0', 'new'));
  });
});
