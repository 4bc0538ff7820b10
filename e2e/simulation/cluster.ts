/** A simulated cluster: time, API server, machines, kubelets and operators, and the objects that nobody of Berth makes. */
import { FINALIZER_IN_USE, ipPools } from '../../crds/resources.ts';
import { MIRROR_ANNOTATION, type Node, nodes, type Pod, pods } from '../../kube/core.ts';
import { isApiError } from '../../kube/errors.ts';
import type { Log } from '../../kube/log.ts';
import type { Snapshot } from '../../kube/memory.ts';
import { FakeClock } from '../../kube/testing/fakeclock.ts';
import { OUT_OF_SERVICE_TAINT } from '../../operator/liveness.ts';
import { Kubelet } from './kubelet.ts';
import type { Link } from './link.ts';
import { Machine } from './machine.ts';
import { OperatorHost } from './operatorhost.ts';
import { NAMESPACE, Oracle, type PodIdentity, podObject } from './oracle.ts';
import { keepAddress } from './people.ts';
import type { PodState } from './runtime.ts';
import { addressOf, HIGHEST, type Place, type Schedule, type Setup } from './schedule.ts';
import { ApiServer } from './server.ts';

/** Keeps a deleted pod's object until its node has ended it, as the grace period does. */
const KUBELET_FINALIZER = 'simulation.berth.dev/kubelet';

/** What an agent logs of an address that it can not have back. */
const REPORTED =
  'a live attachment has an address that is reserved for somebody else; delete one of the two pods';

/** What pod b asks for, inside the ranges or not. */
const REQUESTED = 4;

export class Cluster {
  readonly time: FakeClock = new FakeClock();
  readonly setup: Setup;
  readonly server: ApiServer;
  readonly oracle: Oracle;
  readonly machines: ReadonlyMap<string, Machine>;
  readonly kubelets: ReadonlyMap<string, Kubelet>;
  readonly operators: readonly [OperatorHost, OperatorHost];
  /** Static pods' manifests on the nodes, by pod name. */
  readonly manifests: Map<string, PodIdentity> = new Map();
  /** Faults that have struck, by kind. */
  readonly struck: Map<string, number> = new Map();
  readonly note: (text: string) => void;
  readonly #snapshots: { readonly at: number; readonly snapshot: Snapshot }[] = [];
  #containers = 0;
  #isOver = false;
  #pods = 0;
  #kubeletDelay = 0;

