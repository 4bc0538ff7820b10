/** A cluster without kubelets: a real control plane, the operator, and an agent for each simulated node. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ipPools, ipReservations } from '../../crds/resources.ts';
import type { IPPool, IPPoolSpec, IPReservation } from '../../crds/types.ts';
import type { Api } from '../../kube/api.ts';
import { connect, type RestApi } from '../../kube/client.ts';
import { nodes, type Pod, pods } from '../../kube/core.ts';
import { agentToken, whenPolicyInForce } from '../controlplane/agentidentity.ts';
import { type ControlPlane, startControlPlane } from '../controlplane/controlplane.ts';
import { accepts, type CniCall, type CniOutcome, callSocket, podArgs, socketRequest } from './cni.ts';
import { artefacts, loggedField, operatorIsUp, Program } from './programs.ts';
import { isReady } from './ready.ts';
import { waitFor } from './wait.ts';

const CONFIG = join(import.meta.dirname, '../../config');

export interface ClusterOptions {
  readonly name: string;
  /** Names of the nodes; each gets a Node object and an agent. Defaults to node-1. */
  readonly nodes?: readonly string[];
  readonly operatorFlags?: Readonly<Record<string, string>>;
  /** CPU list of etcd and the API server, as `taskset -c` takes it. */
  readonly apiServerCpus?: string;
  /** Added to kube-apiserver's flags. */
  readonly apiServerFlags?: readonly string[];
  /** A module that node loads before the agents, as --import takes it. */
  readonly agentPreload?: string;
  /** CPU list of agents and operator. */
  readonly programCpus?: string;
  readonly log?: (line: string) => void;
}

/** A pod object and the node that it is bound to. */
export interface TestPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly node: string;
}

/** One node's agent. */
export class NodeAgent {
  readonly node: string;
  readonly socket: string;
  readonly stateDir: string;
  readonly program: Program;
  readonly #kubeconfig: string | undefined;

  /** @param kubeconfig path; absent: the files of a service account, which the wrapper must put where a container has them */
  constructor(
    node: string,
    directory: string,
    kubeconfig: string | undefined,
    options: Pick<ClusterOptions, 'programCpus' | 'agentPreload'> & {
      /** Put before the program. */
      readonly wrapper?: readonly string[];
      /** Defaults to a directory of the node's name. */
      readonly stateDir?: string;
    } = {},
  ) {
    this.node = node;
    this.socket = join(directory, `${node}.sock`);
    this.stateDir = options.stateDir ?? join(directory, node);
    this.#kubeconfig = kubeconfig;
    this.program = new Program({
      script: artefacts.agent,
      preload: options.agentPreload,
      logFile: join(directory, `agent-${node}.log`),
      cpus: options.programCpus,
      wrapper: options.wrapper,
      flags: {
        ...(kubeconfig !== undefined && { kubeconfig }),
        'node-name': node,
        socket: this.socket,
        'state-dir': this.stateDir,
        'metrics-address': '127.0.0.1:0',
      },
      isUp: () => accepts(this.socket),
    });
  }

  /** Path; whose token it has decides what the API server lets the agent do. @throws Error if it has none */
  get kubeconfig(): string {
    if (this.#kubeconfig === undefined) throw new Error(`the agent on ${this.node} has no kubeconfig`);
    return this.#kubeconfig;
  }

  /** `ipam` of a network configuration that reaches this agent. */
  ipam(more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    return { type: 'berth', socket: this.socket, stateDir: this.stateDir, ...more };
  }

  call(call: CniCall): Promise<CniOutcome> {
    return callSocket(this.socket, call);
  }

  /** What the agent shows of itself on its socket, such as /v1/pools. @throws Error unless it answers 200 */
  async show(path: string): Promise<string> {
    const { status, body } = await socketRequest(this.socket, 'GET', path);
    if (status !== 200) throw new Error(`GET ${path} of the agent on ${this.node}: HTTP ${status}: ${body}`);
    return body;
  }

  /** Names of the pools that the agent may use. */
  async readyPools(): Promise<string[]> {
    // The agent's own format, of /v1/pools.
    const entries = JSON.parse(await this.show('/v1/pools')) as { name: string; ready: string }[];
    return entries.filter(({ ready }) => ready === 'True').map(({ name }) => name);
  }

  /** Where /metrics is answered. */
  get metricsUrl(): string {
    return `http://${loggedField(this.program.log(), 'metrics and probes', 'address')}/metrics`;
  }
}

export class Cluster {
  readonly controlPlane: ControlPlane;
  readonly directory: string;
  readonly api: RestApi;
  readonly operator: Program;
  readonly agents: ReadonlyMap<string, NodeAgent>;

