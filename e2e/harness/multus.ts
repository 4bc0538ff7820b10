/**
 * The real Multus thin plugin on a node, called as a container runtime calls it, and a record of what then arrives at
 * Berth through it and the main plugin.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pods } from '../../kube/core.ts';
import { resolveCniPlugins, resolveMultus } from '../controlplane/assets.ts';
import { applyNetworkAttachmentDefinitions } from '../controlplane/nad.ts';
import type { Cluster, TestPod } from './cluster.ts';
import { type CniCall, type CniOutcome, cniEnv, podArgs, runPlugin } from './cni.ts';
import type { Namespaces } from './netns.ts';
import { artefacts } from './programs.ts';

/** A NetworkAttachmentDefinition. */
export interface NetworkDefinition {
  readonly namespace: string;
  readonly name: string;
  /** The network configuration, or a list with `plugins`. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** One call that Berth's binary has got. */
export interface ArrivedCall {
  readonly command: string;
  readonly containerID: string;
  readonly ifname: string;
  /** Items of CNI_ARGS, `KEY=value`, in their order; Multus names some of them twice. */
  readonly args: readonly string[];
  /** stdin, parsed. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** Where a pod's interfaces are made; both default to what the pod's own names give. */
export interface Sandbox {
  readonly containerID?: string;
  /** Name of the network namespace, of `Namespaces`. */
  readonly namespace?: string;
}

interface Installed {
  readonly directory: string;
  readonly kubeconfig: string;
}

/** The main plugins that may be delegated to. */
const MAIN_PLUGINS = ['bridge', 'macvlan', 'loopback'] as const;

/** A pod's annotation `k8s.v1.cni.cncf.io/network-status`: addresses by interface, sorted; undefined without it. */
export async function networkStatus(
  cluster: Cluster,
  pod: TestPod,
): Promise<Record<string, string[]> | undefined> {
  const { metadata } = await cluster.api.get(pods, pod);
  const text = metadata.annotations?.['k8s.v1.cni.cncf.io/network-status'];
  if (text === undefined) return undefined;
  // The format of the Network Plumbing Working Group's specification.
  const entries = JSON.parse(text) as { interface?: string; ips?: string[] }[];
  return Object.fromEntries(entries.map((entry) => [entry.interface ?? '', (entry.ips ?? []).toSorted()]));
}

/** Stands before the binary: keeps what arrives and hands it on unchanged. */
function recorder(calls: string): string {
  return [
    '#!/bin/sh',
    'set -eu',
    `call=$(mktemp -d '${calls}'/"$(date +%s%N)"-XXXXXX)`,
    'env >"$call/env"',
    'cat >"$call/stdin"',
    `exec '${artefacts.binary}' <"$call/stdin"`,
    '',
  ].join('\n');
}

/** Runs a main plugin in the node's network namespace; Multus itself stays where the API server is. */
function inside(namespace: string, plugin: string): string {
  return `#!/bin/sh\nexec ip netns exec '${namespace}' '${plugin}'\n`;
}

/** Runs Multus; it logs its Events on stderr whatever its configuration says. */
function quiet(multus: string, logFile: string): string {
  return `#!/bin/sh\nexec '${multus}' 2>>'${logFile}'\n`;
}

/** Multus on one node of a cluster, whose network namespace has the node's name. */
export class Multus {
  readonly #spaces: Namespaces;
  readonly #installed: Installed;

  private constructor(spaces: Namespaces, installed: Installed) {
    this.#spaces = spaces;
    this.#installed = installed;
  }

