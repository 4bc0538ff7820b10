/** What a kubelet and a container runtime would do: one CNI call for each interface of a pod. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CniAssets } from '../controlplane/assets.ts';
import { run } from '../controlplane/run.ts';
import { type CniCall, type CniOutcome, callBinary, podArgs } from '../harness/cni.ts';
import { artefacts } from '../harness/programs.ts';
import { LINKS, type LinkName, type NodeName, type Places, PODS, type PodName } from './places.ts';

const CNI_VERSION = '1.1.0';

/** One interface of one pod. */
export interface Attachment {
  readonly pod: PodName;
  readonly uid: string;
  readonly link: LinkName;
}

/** Makes and removes interfaces, or at least their addresses. All methods throw with the plugin's own words. */
export interface Runtime {
  /** ADD. @returns the addresses, without prefix length */
  add(attachment: Attachment): Promise<string[]>;
  del(attachment: Attachment): Promise<void>;
  check(attachment: Attachment): Promise<void>;
  /** The same ADD once more, as the main plugin hands it to dist/berth. */
  addAgain(attachment: Attachment): Promise<string[]>;
}

/** `ipam` of a network configuration. On a real node `{"type": "berth"}` is enough: one agent, in its usual place. */
function ipamOf(places: Places, node: NodeName, link: LinkName): Record<string, unknown> {
  return {
    type: 'berth',
    ...(link === 'storage' && { network: 'storage', pools: ['storage-v4', 'storage-v6'] }),
    socket: places.socket(node),
    stateDir: places.stateDir(node),
  };
}

function pluginOf(places: Places, node: NodeName, link: LinkName): Record<string, unknown> {
  const main = link === 'pods' ? { bridge: 'cni0' } : { master: 'eth1', mode: 'bridge' };
  return { type: LINKS[link].type, ...main, ipam: ipamOf(places, node, link) };
}

/** Writes the node's network configurations, as they would be in /etc/cni/net.d. */
export async function writeNetworks(places: Places, node: NodeName): Promise<void> {
  await mkdir(places.netDir(node), { recursive: true });
  for (const link of ['pods', 'storage'] as const) {
    const list = {
      cniVersion: CNI_VERSION,
      name: places.cniNetwork(link),
      plugins: [pluginOf(places, node, link)],
    };
    await writeFile(join(places.netDir(node), `${link}.conflist`), `${JSON.stringify(list, null, 2)}\n`);
  }
}

/** The addresses of an ADD's result, without prefix length. */
function addressesOf(result: Readonly<Record<string, unknown>> | undefined): string[] {
  const ips = result?.['ips'];
  if (!Array.isArray(ips)) throw new Error(`not the result of an ADD: ${JSON.stringify(result)}`);
  // CNI spec 1.1.0, "Success": every entry of ips has an address.
  return ips.map((ip: { address: string }) => ip.address.split('/')[0] ?? '');
}

/** The address part alone: dist/berth is called as a main plugin calls it, and no interface is made. */
export class DirectRuntime implements Runtime {
  readonly #places: Places;
  readonly #containerID: (pod: PodName) => string;

  constructor(places: Places, containerID: (pod: PodName) => string = (pod) => `quickstart-${pod}`) {
    this.#places = places;
    this.#containerID = containerID;
  }

  async add(attachment: Attachment): Promise<string[]> {
    return addressesOf((await this.#call('ADD', attachment)).output);
  }

  async del(attachment: Attachment): Promise<void> {
    await this.#call('DEL', attachment);
  }

  async check(attachment: Attachment): Promise<void> {
    const { output: prevResult } = await this.#call('ADD', attachment);
    await this.#call('CHECK', attachment, { prevResult });
  }

  addAgain(attachment: Attachment): Promise<string[]> {
    return this.add(attachment);
  }

  async #call(command: CniCall['command'], { pod, uid, link }: Attachment, more = {}): Promise<CniOutcome> {
    const places = this.#places;
    const outcome = await callBinary(artefacts.binary, {
      command,
      containerID: this.#containerID(pod),
      ifname: LINKS[link].ifname,
      args: podArgs({ namespace: 'default', name: pod, uid }),
      config: {
        cniVersion: CNI_VERSION,
        name: places.cniNetwork(link),
        ...pluginOf(places, PODS[pod], link),
        ...more,
      },
    });
    if (outcome.exitCode !== 0) throw new Error(`${command} of ${pod}: dist/berth says ${outcome.stdout}`);
    return outcome;
  }
}

/** The whole way: cnitool in the node's namespace, the reference main plugins, and Berth as their IPAM plugin. */
export class CnitoolRuntime implements Runtime {
  readonly #places: Places;
  readonly #cni: CniAssets;
  readonly #direct: DirectRuntime;

  constructor(places: Places, cni: CniAssets) {
    this.#places = places;
    this.#cni = cni;
    this.#direct = new DirectRuntime(places, (pod) => cnitoolContainerID(this.#netns(pod)));
  }

  async add(attachment: Attachment): Promise<string[]> {
    const output = await this.#cnitool('add', attachment);
    // cnitool prints the main plugin's result.
    return addressesOf(JSON.parse(output) as Record<string, unknown>);
  }

  async del(attachment: Attachment): Promise<void> {
    await this.#cnitool('del', attachment);
  }

  async check(attachment: Attachment): Promise<void> {
    await this.#cnitool('check', attachment);
  }

  /** The main plugins refuse to make an interface that is there, so this leaves them out. */
  addAgain(attachment: Attachment): Promise<string[]> {
    return this.#direct.add(attachment);
  }

  #netns(pod: PodName): string {
    return join('/var/run/netns', this.#places.podNamespace(pod));
  }

  #cnitool(verb: string, { pod, uid, link }: Attachment): Promise<string> {
    const node = PODS[pod];
    const args = Object.entries(podArgs({ namespace: 'default', name: pod, uid }));
    const env = {
      ...process.env,
      ...cnitoolEnv(this.#places, this.#cni, node),
      CNI_IFNAME: LINKS[link].ifname,
      CNI_ARGS: args.map(([key, value]) => `${key}=${value}`).join(';'),
    };
    const inNode = ['netns', 'exec', this.#places.nodeNamespace(node)];
    const command = [this.#cni.cnitool, verb, this.#places.cniNetwork(link), this.#netns(pod)];
    return run('ip', [...inNode, ...command], { env });
  }
}

/** Where cnitool finds plugins and networks of the node. */
export function cnitoolEnv(
  places: Places,
  cni: CniAssets,
  node: NodeName,
): { CNI_PATH: string; NETCONFPATH: string } {
  return { CNI_PATH: `${join(artefacts.binary, '..')}:${cni.directory}`, NETCONFPATH: places.netDir(node) };
}

/** cnitool makes the containerID from the path of the network namespace (its main.go). */
function cnitoolContainerID(netns: string): string {
  return `cnitool-${createHash('sha512').update(netns).digest('hex').slice(0, 20)}`;
}
