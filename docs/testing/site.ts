/**
 * The cluster in which docs/using.md is played: a real control plane, operator and agents, and what kubelet, scheduler,
 * Multus and a person at the shell do there.
 */
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { applyNetworkAttachmentDefinitions } from '../../e2e/controlplane/nad.ts';
import { run } from '../../e2e/controlplane/run.ts';
import { type Cluster, podCall, startCluster, type TestPod } from '../../e2e/harness/cluster.ts';
import { type CniCall, type CniOutcome, callBinary } from '../../e2e/harness/cni.ts';
import { artefacts } from '../../e2e/harness/programs.ts';
import { waitFor } from '../../e2e/harness/wait.ts';
import type { KubeObject, Resource } from '../../kube/api.ts';
import { type Pod, pods } from '../../kube/core.ts';
import { ROOT } from './markdown.ts';
import { type Attachment, attachmentsOf } from './multus.ts';

/** The nodes by the names that the page gives them. */
export const NODE = 'worker-1';
export const OTHER_NODE = 'worker-2';

/** A pod that has been started, and what it was given. */
export interface Started {
  readonly pod: TestPod;
  readonly attachments: readonly Attachment[];
  /** Addresses with their prefix lengths, in the order of the result, by interface. */
  readonly addresses: Readonly<Record<string, readonly string[]>>;
}

/** An object of a YAML block, as far as it is looked at. */
interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
}

/** core/v1 Binding. */
interface Binding extends KubeObject {
  readonly target: { readonly kind: 'Node'; readonly name: string };
}

interface NetworkAttachmentDefinition extends KubeObject {
  readonly spec: { readonly config: string };
}

const definitions: Resource<NetworkAttachmentDefinition> = {
  group: 'k8s.cni.cncf.io',
  version: 'v1',
  plural: 'network-attachment-definitions',
  kind: 'NetworkAttachmentDefinition',
  namespaced: true,
};

/** A StatefulSet, as far as its controller's part is played. */
interface StatefulSet {
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly spec: { readonly replicas: number; readonly template: Pick<Pod, 'metadata'> };
}

/** The addresses of an ADD's result with their prefix lengths. @throws Error if it was no success */
export function addressesIn({ exitCode, output, stdout }: CniOutcome): string[] {
  if (exitCode !== 0) throw new Error(`not the result of an ADD: ${stdout}`);
  const ips = output?.['ips'] as { address: string }[]; // CNI spec, "ADD Success".
  return ips.map(({ address }) => address);
}

export class Site {
  readonly cluster: Cluster;
  /** Where the shell is. */
  readonly #directory: string;
  readonly #binaries: string;
  readonly #running = new Map<string, Started>();