  /** @internal use startCluster */
  constructor(parts: Pick<Cluster, 'controlPlane' | 'directory' | 'api' | 'operator' | 'agents'>) {
    this.controlPlane = parts.controlPlane;
    this.directory = parts.directory;
    this.api = parts.api;
    this.operator = parts.operator;
    this.agents = parts.agents;
  }

  /** @throws Error for a node that has no agent */
  agent(node: string): NodeAgent {
    const agent = this.agents.get(node);
    if (agent === undefined) throw new Error(`node ${node} has no agent`);
    return agent;
  }

  /** Creates the pool and waits until the operator says Ready and the agents have seen it. */
  async createPool(name: string, spec: IPPoolSpec): Promise<void> {
    await this.api.create(ipPools, {
      apiVersion: 'ipam.berth.dev/v1alpha1',
      kind: 'IPPool',
      metadata: { name },
      spec,
    });
    await this.whenServed(name);
  }

  /** Waits until the operator says that the pool is Ready and the agents have seen it. */
  async whenServed(name: string): Promise<void> {
    await this.whenPool(name, `pool ${name} is Ready`, isReady);
    for (const agent of this.agents.values()) {
      await waitFor(`the agent on ${agent.node} may use pool ${name}`, async () =>
        (await agent.readyPools()).includes(name),
      );
    }
  }

  async whenPool(name: string, what: string, condition: (pool: IPPool) => boolean): Promise<void> {
    await waitFor(what, async () => condition(await this.api.get(ipPools, { name })));
  }

  /** Creates a pod that is bound to the node. Nothing runs it. */
  async createPod(node: string, name: string, metadata: Partial<Pod['metadata']> = {}): Promise<TestPod> {
    return createTestPod(this.api, node, name, metadata);
  }

  /** Deletes the pod, which is gone at once: its grace period is 0. */
  async deletePod({ namespace, name }: Pick<TestPod, 'namespace' | 'name'>): Promise<void> {
    await this.api.delete(pods, { namespace, name });
  }

  /** Every reservation, or those that a field selector picks, by name. */
  async reservations(options: { readonly fieldSelector?: string } = {}): Promise<Map<string, IPReservation>> {
    const all = new Map<string, IPReservation>();
    let next: string | undefined;
    do {
      const page = await this.api.list(ipReservations, {
        ...options,
        limit: 500,
        ...(next !== undefined && { continue: next }),
      });
      for (const item of page.items) all.set(item.metadata.name ?? '', item);
      next = page.metadata.continue;
    } while (next !== undefined && next !== '');
    return all;
  }

  /** The addresses that are Bound to a pod, by interface, sorted as text. */
  async boundTo(pod: TestPod): Promise<Record<string, string[]>> {
    const found: Record<string, string[]> = {};
    for (const { spec } of (await this.reservations()).values()) {
      if (spec.state !== 'Bound' || spec.owner?.uid !== pod.uid) continue;
      (found[spec.owner.ifname ?? ''] ??= []).push(spec.address);
    }
    return Object.fromEntries(Object.entries(found).map(([ifname, list]) => [ifname, list.toSorted()]));
  }