  /** Installs Multus' kind and role in the cluster, and the plugin, with a service account's token, on the node. */
  static async install(cluster: Cluster, node: string, spaces: Namespaces): Promise<Multus> {
    const { controlPlane } = cluster;
    await applyNetworkAttachmentDefinitions(controlPlane);
    await controlPlane.kubectl(['apply', '-f', join(import.meta.dirname, 'multus.yaml')]);
    const token = await controlPlane.kubectl(['create', 'token', 'multus', '--namespace=kube-system']);
    const directory = join(cluster.directory, `multus-${node}`);
    const [calls, bin] = [join(directory, 'calls'), join(directory, 'bin')];
    await mkdir(calls, { recursive: true });
    await mkdir(bin);
    const plugins = (await resolveCniPlugins()).directory;
    await writeFile(join(bin, 'berth'), recorder(calls), { mode: 0o755 });
    for (const name of MAIN_PLUGINS) {
      const script = inside(spaces.nameOf(node), join(plugins, name));
      await writeFile(join(bin, name), script, { mode: 0o755 });
    }
    const multus = quiet(await resolveMultus(), join(directory, 'stderr.log'));
    await writeFile(join(bin, 'multus'), multus, { mode: 0o755 });
    const kubeconfig = await controlPlane.tokenKubeconfig(`multus-${node}`, token.trim());
    return new Multus(spaces, { directory, kubeconfig });
  }

  /** Creates NetworkAttachmentDefinitions. */
  static async define(cluster: Cluster, definitions: readonly NetworkDefinition[]): Promise<void> {
    const items = definitions.map(({ namespace, name, config }) => ({
      apiVersion: 'k8s.cni.cncf.io/v1',
      kind: 'NetworkAttachmentDefinition',
      metadata: { namespace, name },
      spec: { config: JSON.stringify(config) },
    }));
    const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
    await cluster.controlPlane.kubectl(['create', '-f', '-'], list);
  }

  /**
   * Calls Multus.
   * @param network which networks every pod has: `delegates`, or `clusterNetwork`
   */
  call(
    command: CniCall['command'],
    pod: TestPod,
    network: Readonly<Record<string, unknown>>,
    sandbox: Sandbox = {},
  ): Promise<CniOutcome> {
    const { directory, kubeconfig } = this.#installed;
    const bin = join(directory, 'bin');
    const config = {
      cniVersion: '1.1.0',
      name: 'multus-cni-network',
      type: 'multus',
      kubeconfig,
      binDir: bin,
      cniDir: join(directory, 'cache'),
      confDir: join(directory, 'net.d'),
      logToStderr: false,
      logFile: join(directory, 'multus.log'),
      logLevel: 'verbose',
      ...network,
    };
    const call = {
      command,
      config,
      containerID: sandbox.containerID ?? `c-${pod.uid}`,
      ifname: 'eth0',
      args: podArgs(pod),
      netns: this.#spaces.pathOf(sandbox.namespace ?? pod.name),
    };
    const env = { ...cniEnv(call), CNI_PATH: bin, PATH: process.env['PATH'] ?? '' };
    return runPlugin(join(bin, 'multus'), env, JSON.stringify(config));
  }

  /** The calls that have reached Berth's binary, in their order. */
  async arrived(): Promise<ArrivedCall[]> {
    const calls = join(this.#installed.directory, 'calls');
    const names = (await readdir(calls)).toSorted();
    return Promise.all(names.map((name) => readCall(join(calls, name))));
  }

  /** Loses what Multus remembers of a sandbox's networks. @throws Error if it remembers nothing */
  async forget(containerID: string): Promise<void> {
    await rm(join(this.#installed.directory, 'cache', containerID));
  }
}

async function readCall(directory: string): Promise<ArrivedCall> {
  const lines = (await readFile(join(directory, 'env'), 'utf8')).split('\n');
  const env = (name: string): string =>
    lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';
  return {
    command: env('CNI_COMMAND'),
    containerID: env('CNI_CONTAINERID'),
    ifname: env('CNI_IFNAME'),
    args: env('CNI_ARGS').split(';'),
    // A network configuration is a JSON object (CNI spec, section 1).
    config: JSON.parse(await readFile(join(directory, 'stdin'), 'utf8')) as Record<string, unknown>,
  };
}