  private constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.#directory = join(cluster.directory, 'shell');
    this.#binaries = join(cluster.directory, 'cni-bin');
  }

  /** Whoever starts it stops its cluster. */
  static async start(): Promise<Site> {
    const cluster = await startCluster({
      name: 'using',
      nodes: [NODE, OTHER_NODE],
      // What the page says is not collected has had the time for it.
      operatorFlags: { 'orphan-grace': '1s', 'scan-interval': '1s' },
    });
    try {
      const site = new Site(cluster);
      await mkdir(site.#directory);
      await mkdir(site.#binaries);
      await symlink(artefacts.binary, join(site.#binaries, 'berth'));
      await applyNetworkAttachmentDefinitions(cluster.controlPlane);
      return site;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** `kubectl apply`, and waits until every pool of it may be used. */
  async apply(yaml: string): Promise<void> {
    await this.cluster.controlPlane.kubectl(['apply', '-f', '-'], yaml);
    // The API server has just accepted them: they have a kind and a name.
    const objects = parseAllDocuments(yaml).map((document) => document.toJS() as Manifest);
    for (const { kind, metadata } of objects) {
      if (kind === 'IPPool') await this.cluster.whenServed(metadata.name);
    }
  }

  /** Runs the lines in a shell of a node, with the page's paths put where this cluster has them. */
  shell(text: string): Promise<string> {
    const { controlPlane } = this.cluster;
    const env = {
      PATH: `${dirname(controlPlane.kubectlPath)}:${process.env['PATH']}`,
      KUBECONFIG: controlPlane.kubeconfig,
      // kubectl keeps what it has discovered there.
      HOME: this.#directory,
    };
    const lines = text.replaceAll('/opt/cni/bin', this.#binaries).replaceAll(' config/', ` ${ROOT}/config/`);
    return run('sh', ['-e', '-c', lines], { cwd: this.#directory, env });
  }

  /** A network configuration of the page as a file where the shell is, with the node's socket. */
  async write(name: string, json: string): Promise<void> {
    await writeFile(join(this.#directory, name), JSON.stringify(this.#onNode(JSON.parse(json), NODE)));
  }

  /** A configuration with the socket and the state directory of the node's agent. */
  #onNode<T extends { ipam: Record<string, unknown> }>(config: T, node: string): T {
    return { ...config, ipam: this.cluster.agent(node).ipam(config.ipam) };
  }

  /** Binds the pod of this name to the node, as the scheduler does. */
  async #schedule(namespace: string, name: string, node: string): Promise<TestPod> {
    const { api } = this.cluster;
    await api.create<Binding>(
      { group: '', version: 'v1', plural: `pods/${name}/binding`, kind: 'Binding', namespaced: true },
      { metadata: { namespace, name }, target: { kind: 'Node', name: node } },
    );
    const { metadata } = await api.get(pods, { namespace, name });
    return { namespace, name, node, uid: metadata.uid ?? '' };
  }

  /** One call of the plugin for an interface of the pod, through the binary. */
  call(
    command: CniCall['command'],
    pod: TestPod,
    { ifname, config, args }: Attachment,
    containerID: string = pod.uid.replaceAll('-', ''),
  ): Promise<CniOutcome> {
    // Every configuration of the page has `ipam`.
    const { ipam, ...rest } = this.#onNode(config as { ipam: Record<string, unknown> }, pod.node);
    const call = podCall(command, pod, ipam, { ifname, containerID, config: rest });
    return callBinary(artefacts.binary, { ...call, args: { ...call.args, ...args } });
  }

  /** A pod of the page starts: it is scheduled, and Multus adds what its annotations ask for. */
  async start(name: string, namespace = 'shop', node: string = NODE): Promise<Started['addresses']> {
    const started = await this.#run(await this.#schedule(namespace, name, node));
    this.#running.set(name, started);
    return started.addresses;
  }

  /** A pod of the page that is scheduled and does not start. @returns what it hears for its first interface */
  async fail(name: string, namespace = 'shop'): Promise<CniOutcome> {
    return this.#first(await this.#schedule(namespace, name, NODE));
  }

  /** A pod of the page that runs. @throws Error if it does not */
  running(name: string): Started {
    const started = this.#running.get(name);
    if (started === undefined) throw new Error(`no pod ${name} of the page runs`);
    return started;
  }

  /** As kubelet starts a pod that is on its node. @throws Error with the plugin's answer */
  async #run(pod: TestPod): Promise<Started> {
    const attachments = await this.#attachments(pod);
    const addresses: Record<string, string[]> = {};
    for (const attachment of attachments) {
      addresses[attachment.ifname] = addressesIn(await this.call('ADD', pod, attachment));
    }
    return { pod, attachments, addresses };
  }

  /** Ends the pod: DEL of each interface, and the object is gone. */
  async end({ pod, attachments }: Pick<Started, 'pod' | 'attachments'>): Promise<void> {
    for (const attachment of attachments) await this.call('DEL', pod, attachment);
    if (this.#running.get(pod.name)?.pod.uid !== pod.uid) {
      await this.cluster.deletePod(pod);
      return;
    }
    // Pods of the page have a grace period, and no kubelet confirms the end of their containers.
    await this.shell(`kubectl -n ${pod.namespace} delete pod ${pod.name} --force --grace-period=0`);
    this.#running.delete(pod.name);
  }

  /** A pod that is not on the page, in network storage of namespace shop unless its annotations say otherwise. */
  create(
    name: string,
    annotations: Readonly<Record<string, string>>,
    { node = NODE, ...metadata }: { node?: string } & Partial<Pod['metadata']> = {},
  ): Promise<TestPod> {
    const networks = { 'k8s.v1.cni.cncf.io/networks': 'storage' };
    return this.cluster.createPod(node, name, {
      namespace: 'shop',
      ...metadata,
      annotations: { ...networks, ...annotations },
    });
  }

  /** What such a pod is given; it runs on. */
  async startExtra(...pod: Parameters<Site['create']>): Promise<Started> {
    return this.#run(await this.create(...pod));
  }

  /** What such a pod is given on its interfaces; it is gone afterwards. */
  async given(...pod: Parameters<Site['create']>): Promise<string[]> {
    const started = await this.startExtra(...pod);
    await this.end(started);
    return Object.values(started.addresses).flat();
  }

  /** What such a pod hears for its first interface; it is gone afterwards. */
  async answer(...args: Parameters<Site['create']>): Promise<CniOutcome> {
    const pod = await this.create(...args);
    const answer = await this.#first(pod);
    // A failed ADD leaves nothing behind, and a DEL would hide it.
    await this.end({ pod, attachments: answer.exitCode === 0 ? await this.#attachments(pod) : [] });
    return answer;
  }

  /** ADD of the pod's first interface. */
  async #first(pod: TestPod): Promise<CniOutcome> {
    const [first] = await this.#attachments(pod);
    if (first === undefined) throw new Error(`pod ${pod.name} has no interface`);
    return this.call('ADD', pod, first);
  }

  /** The interfaces that Multus makes for the pod. */
  async #attachments({ namespace, name }: TestPod): Promise<Attachment[]> {
    const { metadata } = await this.cluster.api.get(pods, { namespace, name });
    const pod = { namespace, annotations: metadata.annotations ?? {} };
    return attachmentsOf(pod, async (of, network) => {
      const { spec } = await this.cluster.api.get(definitions, { namespace: of, name: network });
      return spec.config;
    });
  }

  /** Waits until the node's agent sees what is held, for these holders. */
  async whenHeld(holders: readonly string[], node: string = NODE): Promise<void> {
    await waitFor(`the agent on ${node} knows what is held for ${holders.join(', ')}`, async () => {
      // The agent's own format, of /v1/pools.
      const entries = JSON.parse(await this.cluster.agent(node).show('/v1/pools')) as { heldFor: object }[];
      const known = entries.flatMap(({ heldFor }) => Object.keys(heldFor));
      return holders.every((holder) => known.includes(holder));
    });
  }

  /** The replicas of the StatefulSet in a YAML block, started one after the other as its controller does. */
  async replicas(yaml: string): Promise<Started[]> {
    // The API server has accepted it: it has these fields.
    const { metadata, spec } = parse(yaml) as StatefulSet;
    const { namespace, name } = metadata;
    const get = ['-n', namespace, 'get', 'statefulset', name, '-o', 'jsonpath={.metadata.uid}'];
    const uid = await this.cluster.controlPlane.kubectl(get);
    const owner = { apiVersion: 'apps/v1', kind: 'StatefulSet', name, uid, controller: true };
    const started: Started[] = [];
    for (let ordinal = 0; ordinal < spec.replicas; ordinal += 1) {
      const own = { ...spec.template.metadata, namespace, ownerReferences: [owner] };
      started.push(await this.#run(await this.cluster.createPod(NODE, `${name}-${ordinal}`, own)));
    }
    return started;
  }

  /** Makes the attachments of a pod older, in its node's journal, while the agent is away. @param minutes how old */
  async age({ pod }: Started, minutes: number): Promise<void> {
    const { program, stateDir } = this.cluster.agent(pod.node);
    const journal = join(stateDir, 'journal.jsonl');
    await program.stop();
    const lines = (await readFile(journal, 'utf8')).split('\n');
    const older = lines.map((line) =>
      line.includes(pod.uid)
        ? line.replace(/"addedAt":(\d+)/, (_, ms) => `"addedAt":${Number(ms) - minutes * 60_000}`)
        : line,
    );
    if (older.join() === lines.join()) throw new Error(`the journal has no attachment of pod ${pod.name}`);
    await writeFile(journal, older.join('\n'));
    await program.start();
  }
}