  async stop(): Promise<void> {
    await Promise.all([...this.agents.values()].map((agent) => agent.program.stop()));
    await this.operator.stop();
    await this.api.close();
    await this.controlPlane.stop();
  }
}

export async function createTestPod(
  api: Api,
  node: string,
  name: string,
  metadata: Partial<Pod['metadata']> = {},
): Promise<TestPod> {
  const namespace = metadata.namespace ?? 'default';
  const created = await api.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, name, namespace },
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'c', image: 'none' }],
      // The API server wants a container, which nothing runs; Pod has only the fields that Berth reads.
    } as Pod['spec'] & object,
  });
  return { namespace, name, uid: created.metadata.uid ?? '', node };
}

/** An ADD, DEL or CHECK of a pod's interface. The containerID is made of the pod's UID unless given. */
export function podCall(
  command: CniCall['command'],
  pod: TestPod,
  ipam: Readonly<Record<string, unknown>>,
  more: { ifname?: string; containerID?: string; cniVersion?: string; config?: Record<string, unknown> } = {},
): CniCall {
  return {
    command,
    containerID: more.containerID ?? `c-${pod.uid}`,
    ifname: more.ifname ?? 'net1',
    args: podArgs(pod),
    config: {
      cniVersion: more.cniVersion ?? '1.1.0',
      name: 'test-network',
      type: 'bridge',
      ...more.config,
      ipam,
    },
  };
}

/** The addresses of an ADD's result, without prefix. @throws Error if it was no success */
export function addressesOf(outcome: CniOutcome): string[] {
  const ips = outcome.output?.['ips'];
  if (outcome.exitCode !== 0 || !Array.isArray(ips)) {
    throw new Error(`not the result of an ADD: ${outcome.stdout}`);
  }
  return ips.map((ip: { address: string }) => ip.address.split('/')[0] ?? '');
}

/** Starts everything and waits until it serves. Whoever starts it stops it. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const log = options.log ?? ((): void => undefined);
  const controlPlane = await startControlPlane({
    name: options.name,
    log,
    ...(options.apiServerCpus !== undefined && { apiServerCpus: options.apiServerCpus }),
    ...(options.apiServerFlags !== undefined && { apiServerFlags: options.apiServerFlags }),
  });
  // In the control plane's directory, which goes with it, even if this process is killed.
  const directory = join(controlPlane.directory, 'programs');
  await mkdir(directory);
  const api = await connect({ kubeconfig: controlPlane.kubeconfig, userAgent: 'berth-test' });
  const names = options.nodes ?? ['node-1'];
  const operator = new Program({
    script: artefacts.operator,
    logFile: join(directory, 'operator.log'),
    cpus: options.programCpus,
    flags: {
      kubeconfig: await controlPlane.userKubeconfig('berth-operator'),
      'leader-elect': 'false',
      'metrics-address': '127.0.0.1:0',
      'health-address': '127.0.0.1:0',
      ...options.operatorFlags,
    },
    isUp: operatorIsUp,
  });
  const agents = new Map<string, NodeAgent>();
  const cluster = new Cluster({ controlPlane, directory, api, operator, agents });
  try {
    await controlPlane.applyCrds();
    const manifests = ['rbac', 'policy'].flatMap((name) => ['-f', join(CONFIG, name)]);
    await controlPlane.kubectl(['apply', ...manifests]);
    let token = '';
    for (const name of names) {
      await createNode(api, name);
      token = await agentToken(controlPlane, { node: name });
      const kubeconfig = await controlPlane.tokenKubeconfig(`agent-${name}`, token);
      agents.set(name, new NodeAgent(name, directory, kubeconfig, options));
    }
    await Promise.all([
      whenPolicyInForce(controlPlane, token),
      operator.start(),
      ...[...agents.values()].map((agent) => agent.program.start()),
    ]);
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  log(`cluster ${options.name} with ${names.length} node(s) is up`);
  return cluster;
}

async function createNode(api: Api, name: string): Promise<void> {
  await api.create(nodes, {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: { 'kubernetes.io/hostname': name } },
  });
}
