/** The cluster that the suite runs on, as its scenarios see it: ours, or one that E2E_KUBECONFIG names. */
import { readFile } from 'node:fs/promises';
import { ipPools, ipReservations } from '../../../crds/resources.ts';
import type { IPPoolSpec, IPReservation } from '../../../crds/types.ts';
import type { KubeObject, Resource } from '../../../kube/api.ts';
import { connect, type RestApi } from '../../../kube/client.ts';
import { nodes as nodeResource } from '../../../kube/core.ts';
import { resolveAssets, resolveHelm } from '../../controlplane/assets.ts';
import { run } from '../../controlplane/run.ts';
import { isReady } from '../../harness/ready.ts';
import { waitFor } from '../../harness/wait.ts';
import { clusterEnvironment } from '../cluster.ts';
import { Docker } from '../docker.ts';
import { POD_IMAGE } from '../images.ts';
import { places } from '../places.ts';
import { readRecord } from '../record.ts';
import { DockerNodes, type Nodes, PodNodes } from './nodes.ts';

/** A pod as the suite looks at it. */
export interface TestPod extends KubeObject {
  readonly spec?: { readonly nodeName?: string; readonly hostNetwork?: boolean };
  readonly status?: {
    readonly phase?: string;
    readonly reason?: string;
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

/** Pods, with the fields of `TestPod`. */
export const testPods: Resource<TestPod> = {
  group: '',
  version: 'v1',
  plural: 'pods',
  kind: 'Pod',
  namespaced: true,
};

/** Milliseconds for what a busy machine with two cores takes its time for. */
export const PATIENCE_MS = 300_000;

/** The same, as kubectl and Helm take it. */
export const PATIENCE_FLAG: string = `--timeout=${PATIENCE_MS / 1000}s`;

/** A manifest. */
export type Manifest = Readonly<Record<string, unknown>>;

/** The cluster. */
export class World {
  readonly api: RestApi;
  readonly kubeconfig: string;
  readonly nodes: Nodes;
  /** Names of nodes that take ordinary pods, sorted. */
  readonly workers: readonly string[];
  /** True: ours, with Berth as the IPAM of pods' own network, and installed by the suite. */
  readonly own: boolean;
  /** What the suite's pods run. */
  readonly image: string;
  readonly #kubectl: string;

  private constructor(
    parts: Pick<World, 'api' | 'kubeconfig' | 'nodes' | 'workers' | 'own' | 'image'>,
    kubectl: string,
  ) {
    this.api = parts.api;
    this.kubeconfig = parts.kubeconfig;
    this.nodes = parts.nodes;
    this.workers = parts.workers;
    this.own = parts.own;
    this.image = parts.image;
    this.#kubectl = kubectl;
  }

  /** Connects to the cluster. @throws Error that says how to make one */
  static async enter(): Promise<World> {
    const given = process.env['E2E_KUBECONFIG'];
    const own = given === undefined || given === '';
    const kubeconfig = own ? places.kubeconfig : given;
    try {
      await readFile(kubeconfig);
    } catch (error) {
      throw new Error(`no cluster: ${kubeconfig} can not be read. \`make e2e-up\` makes one`, {
        cause: error,
      });
    }
    const image = process.env['E2E_IMAGE'] ?? POD_IMAGE;
    const { kubectl } = await resolveAssets();
    const api = await connect({ kubeconfig, userAgent: 'berth-e2e' });
    const { items } = await api.list(nodeResource);
    const workers = items
      .filter(
        ({ spec }) =>
          !(spec?.taints ?? []).some(({ key }) => key === 'node-role.kubernetes.io/control-plane'),
      )
      .map(({ metadata }) => metadata.name ?? '')
      .toSorted();
    if (workers.length < 2)
      throw new Error(`the suite needs two nodes that take pods; there is ${workers.join()}`);
    const kubectlRun = (args: readonly string[], input?: string): Promise<string> =>
      runKubectl(kubectl, kubeconfig, args, input);
    const names = items.map(({ metadata }) => metadata.name ?? '').toSorted();
    const nodes = own
      ? new DockerNodes(new Docker(await ownSocket()), names)
      : new PodNodes(kubectlRun, names, image);
    return new World({ api, kubeconfig, nodes, workers, own, image }, kubectl);
  }

  /** Runs kubectl. @throws RunError with the end of what it said */
  kubectl(args: readonly string[], input?: string): Promise<string> {
    return runKubectl(this.#kubectl, this.kubeconfig, args, input);
  }

  /** Runs Helm. @throws RunError with the end of what it said */
  async helm(args: readonly string[]): Promise<string> {
    return run(await resolveHelm(), args, { env: clusterEnvironment(this.kubeconfig) });
  }

  /** Applies manifests, in a namespace if one is given. */
  async apply(manifests: readonly Manifest[], namespace?: string): Promise<void> {
    const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: manifests });
    const where = namespace === undefined ? [] : [`--namespace=${namespace}`];
    await this.kubectl(['apply', ...where, '--filename=-'], list);
  }

  /** Creates a pool, or changes it, and waits until it is Ready. */
  async pool(name: string, spec: IPPoolSpec): Promise<void> {
    await this.apply([{ apiVersion: 'ipam.berth.dev/v1alpha1', kind: 'IPPool', metadata: { name }, spec }]);
    await waitFor(`pool ${name} is Ready`, async () => isReady(await this.api.get(ipPools, { name })), {
      timeoutMs: PATIENCE_MS,
      everyMs: 500,
    });
  }

  /** Pods of a namespace that are not being deleted. */
  async pods(namespace: string, labelSelector?: string): Promise<TestPod[]> {
    const selector = labelSelector === undefined ? {} : { labelSelector };
    const { items } = await this.api.list(testPods, { namespace, ...selector });
    return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  }

  /** Reservations in state Bound. */
  async bound(): Promise<IPReservation[]> {
    const { items } = await this.api.list(ipReservations);
    return items.filter(({ spec }) => spec.state === 'Bound');
  }
}

/** The socket of our own daemon; undefined if the machine's own runs the nodes. */
export async function ownSocket(): Promise<string | undefined> {
  const record = await readRecord();
  return record?.foreign === true ? undefined : places.socket;
}

function runKubectl(
  program: string,
  kubeconfig: string,
  args: readonly string[],
  input?: string,
): Promise<string> {
  const env = clusterEnvironment(kubeconfig);
  return run(program, args, input === undefined ? { env } : { env, input });
}