  /** @param trace gets a line for all that happens */
  constructor({ seed, setup }: Schedule, trace: ((line: string) => void) | undefined) {
    this.setup = setup;
    this.note = (text) => {
      if (!this.#isOver) trace?.(`${(this.time.monotonic() / 1000).toFixed(3)} ${text}`);
    };
    this.server = new ApiServer({
      time: this.time,
      seed,
      latencyMs: setup.latencyMs,
      onCommit: (caller, call) => this.oracle.committed(caller, call),
      note: this.note,
      onFault: (effect) => this.count(effect),
      onWatch: ({ link }) => this.oracle.restored.noticed(link.name, this.time.monotonic()),
    });
    this.oracle = new Oracle(this.server.memory, () => this.time.monotonic(), this.note);
    const log = this.#log(trace !== undefined);
    const common = { time: this.time, server: this.server, oracle: this.oracle, log, note: this.note };
    const machines = setup.nodes.map(
      (node, i) =>
        new Machine({ ...common, node, seed: seed + 101 * (i + 1), compactFrom: setup.compactFrom }),
    );
    this.machines = new Map(machines.map((machine) => [machine.node, machine]));
    this.kubelets = new Map(
      machines.map((machine, i) => [
        machine.node,
        new Kubelet({
          ...common,
          machine,
          seed: seed + 1_009 * (i + 1),
          habits: setup.habits,
          newContainer: () => this.newContainer(),
          podsHere: () => this.#podsOf(machine.node),
          finalize: (pod) => this.#finalize(pod, machine.link),
        }),
      ]),
    );
    this.operators = [
      new OperatorHost({ ...common, name: 'operator', seed: seed + 50_021 }),
      new OperatorHost({ ...common, name: 'operator B', seed: seed + 60_013 }),
    ];
  }

  /** The present state, to go back to. */
  remember(): void {
    this.#snapshots.push({ at: this.time.monotonic(), snapshot: this.server.memory.snapshot() });
  }

  /** The newest state that is as old as this time, or else the oldest there is. @param at milliseconds */
  snapshotOf(at: number): Snapshot | undefined {
    return (this.#snapshots.findLast((each) => each.at <= at) ?? this.#snapshots[0])?.snapshot;
  }

  /** Nothing of before can come back. */
  forgetSnapshots(): void {
    this.#snapshots.length = 0;
  }

  count(what: string): void {
    this.struck.set(what, (this.struck.get(what) ?? 0) + 1);
  }

  /** A container ID that was never used before. */
  newContainer(): string {
    this.#containers += 1;
    return `c${this.#containers}`;
  }

  link(place: Place): Link | undefined {
    return place === 'operator' ? this.operators[0].link : this.machines.get(place)?.link;
  }

  get links(): Link[] {
    return [...this.operators, ...this.machines.values()].map(({ link }) => link);
  }

  /** The objects of a cluster before its first pod, and every program started. */
  async begin(): Promise<void> {
    const { memory } = this.server;
    const { setup } = this;
    await memory.create(
      { ...nodes, plural: 'namespaces', kind: 'Namespace' },
      { metadata: { name: NAMESPACE } },
    );
    for (const node of this.machines.keys()) await this.createNode(node);
    for (const pool of setup.pools) await this.createPool(pool);
    if (setup.isRequested) this.oracle.usable.add(addressOf('v4', REQUESTED));
    if (setup.isHeld) await keepAddress(this, 2, { state: 'Held', holder: `Pod/${NAMESPACE}/a` });
    if (setup.isExternal)
      await keepAddress(this, 3, { state: 'Held', owner: { kind: 'External', name: 'router' } });
    if (setup.isNodes)
      await keepAddress(this, 5, { state: 'Bound', owner: { kind: 'Node', node: 'node-1' } });
    this.operators[0].start();
    for (const machine of this.machines.values()) machine.start();
  }

  async createNode(name: string): Promise<void> {
    if (this.#node(name) === undefined) await this.server.memory.create(nodes, { metadata: { name } });
    this.podsChanged();
  }

  async deleteNode(name: string): Promise<void> {
    if (this.#node(name) !== undefined) await this.server.memory.delete(nodes, { name });
    this.oracle.nodeGone(name);
    this.podsChanged();
  }

  async taint(name: string, isTainted: boolean): Promise<void> {
    const node = this.#node(name);
    if (node === undefined) return;
    const taints = isTainted ? [{ key: OUT_OF_SERVICE_TAINT, effect: 'NoExecute' as const }] : [];
    await this.server.memory.update(nodes, { ...node, spec: { taints } });
    this.podsChanged();
  }

  hasNode(name: string): boolean {
    return this.#node(name) !== undefined;
  }

  hasPool(name: string): boolean {
    return this.server.memory.objects(ipPools).some(({ metadata }) => metadata.name === name);
  }

  async createPool(name: string): Promise<void> {
    const { cooldown, allocation, last } = this.setup;
    if (this.hasPool(name)) return;
    await this.server.memory.create(ipPools, {
      metadata: { name },
      spec: {
        network: 'default',
        subnet: name === 'v4' ? '10.0.0.0/28' : 'fd00::/64',
        ranges: [this.#range(name, last)],
        cooldown,
        allocation,
        default: true,
      },
    });
    this.oracle.poolMade(name);
  }

  async resizePool(name: string, last: number): Promise<void> {
    const pool = this.server.memory.objects(ipPools).find(({ metadata }) => metadata.name === name);
    if (pool === undefined) return;
    const ranges = [this.#range(name, Math.min(last, HIGHEST))];
    await this.server.memory.update(ipPools, { ...pool, spec: { ...pool.spec, ranges } });
  }

  async deletePool(name: string): Promise<void> {
    const pool = this.server.memory.objects(ipPools).find(({ metadata }) => metadata.name === name);
    // Without the finalizer it is a pool that nobody has used.
    if (pool?.metadata.finalizers?.includes(FINALIZER_IN_USE) === true) {
      await this.server.memory.delete(ipPools, { name });
    }
  }

  #range(pool: string, last: number): string {
    for (let n = 2; n <= last; n += 1) this.oracle.usable.add(addressOf(pool, n));
    return `${addressOf(pool, 2)}-${addressOf(pool, last)}`;
  }

  pod(name: string): Pod | undefined {
    return this.server.memory.objects(pods).find(({ metadata }) => metadata.name === name);
  }

  async createPod(name: string, node: string, isStatic: boolean): Promise<void> {
    if (this.pod(name) !== undefined || this.manifests.has(name) || !this.machines.has(node)) return;
    this.#pods += 1;
    if (isStatic) {
      const manifest = { name, uid: `hash-${name}-${this.#pods}`, node, isStatic };
      this.manifests.set(name, manifest);
      await this.createMirror(manifest);
      return;
    }
    const asks = name === 'b' && this.setup.isRequested;
    await this.#createPodObject({
      metadata: {
        name,
        namespace: NAMESPACE,
        finalizers: [KUBELET_FINALIZER],
        ...(asks && { annotations: { 'ipam.berth.dev/ips': addressOf('v4', REQUESTED) } }),
      },
      spec: { nodeName: node },
    });
  }

  /** The kubelet's: only where it reaches the API. */
  async createMirror(manifest: PodIdentity): Promise<void> {
    const { name, uid, node } = manifest;
    const isWanted = this.manifests.get(name) === manifest && this.pod(name) === undefined;
    if (!isWanted || this.#node(node) === undefined) return;
    await this.#createPodObject({
      metadata: { name, namespace: NAMESPACE, annotations: { [MIRROR_ANNOTATION]: uid } },
      spec: { nodeName: node },
    });
  }

  async #createPodObject(object: Pod): Promise<void> {
    const { memory } = this.server;
    const created = await memory.create(pods, object);
    await memory.update(pods, { ...created, status: { phase: 'Running' } }, { subresource: 'status' });
    this.podsChanged();
  }

  async setPhase(name: string, phase: 'Succeeded' | 'Failed'): Promise<void> {
    const pod = this.pod(name);
    if (pod === undefined || this.manifests.has(name)) return;
    await this.server.memory.update(pods, { ...pod, status: { phase } }, { subresource: 'status' });
    this.podsChanged();
  }

  async deletePod(name: string, how: 'graceful' | 'force'): Promise<void> {
    // A static pod ends with its manifest, and its mirror with it.
    const isStatic = this.manifests.delete(name);
    const pod = this.pod(name);
    if (pod !== undefined) {
      const { memory } = this.server;
      if (how === 'force' && !isStatic) {
        await memory.update(pods, { ...pod, metadata: { ...pod.metadata, finalizers: [] } });
      }
      // One that was Terminating is gone with its finalizer.
      if (this.pod(name) !== undefined) await memory.delete(pods, { namespace: NAMESPACE, name });
    }
    this.podsChanged();
  }

  async deleteMirror(name: string): Promise<PodIdentity | undefined> {
    const manifest = this.manifests.get(name);
    if (manifest === undefined || this.pod(name) === undefined) return undefined;
    await this.server.memory.delete(pods, { namespace: NAMESPACE, name });
    this.podsChanged();
    return manifest;
  }

  /** Truth has changed; kubelets hear of it a little later. */
  podsChanged(): void {
    this.oracle.podsChanged();
    for (const kubelet of this.kubelets.values()) {
      this.#kubeletDelay = (this.#kubeletDelay * 7 + 130) % 1_300;
      this.time.after(this.#kubeletDelay, () => kubelet.observe());
    }
  }

  #node(name: string): Node | undefined {
    return this.server.memory.objects(nodes).find(({ metadata }) => metadata.name === name);
  }

  #podsOf(node: string): Map<string, { pod: PodIdentity; state: PodState }> {
    const here = new Map<string, { pod: PodIdentity; state: PodState }>();
    for (const pod of this.manifests.values()) {
      if (pod.node === node) here.set(pod.uid, { pod, state: 'run' });
    }
    for (const { metadata, spec, status } of this.server.memory.objects(pods)) {
      const { name = '', uid = '', annotations, deletionTimestamp } = metadata;
      if (spec?.nodeName !== node || annotations?.[MIRROR_ANNOTATION] !== undefined) continue;
      const hasEnded = status?.phase === 'Succeeded' || status?.phase === 'Failed';
      const state = hasEnded || deletionTimestamp !== undefined ? 'stop' : 'run';
      here.set(uid, { pod: { name, uid, node, isStatic: false }, state });
    }
    return here;
  }

