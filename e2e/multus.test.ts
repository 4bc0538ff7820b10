/**
 * Multus as it really is: the real thin plugin calls real main plugins with `"ipam": {"type": "berth"}`, by real
 * NetworkAttachmentDefinitions, for the pod's own network (eth0) and for those of its annotation.
 *
 * The node is a network namespace; macvlan's master is a veth whose other end lies in it too. What arrives at Berth's
 * binary is recorded on the way.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { IPPoolSpec } from '../crds/types.ts';
import { addressesOf, type Cluster, startCluster, type TestPod } from './harness/cluster.ts';
import { codeOf, messageOf } from './harness/cni.ts';
import { type ArrivedCall, Multus, networkStatus, type Sandbox } from './harness/multus.ts';
import { Namespaces } from './harness/netns.ts';
import { waitFor } from './harness/wait.ts';
import { whyNoNetwork } from './quickstart/network.ts';

const NODE = 'node-1';
const NETWORKS = 'k8s.v1.cni.cncf.io/networks';
const DEFAULT_NETWORK = 'v1.multus-cni.io/default-network';

let cluster: Cluster;
let spaces: Namespaces;
let multus: Multus;
/** What every pod gets as eth0, unless a test says otherwise. */
let byDelegate: Record<string, unknown>;

const ipam = (network: string, pools: readonly string[]): Record<string, unknown> =>
  cluster.agent(NODE).ipam({ network, pools });

function bridge(name: string, network: string, pools: readonly string[]): Record<string, unknown> {
  return { cniVersion: '1.1.0', name, type: 'bridge', bridge: `br-${name}`, ipam: ipam(network, pools) };
}

function macvlan(): Record<string, unknown> {
  return { type: 'macvlan', master: 'cable', ipam: ipam('storage', ['storage-v4', 'storage-v6']) };
}

async function createPools(): Promise<void> {
  const pools: Record<string, Omit<IPPoolSpec, 'cooldown'>> = {
    'lan-v4': { network: 'lan', subnet: '10.1.0.0/24', gateway: '10.1.0.1' },
    'lan-v6': { network: 'lan', subnet: 'fd00:1::/64', gateway: 'fd00:1::1' },
    'storage-v4': { network: 'storage', subnet: '10.2.0.0/24' },
    'storage-v6': { network: 'storage', subnet: 'fd00:2::/64' },
    'full-v4': { network: 'full', subnet: '10.3.0.0/24', ranges: ['10.3.0.9'] },
  };
  await Promise.all(
    Object.entries(pools).map(([name, spec]) => cluster.createPool(name, { ...spec, cooldown: '0s' })),
  );
}

async function defineNetworks(): Promise<void> {
  const storage = { cniVersion: '1.0.0', name: 'storage-macvlan', ...macvlan() };
  const capabilities = { ips: true };
  await cluster.controlPlane.kubectl(['create', 'namespace', 'networks']);
  await Multus.define(cluster, [
    { namespace: 'networks', name: 'storage', config: storage },
    { namespace: 'networks', name: 'storage-ips', config: { ...storage, capabilities } },
    // A list, and without a name of its own: Multus gives it that of the definition.
    {
      namespace: 'networks',
      name: 'storage-list',
      config: { cniVersion: '0.4.0', plugins: [{ ...macvlan(), capabilities }, { type: 'loopback' }] },
    },
    { namespace: 'networks', name: 'full', config: bridge('full', 'full', ['full-v4']) },
    {
      namespace: 'kube-system',
      name: 'cluster-lan',
      config: { ...bridge('lan', 'lan', ['lan-v4', 'lan-v6']), capabilities },
    },
  ]);
}

async function newPod(name: string, annotations: Record<string, unknown>): Promise<TestPod> {
  await spaces.add(name);
  const texts = Object.entries(annotations).map(([key, value]) => [
    key,
    typeof value === 'string' ? value : JSON.stringify(value),
  ]);
  return cluster.createPod(NODE, name, { annotations: Object.fromEntries(texts) });
}

/** ADD through Multus. @returns the addresses of its result, those of eth0 */
async function add(pod: TestPod, network = byDelegate, sandbox: Sandbox = {}): Promise<string[]> {
  return addressesOf(await multus.call('ADD', pod, network, sandbox));
}

async function del(pod: TestPod, network = byDelegate, sandbox: Sandbox = {}): Promise<void> {
  expect(await multus.call('DEL', pod, network, sandbox)).toMatchObject({ exitCode: 0, stdout: '' });
}

