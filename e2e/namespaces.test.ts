/**
 * The reference main plugins with `"ipam": {"type": "berth"}` in real network namespaces: what Berth answers becomes
 * an interface that others can reach.
 *
 * Two machines are two namespaces, node-1 and node-2, joined by a cable (veth); a pod is a namespace
 * beside them. Everything that a plugin makes is inside one of them and goes with it.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CniAssets, resolveCniPlugins } from './controlplane/assets.ts';
import { type Cluster, startCluster, type TestPod } from './harness/cluster.ts';
import { podArgs } from './harness/cni.ts';
import { Namespaces } from './harness/netns.ts';
import { artefacts } from './harness/programs.ts';
import { absentCniDirectories, removeCniCache, whyNoNetwork } from './quickstart/network.ts';

const NODES = ['node-1', 'node-2'] as const;
type NodeName = (typeof NODES)[number];

let cluster: Cluster;
let cni: CniAssets;
let spaces: Namespaces;
let cniDirectories: string[] = [];

interface Result {
  readonly ips: { readonly address: string; readonly gateway?: string }[];
}

/** A pod with its namespace, and cnitool for one of its interfaces. */
class Interface {
  readonly pod: TestPod;
  readonly #network: string;
  readonly #ifname: string;

  constructor(pod: TestPod, network: string, ifname: string) {
    this.pod = pod;
    this.#network = network;
    this.#ifname = ifname;
  }

  async add(): Promise<Result> {
    // cnitool prints the result of the last plugin.
    return JSON.parse(await this.cnitool('add')) as Result;
  }