  async #finalize(pod: PodIdentity, link: Link): Promise<boolean> {
    if (link.isAway) return false;
    const found = podObject(this.server.memory, pod);
    if (found?.metadata.deletionTimestamp !== undefined) {
      const metadata = { ...found.metadata, finalizers: [] };
      try {
        await this.server.memory.update(pods, { ...found, metadata });
      } catch (error) {
        if (!isApiError(error, 'NotFound', 'Conflict')) throw error;
      }
      this.podsChanged();
    }
    return true;
  }

  #log(isTraced: boolean): Log {
    const at =
      (level: string) =>
      (fields: object, message: string): void => {
        if (
          message === 'a handler failed' ||
          message === 'transform failed, the object is stored as it came'
        ) {
          this.oracle.broken(`${message}: ${JSON.stringify(fields, asText)}`);
        }
        if (message === REPORTED) {
          // What the agent logs with this message (sync.ts).
          const { address, owner } = fields as { address: string; owner: { containerID: string } };
          this.oracle.restored.reported(owner.containerID, address);
        }
        if (isTraced && level !== 'debug')
          this.note(`  ${level}: ${message} ${JSON.stringify(fields, asText)}`);
      };
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  }

  dispose(): void {
    // What dies now has nothing more to say.
    this.#isOver = true;
    for (const operator of this.operators) operator.kill();
    for (const machine of this.machines.values()) machine.dispose();
  }
}

function asText(_key: string, value: unknown): unknown {
  return value instanceof Error ? value.message : value;
}