/** What has arrived at Berth for a pod's sandbox. */
async function arrived(pod: TestPod, command: string): Promise<ArrivedCall[]> {
  return (await multus.arrived()).filter(
    (call) => call.command === command && call.args.includes(`K8S_POD_UID=${pod.uid}`),
  );
}

/** What the interfaces of the pod's namespace have, without prefix lengths. */
async function presentIn(namespace: string, ifnames: readonly string[]): Promise<Record<string, string[]>> {
  const entries = ifnames.map(async (ifname): Promise<[string, string[]]> => {
    const addresses = await spaces.addressesIn(namespace, ifname);
    return [ifname, addresses.map((address) => address.split('/')[0] ?? '').toSorted()];
  });
  return Object.fromEntries(await Promise.all(entries));
}

describe.skipIf(whyNoNetwork() !== undefined)('through Multus', () => {
  beforeAll(async () => {
    spaces = await Namespaces.open('multus');
    cluster = await startCluster({
      name: 'multus',
      operatorFlags: { 'orphan-grace': '1s', 'scan-interval': '1s' },
    });
    await spaces.add(NODE);
    await spaces.ip(NODE, 'link add cable type veth peer name far');
    for (const link of ['cable', 'far']) await spaces.ip(NODE, `link set ${link} up`);
    await createPools();
    multus = await Multus.install(cluster, NODE, spaces);
    await defineNetworks();
    byDelegate = { delegates: [bridge('lan', 'lan', ['lan-v4', 'lan-v6'])] };
  });

  afterAll(async () => {
    try {
      await spaces?.removeAll();
    } finally {
      await cluster?.stop();
    }
  });

  afterEach(async () => {
    // Each test gives back what it took; a leak is shown where it happened.
    expect([...(await cluster.reservations()).keys()]).toEqual([]);
  });

  test('one ADD gives eth0 and every network of a comma list its addresses, and the status says so afterwards', async () => {
    const list = 'networks/storage@data0, networks/storage, networks/storage-list';
    const web = await newPod('web', { [NETWORKS]: list });
    const result = await add(web);
    const reserved = await cluster.boundTo(web);
    expect(Object.keys(reserved).toSorted()).toEqual(['data0', 'eth0', 'net2', 'net3']);
    for (const addresses of Object.values(reserved)) expect(addresses).toHaveLength(2);
    expect(reserved['eth0']).toEqual(result.toSorted());
    expect(await presentIn('web', Object.keys(reserved))).toEqual(reserved);
    expect(await networkStatus(cluster, web)).toEqual(reserved);
    const names = [...(await cluster.reservations()).values()].map(
      ({ spec }) => spec.owner?.cniNetwork ?? '',
    );
    expect([...new Set(names)].toSorted()).toEqual(['lan', 'storage-list', 'storage-macvlan']);
    const db = await newPod('db', { [NETWORKS]: 'networks/storage' });
    await add(db);
    for (const address of Object.values(await cluster.boundTo(db)).flat()) await spaces.ping('web', address);
    await del(web);
    expect(await cluster.boundTo(web)).toEqual({});
    expect(await spaces.ip('web', '-o link')).not.toMatch(/eth0|data0|net/);
    await del(db);
  });

  describe('ips of the JSON list', () => {
    const ips = ['10.2.0.77', 'fd00:2::77/64'];

    test.each([
      ['without the capability arrive as CNI_ARGS alone', 'storage', undefined],
      ['with the capability arrive twice, as runtimeConfig.ips too, and count once', 'storage-ips', ips],
      ['arrive so in a list too, by the capability of the plugin', 'storage-list', ips],
    ])('%s, and are given exactly', async (_what, name, inRuntimeConfig) => {
      const pod = await newPod(`ips-${name}`, {
        [NETWORKS]: [{ name, namespace: 'networks', interface: 'data0', ips }],
      });
      await add(pod);
      const [, call] = await arrived(pod, 'ADD');
      expect(call).toMatchObject({ ifname: 'data0', containerID: `c-${pod.uid}` });
      expect(call?.args.filter((item) => item.startsWith('IP='))).toEqual([`IP=${ips.join(',')}`]);
      expect(call?.config['runtimeConfig']).toEqual(
        inRuntimeConfig === undefined ? undefined : { ips: inRuntimeConfig },
      );
      expect((await cluster.boundTo(pod))['data0']).toEqual(['10.2.0.77', 'fd00:2::77']);
      expect(await spaces.addressesIn(pod.name, 'data0')).toEqual(['10.2.0.77/24', 'fd00:2::77/64']);
      // What is asked for on one interface says nothing of another.
      const [first] = await arrived(pod, 'ADD');
      expect(first?.args.some((item) => item.startsWith('IP='))).toBe(false);
      await del(pod);
    });

    test('of the default network arrive as CNI_ARGS alone, whatever its capabilities', async () => {
      const pod = await newPod('ips-default', {
        [DEFAULT_NETWORK]: [{ name: 'cluster-lan', ips: ['10.1.0.66', 'fd00:1::66'] }],
        [NETWORKS]: 'networks/storage',
      });
      const network = { clusterNetwork: 'cluster-lan' };
      expect(await add(pod, network)).toEqual(['10.1.0.66', 'fd00:1::66']);
      const [call] = await arrived(pod, 'ADD');
      expect(call?.args).toContain('IP=10.1.0.66,fd00:1::66');
      expect(call?.config['runtimeConfig']).toBeUndefined();
      expect(Object.keys(await cluster.boundTo(pod)).toSorted()).toEqual(['eth0', 'net1']);
      await del(pod, network);
    });

    test('that the runtime itself hands to Multus arrive as runtimeConfig alone, and are given exactly', async () => {
      const pod = await newPod('ips-runtime', { [NETWORKS]: 'networks/storage' });
      const lan = { ...bridge('lan', 'lan', ['lan-v4', 'lan-v6']), capabilities: { ips: true } };
      const ips = ['10.1.0.67/24', 'fd00:1::67'];
      const network = { delegates: [lan], runtimeConfig: { ips } };
      expect(await add(pod, network)).toEqual(['10.1.0.67', 'fd00:1::67']);
      const [call] = await arrived(pod, 'ADD');
      expect(call?.config['runtimeConfig']).toEqual({ ips });
      expect(call?.args.some((item) => item.startsWith('IP='))).toBe(false);
      await del(pod, network);
    });

    test('that are taken fail the whole ADD, and the message reaches the user with its reason', async () => {
      const elements = [{ name: 'storage', namespace: 'networks', ips: ['10.2.0.78'] }];
      const owner = await newPod('ips-owner', { [NETWORKS]: elements });
      const late = await newPod('ips-late', { [NETWORKS]: elements });
      await add(owner);
      const before = await cluster.boundTo(owner);
      const refused = await multus.call('ADD', late, byDelegate);
      expect(messageOf(refused)).toMatch(/10\.2\.0\.78.*default\/ips-owner/);
      expect(await cluster.boundTo(late)).toEqual({});
      expect(await cluster.boundTo(owner)).toEqual(before);
      await del(late);
      await del(owner);
    });
  });

  test.each(['storage', 'storage-list'])(
    'cni-args arrive as args.cni, and name pools and addresses (%s)',
    async (name) => {
      const element = { name, namespace: 'networks' };
      const args = [
        { pools: ['storage-v6'] },
        { pools: 'storage-v4', ips: ['10.2.0.88/24'] },
        { ips: ['fd00:2::88'] },
      ];
      const pod = await newPod(`args-${name}`, {
        [NETWORKS]: args.map((given) => ({ ...element, 'cni-args': given })),
      });
      await add(pod);
      const calls = (await arrived(pod, 'ADD')).slice(1);
      expect(calls.map(({ config }) => config['args'])).toEqual(args.map((given) => ({ cni: given })));
      const reserved = await cluster.boundTo(pod);
      expect(reserved['net1']).toEqual([expect.stringMatching(/^fd00:2::/)]);
      expect(reserved['net2']).toEqual(['10.2.0.88']);
      expect(reserved['net3']).toEqual([expect.stringMatching(/^10\.2\.0\./), 'fd00:2::88']);
      await del(pod);
    },
  );

  test("Berth's own annotations know Multus' interfaces, and networks: one without a name by its definition", async () => {
    const pod = await newPod('annotated', {
      [NETWORKS]: 'networks/storage@data0,networks/storage,networks/storage-list',
      'ipam.berth.dev/pools': { data0: 'storage-v4', 'storage-list': 'storage-v6' },
      'ipam.berth.dev/ips': { net2: ['10.2.0.99'] },
    });
    await add(pod);
    const v6 = expect.stringMatching(/^fd00:2::/);
    expect(await cluster.boundTo(pod)).toMatchObject({
      data0: [expect.stringMatching(/^10\.2\.0\./)],
      net2: ['10.2.0.99', v6],
      net3: [v6],
    });
    await del(pod);
  });

  test('for a pod that the API server no longer knows Multus answers by itself, and Berth is not asked', async () => {
    const pod = await newPod('gone', { [NETWORKS]: 'networks/storage' });
    await cluster.deletePod(pod);
    expect(await multus.call('ADD', pod, byDelegate)).toMatchObject({ exitCode: 0 });
    expect(await arrived(pod, 'ADD')).toEqual([]);
    await del(pod);
  });

  test('an ADD of which one network fails leaves no address, no interface and no status behind: Multus sends DEL for what it had begun', async () => {
    const occupant = await newPod('occupant', { [NETWORKS]: 'networks/full' });
    await add(occupant);
    const pod = await newPod('unlucky', {
      [NETWORKS]: 'networks/storage,networks/full,networks/storage-ips',
    });
    const refused = await multus.call('ADD', pod, byDelegate);
    expect(codeOf(refused)).toBeGreaterThan(0);
    expect(messageOf(refused)).toMatch(/default\/unlucky.*net2.*pool full-v4 has no free address: 1 bound/);
    expect((await arrived(pod, 'ADD')).map(({ ifname }) => ifname)).toEqual(['eth0', 'net1', 'net2']);
    expect((await arrived(pod, 'DEL')).map(({ ifname }) => ifname)).toEqual(['net2', 'net1', 'eth0']);
    expect(await cluster.boundTo(pod)).toEqual({});
    expect(await spaces.ip('unlucky', '-o link')).not.toMatch(/eth0|net/);
    expect(await networkStatus(cluster, pod)).toBeUndefined();
    expect(Object.keys(await cluster.boundTo(occupant)).toSorted()).toEqual(['eth0', 'net1']);
    await del(pod);
    await del(occupant);
  });

  describe('DEL', () => {
    const twoNetworks = { [NETWORKS]: 'networks/storage,networks/storage-list' };

    test.each<[string, (pod: TestPod) => Promise<void>]>([
      ['by what it remembers', () => Promise.resolve()],
      ['by the pod, where it has forgotten', (pod) => multus.forget(`c-${pod.uid}`)],
      ['by what it remembers, where the pod is gone', (pod) => cluster.deletePod(pod)],
    ])('%s gives everything back, however often it comes', async (what, prepare) => {
      const pod = await newPod(`del-${what.length}`, twoNetworks);
      await add(pod);
      expect(Object.keys(await cluster.boundTo(pod))).toHaveLength(3);
      await prepare(pod);
      await del(pod);
      expect((await arrived(pod, 'DEL')).map(({ ifname }) => ifname)).toEqual(['net2', 'net1', 'eth0']);
      expect(await cluster.boundTo(pod)).toEqual({});
      await del(pod);
    });

    test('that Multus can not hand on, the pod gone and its networks forgotten, is made good by the operator', async () => {
      const pod = await newPod('lost', twoNetworks);
      await add(pod);
      await multus.forget(`c-${pod.uid}`);
      await cluster.deletePod(pod);
      await del(pod);
      expect(await arrived(pod, 'DEL')).toEqual([]);
      await waitFor('its addresses are free', async () => (await cluster.reservations()).size === 0);
    });

    test('of a sandbox that was replaced comes late and takes nothing from its successor', async () => {
      const pod = await newPod('restarted', twoNetworks);
      const successor = { containerID: 'second', namespace: 'restarted-2' };
      await add(pod);
      const before = await cluster.boundTo(pod);
      await spaces.remove('restarted');
      await spaces.add('restarted-2');
      await add(pod, byDelegate, successor);
      expect(await cluster.boundTo(pod)).toEqual(before);
      expect(await presentIn('restarted-2', ['eth0', 'net1', 'net2'])).toEqual(before);
      await del(pod);
      expect(await cluster.boundTo(pod)).toEqual(before);
      await del(pod, byDelegate, successor);
    });
  });

  test('CHECK and STATUS of the default network reach Berth, and its refusal comes back', async () => {
    const pod = await newPod('checked', {});
    await add(pod);
    for (const command of ['CHECK', 'STATUS'] as const) {
      expect(await multus.call(command, pod, byDelegate)).toMatchObject({ exitCode: 0, stdout: '' });
    }
    const lan = bridge('lan', 'lan', ['lan-v4']);
    const elsewhere = { ...lan, ipam: { ...ipam('lan', ['lan-v4']), stateDir: '/nonexistent' } };
    expect(codeOf(await multus.call('STATUS', pod, { delegates: [elsewhere] }))).toBe(50);
    await del(pod);
    expect(messageOf(await multus.call('CHECK', pod, byDelegate))).not.toBe('');
  });
});