  cnitool(verb: 'add' | 'check' | 'del'): Promise<string> {
    const { name, node } = this.pod;
    const env = {
      ...process.env,
      CNI_PATH: `${join(artefacts.binary, '..')}:${cni.directory}`,
      NETCONFPATH: netDirectory(node),
      CNI_IFNAME: this.#ifname,
      CNI_ARGS: Object.entries(podArgs(this.pod))
        .map(([key, value]) => `${key}=${value}`)
        .join(';'),
    };
    return spaces.inside(node, [cni.cnitool, verb, networkName(this.#network), spaces.pathOf(name)], env);
  }
}

/** In the runtime's cache, which all tests of this machine share. */
const networkName = (name: string): string => `${spaces.prefix}-${name}`;
const netDirectory = (node: string): string => join(cluster.directory, `net-${node}`);

/** Writes a network of each node; the plugin that has `ipam` gets Berth's with the node's socket. */
async function addNetwork(name: string, pools: readonly string[], plugins: readonly object[]): Promise<void> {
  for (const node of NODES) {
    const ipam = cluster.agent(node).ipam({ pools });
    const [first, ...chained] = plugins;
    const list = {
      cniVersion: '1.0.0',
      name: networkName(name),
      plugins: [{ ...first, ipam }, ...chained],
    };
    await writeFile(join(netDirectory(node), `${name}.conflist`), JSON.stringify(list));
  }
}

async function newPod(node: NodeName, name: string): Promise<TestPod> {
  await spaces.add(name);
  return cluster.createPod(node, name);
}

/** The addresses of a result without their prefix lengths. */
const bare = ({ ips }: Result): string[] => ips.map(({ address }) => address.split('/')[0] ?? '').toSorted();

const reserved = async (): Promise<string[]> =>
  [...(await cluster.reservations()).values()].map(({ spec }) => spec.address).toSorted();

describe.skipIf(whyNoNetwork() !== undefined)('main plugins in real network namespaces', () => {
  beforeAll(async () => {
    spaces = await Namespaces.open('namespaces');
    cniDirectories = absentCniDirectories();
    cni = await resolveCniPlugins();
    cluster = await startCluster({ name: 'namespaces', nodes: NODES });
    for (const node of NODES) {
      await spaces.add(node);
      await mkdir(netDirectory(node));
    }
    await spaces.ip('node-1', `link add cable type veth peer name cable netns ${spaces.nameOf('node-2')}`);
    for (const node of NODES) await spaces.ip(node, 'link set cable up');
    await cluster.createPool('lan-v4', {
      network: 'lan',
      subnet: '10.1.0.0/24',
      gateway: '10.1.0.1',
      routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }],
      cooldown: '0s',
    });
    await cluster.createPool('lan-v6', {
      network: 'lan',
      subnet: 'fd00:1::/64',
      gateway: 'fd00:1::1',
      cooldown: '0s',
    });
    await cluster.createPool('clash-v4', {
      network: 'clash',
      subnet: '10.3.0.0/24',
      gateway: '10.3.0.1',
      cooldown: '0s',
    });
    await cluster.createPool('storage-v4', { network: 'storage', subnet: '10.2.0.0/24', cooldown: '0s' });
  });

  afterAll(async () => {
    try {
      await spaces?.removeAll();
    } finally {
      if (spaces !== undefined) await removeCniCache(spaces.prefix, cniDirectories);
      await cluster?.stop();
    }
  });

  test('bridge: two pods of a node have both families, routes by the gateway, and reach each other', async () => {
    await addNetwork('lan', ['lan-v4', 'lan-v6'], [{ type: 'bridge', bridge: 'cni0', isGateway: true }]);
    const web = new Interface(await newPod('node-1', 'web'), 'lan', 'eth0');
    const db = new Interface(await newPod('node-1', 'db'), 'lan', 'eth0');
    const [ofWeb, ofDb] = [await web.add(), await db.add()];
    expect(ofWeb.ips.map(({ gateway }) => gateway)).toEqual(['10.1.0.1', 'fd00:1::1']);
    expect(await spaces.addressesIn('web', 'eth0')).toEqual(
      ofWeb.ips.map(({ address }) => address).toSorted(),
    );
    expect(await spaces.ip('web', 'route show default')).toContain('default via 10.1.0.1 dev eth0');
    for (const address of bare(ofDb)) await spaces.ping('web', address);
    await web.cnitool('check');
    expect(await reserved()).toHaveLength(4);
    await web.cnitool('del');
    expect(await spaces.ip('web', '-o link')).not.toContain('eth0');
    expect(await reserved()).toEqual(bare(ofDb));
    await db.cnitool('del');
    expect(await reserved()).toEqual([]);
  });

  test('macvlan: pods of two nodes reach each other over the cable', async () => {
    await addNetwork('storage', ['storage-v4'], [{ type: 'macvlan', master: 'cable', mode: 'bridge' }]);
    const near = new Interface(await newPod('node-1', 'near'), 'storage', 'net1');
    const far = new Interface(await newPod('node-2', 'far'), 'storage', 'net1');
    const [ofNear, ofFar] = [await near.add(), await far.add()];
    expect(await spaces.addressesIn('near', 'net1')).toEqual(ofNear.ips.map(({ address }) => address));
    for (const address of bare(ofFar)) await spaces.ping('near', address);
    await far.cnitool('check');
    for (const each of [near, far]) await each.cnitool('del');
    expect(await reserved()).toEqual([]);
  });

  test('ptp: the pod reaches its gateway, which is the node', async () => {
    await addNetwork('point', ['lan-v4'], [{ type: 'ptp' }]);
    const lone = new Interface(await newPod('node-2', 'lone'), 'point', 'eth0');
    const { ips } = await lone.add();
    expect(await spaces.addressesIn('lone', 'eth0')).toEqual(ips.map(({ address }) => address));
    await spaces.ping('lone', '10.1.0.1');
    await lone.cnitool('del');
    expect(await reserved()).toEqual([]);
  });

  test('a chained list: the plugin after the first passes the address on, and all of it goes with DEL', async () => {
    await addNetwork('chain', ['lan-v4'], [{ type: 'bridge', bridge: 'cni1' }, { type: 'loopback' }]);
    const linked = new Interface(await newPod('node-2', 'linked'), 'chain', 'eth0');
    const result = await linked.add();
    expect(bare(result)).toEqual(await reserved());
    expect(await spaces.addressesIn('linked', 'eth0')).toEqual(result.ips.map(({ address }) => address));
    await linked.cnitool('check');
    await linked.cnitool('del');
    expect(await reserved()).toEqual([]);
  });

  test('a main plugin that fails after Berth has answered gives the address back', async () => {
    // The bridge of the first test has another IPv4 address: the plugin sees that only when it has its own.
    await addNetwork('clash', ['clash-v4'], [{ type: 'bridge', bridge: 'cni0', isGateway: true }]);
    const unlucky = new Interface(await newPod('node-1', 'unlucky'), 'clash', 'eth0');
    await expect(unlucky.add()).rejects.toThrow('already has an IP address different from 10.3.0.1/24');
    expect(await reserved()).toEqual([]);
    await unlucky.cnitool('del');
    expect(await reserved()).toEqual([]);
  });

  test('nothing of this run is in the runtime cache after the DELs', async () => {
    // Another test that made the directory has removed it, if nothing was in it.
    const left = existsSync('/var/lib/cni/results') ? await readdir('/var/lib/cni/results') : [];
    expect(left.filter((name) => name.startsWith(spaces.prefix))).toEqual([]);
  });
});
