/**
 * The simulated machines: network namespaces and the links between them. Needs root.
 *
 * ```
 *   pod web ── eth0 ── cni0 ── eth0 ─┐                      ┌─ eth0 ── cni0 ── eth0 ── pod db
 *          │         (bridge)        ├── pods (switch) ─────┤        (bridge)         │
 *          │                         │                      │                         │
 *          └── net1 ──────── eth1 ───┴── storage (switch) ──┴─── eth1 ─────── net1 ───┘
 *            (macvlan)    node-1               fabric           node-2      (macvlan)
 * ```
 * Everything is inside namespaces whose names begin with the prefix; the machine's own network is not touched.
 */
import { existsSync } from 'node:fs';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../controlplane/run.ts';
import { NODES, type NodeName, type Places } from './places.ts';

/** Where libcni keeps the results of ADDs; cnitool knows no other place. */
const CNI_CACHE = '/var/lib/cni';

/** Why there can be no network here, in words that end a sentence; undefined if nothing speaks against it. */
export function whyNoNetwork(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may make network namespaces';
  if (!existsSync('/proc/self/ns/net')) return 'this kernel has no network namespaces';
  if (!existsSync('/proc/sys/net/ipv6')) return 'this kernel has no IPv6';
  return undefined;
}

/** Runs `ip` commands, one a line, in a namespace. */
async function batch(namespace: string, lines: readonly string[]): Promise<void> {
  await run('ip', ['-n', namespace, '-batch', '-'], { input: `${lines.join('\n')}\n` });
}

async function buildNode(places: Places, node: NodeName): Promise<void> {
  const inner = places.nodeNamespace(node);
  await run('ip', ['netns', 'add', inner]);
  await batch(places.fabricNamespace, [
    `link add ${node}-eth0 type veth peer name eth0 netns ${inner}`,
    `link add ${node}-eth1 type veth peer name eth1 netns ${inner}`,
    `link set ${node}-eth0 master pods up`,
    `link set ${node}-eth1 master storage up`,
  ]);
  await batch(inner, [
    'link set lo up',
    // The bridge plugin takes a bridge of that name as it finds it. Without an address of its own a bridge takes
    // the lowest of its ports', which changes with the pods, and the plugin's CHECK fails.
    `link add cni0 address 02:00:00:00:00:0${NODES.indexOf(node) + 1} type bridge`,
    'link set cni0 up',
    'link set eth0 master cni0 up',
    'link set eth1 up',
    // Kernels without macvlan say so here and not in the middle of an ADD.
    'link add probe link eth1 type macvlan mode bridge',
    'link del probe',
  ]);
}

/** The nodes and the links that join them. @throws RunError where this machine cannot have them */
export async function buildNetwork(places: Places): Promise<void> {
  await run('ip', ['netns', 'add', places.fabricNamespace]);
  await batch(places.fabricNamespace, [
    'link add pods type bridge',
    'link set pods up',
    'link add storage type bridge',
    'link set storage up',
  ]);
  await Promise.all(NODES.map((node) => buildNode(places, node)));
}

/** A pod's network namespace; returns its path. */
export async function addPodNamespace(places: Places, pod: string): Promise<string> {
  const name = places.podNamespace(pod);
  await run('ip', ['netns', 'add', name]);
  // Nobody else can have an address that Berth gave, so the second that the kernel takes to detect duplicates
  // (RFC 4862, 5.4) is spared.
  const spare = 'echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad';
  await run('ip', ['netns', 'exec', name, 'sh', '-c', spare]);
  await run('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  return join('/var/run/netns', name);
}

export async function removePodNamespace(places: Places, pod: string): Promise<void> {
  await run('ip', ['netns', 'del', places.podNamespace(pod)]);
}

/**
 * Pings once from the pod, for at most 10 s.
 * @returns round-trip time in milliseconds
 * @throws RunError if no answer came
 */
export async function ping(places: Places, from: string, address: string): Promise<number> {
  const command = ['netns', 'exec', places.podNamespace(from), 'ping', '-n', '-c', '1', '-w', '10', address];
  const output = await run('ip', command);
  const time = /time=([\d.]+) ms/.exec(output)?.[1];
  if (time === undefined) throw new Error(`ping ${address} gives no time:\n${output}`);
  return Number(time);
}

/** Names of the network namespaces of this prefix that are there. */
export async function namespacesOf(prefix: string): Promise<string[]> {
  const names = existsSync('/run/netns') ? await readdir('/run/netns') : [];
  return names.filter((name) => name.startsWith(prefix));
}

/** Removes the network namespaces, and with them every link in them. @returns how many */
export async function removeNamespaces(names: readonly string[]): Promise<number> {
  for (const name of names) await run('ip', ['netns', 'del', name]);
  return names.length;
}

/** Directories that libcni will make for its cache, the outer one first. */
export function absentCniDirectories(): string[] {
  return [CNI_CACHE, join(CNI_CACHE, 'results')].filter((path) => !existsSync(path));
}

/** Removes what libcni remembers of this prefix's networks, and its directories if they were `made` for that. */
export async function removeCniCache(prefix: string, made: readonly string[]): Promise<void> {
  const results = join(CNI_CACHE, 'results');
  if (existsSync(results)) {
    for (const name of await readdir(results)) {
      if (name.startsWith(prefix)) await rm(join(results, name), { force: true });
    }
  }
  for (const directory of made.toReversed()) {
    if (existsSync(directory) && (await readdir(directory)).length === 0) await rmdir(directory);
  }
}
