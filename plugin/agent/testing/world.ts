/** Agents' parts on an API in memory and a clock that stands still, with faults and deaths at the test's choice. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { FINALIZER_IN_USE, ipPools, ipReservations } from '../../../crds/resources.ts';
import type { IPPool, IPPoolSpec, IPReservation, IPReservationSpec } from '../../../crds/types.ts';
import { parseAddress } from '../../../ipam/address.ts';
import { reservationName } from '../../../ipam/name.ts';
import type { Api, ObjectMeta } from '../../../kube/api.ts';
import { keyOf, type ObjectReference, type Pod, pods } from '../../../kube/core.ts';
import { ApiError } from '../../../kube/errors.ts';
import type { Log } from '../../../kube/log.ts';
import { MemoryApi, type MemoryCall, type MemoryResource } from '../../../kube/memory.ts';
import { FakeClock } from '../../../kube/testing/fakeclock.ts';
import type { CniRequest } from '../../protocol.ts';
import { journalGauges } from '../agent.ts';
import { type Journal, openJournal } from '../journal.ts';
import { AgentMetrics } from '../metrics.ts';
import { podFacts } from '../owners.ts';
import { buildParts, type Parts } from '../parts.ts';
import { type ParsedRequest, parseRequest } from '../request.ts';
import type { JournalRecord } from '../state.ts';
import { SeededRandom } from './random.ts';

/** The selectable fields and columns of the CRD. */
const reservations: MemoryResource = {
  resource: ipReservations,
  selectableFields: [
    'spec.pool',
    'spec.network',
    'spec.state',
    'spec.owner.node',
    'spec.owner.uid',
    'spec.owner.containerID',
    'spec.holder',
  ],
  columns: [
    { name: 'Address', path: 'spec.address' },
    { name: 'Pool', path: 'spec.pool' },
    { name: 'State', path: 'spec.state' },
    { name: 'Namespace', path: 'spec.owner.namespace' },
    { name: 'Owner', path: 'spec.owner.name' },
    { name: 'Node', path: 'spec.owner.node' },
    { name: 'Interface', path: 'spec.owner.ifname' },
    { name: 'Age', path: 'metadata.creationTimestamp' },
    { name: 'Since', path: 'spec.since' },
    { name: 'Holder', path: 'spec.holder' },
    { name: 'Network', path: 'spec.network' },
    { name: 'UID', path: 'spec.owner.uid' },
    { name: 'Container', path: 'spec.owner.containerID' },
  ],
};

/** Berth's kinds, as an API in memory needs to know them. */
export const berthResources: readonly MemoryResource[] = [
  { resource: ipPools, statusSubresource: true },
  reservations,
];

/** A line of the log. */
export interface Line {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: object;
  readonly message: string;
}

/** An Event as an agent reports it. */
export interface PodEvent {
  readonly about: ObjectReference;
  readonly reason: string;
  readonly message: string;
  readonly type: 'Normal' | 'Warning';
  readonly series?: string | undefined;
  /** The reservation. */
  readonly related?: ObjectReference | undefined;
}

export type Fault = (call: MemoryCall) => void | Promise<void>;

export interface PoolShape {
  readonly ready?: 'True' | 'False' | 'Unknown';
  readonly hasFinalizer?: boolean;
  readonly holders?: readonly { holder: string; address: string }[];
  readonly holdersTruncated?: boolean;
  readonly deleting?: boolean;
}

/** An IPPool as the operator leaves it: Ready, with the finalizer. */
export function aPool(name: string, spec: Partial<IPPoolSpec> = {}, shape: PoolShape = {}): IPPool {
  const { ready = 'True', hasFinalizer = true, holders, holdersTruncated, deleting = false } = shape;
  return {
    metadata: {
      name,
      ...(hasFinalizer && { finalizers: [FINALIZER_IN_USE] }),
      ...(deleting && { deletionTimestamp: '2026-01-01T00:00:00Z' }),
    },
    spec: { subnet: '10.0.0.0/29', cooldown: '0s', ...spec },
    status: {
      ...(holders !== undefined && { holders }),
      ...(holdersTruncated !== undefined && { holdersTruncated }),
      conditions: [
        {
          type: 'Ready',
          status: ready,
          lastTransitionTime: '2026-01-01T00:00:00Z',
          reason: 'Test',
          message: 'the test says so',
        },
      ],
    },
  };
}

export interface PodShape {
  readonly node?: string;
  readonly uid?: string;
  readonly labels?: Record<string, string>;
  readonly annotations?: Record<string, string>;
  readonly ownerReferences?: NonNullable<ObjectMeta['ownerReferences']>;
  readonly phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';
}

export interface CallShape {
  readonly container?: string;
  readonly ifname?: string;
  readonly pod?: string | undefined;
  /** `undefined` leaves K8S_POD_UID away; absent: that of the pod. */
  readonly uid?: string | undefined;
  readonly cniVersion?: string;
  readonly name?: string;
  readonly ipam?: object;
  readonly config?: object;
  readonly args?: string;
}

/** One agent: its journal in a directory of its own, and its parts. */
export class TestNode {
  readonly name: string;
  readonly directory: string;
  readonly #world: World;
  /** Called before each record is written; may throw as a full disk does. */
  onAppend: ((record: JournalRecord) => void) | undefined;
  #alive = { yes: true };
  #stop = new AbortController();
  #process: { journal: Journal; parts: Parts; metrics: AgentMetrics };

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
    this.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'berth-agent-'));
    this.#process = this.#begin();
  }

  get journal(): Journal {
    return this.#process.journal;
  }

  get parts(): Parts {
    return this.#process.parts;
  }

  get metrics(): AgentMetrics {
    return this.#process.metrics;
  }

  /** A new process on what the last one left. */
  start(): void {
    this.#process = this.#begin();
  }

  #begin(): { journal: Journal; parts: Parts; metrics: AgentMetrics } {
    const { clock, api } = this.#world;
    const life = { yes: true };
    // What a dead process would have said is nothing that anybody reads.
    const at =
      (level: Line['level']) =>
      (fields: object, message: string): void => {
        if (life.yes) this.#world.log[level](fields, message);
      };
    const log: Log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
    this.#alive = life;
    this.#stop = new AbortController();
    const journal = openJournal({
      stateDir: this.directory,
      now: clock.now(),
      onDamage: (setAside, reason) => log.error({ setAside, reason }, 'damaged'),
      onCompactionFailed: (error) => log.error({ error }, 'compaction failed'),
    });
    const guarded: Journal = {
      state: journal.state,
      append: (record) => {
        if (!life.yes) throw new Error('this process is dead');
        this.onAppend?.(record);
        journal.append(record);
      },
      close: () => journal.close(),
    };
    const metrics = new AgentMetrics(journalGauges(guarded));
    const parts = buildParts({
      node: this.name,
      stateDir: this.directory,
      api: mortal(api, life),
      journal: guarded,
      metrics,
      clock,
      random: this.#world.random.next,
      log,
      recorder: {
        event: (about, type, reason, message, extras) =>
          void this.#world.events.push({ about, type, reason, message, ...extras }),
      },
      cachedPod: (namespace, name) => {
        const pod = this.#world.cachedPods.get(`${namespace}/${name}`);
        return pod === undefined ? undefined : podFacts(pod);
      },
      cachedNode: () => ({ metadata: { name: this.name, labels: this.#world.nodeLabels } }),
      cachedNamespace: (name) => ({
        metadata: { name, annotations: this.#world.namespaceAnnotations, labels: { ns: name } },
      }),
    });
    for (const pool of this.#world.pools.values()) parts.pools.set(pool);
    return { journal: guarded, parts, metrics };
  }

  /** Releases, doubts and what is left over are worked off from now on, until `kill` or `stop`. */
  work(): void {
    const { releaser, doubts, leftovers, annotator } = this.parts;
    for (const part of [releaser, doubts, leftovers, annotator])
      this.#world.background.push(part.run(this.#stop.signal));
  }

  /** SIGKILL: nothing of this process happens any more; what it sent may still arrive. */
  kill(): void {
    this.#alive.yes = false;
    this.#stop.abort(new Error('killed'));
    this.journal.close();
  }

  /** Ends the background in order. */
  stop(): void {
    this.#stop.abort(new Error('stopped'));
  }

  restart(): void {
    this.kill();
    this.start();
  }
}

/** The API as one process sees it: after its death no answer reaches it and nothing new is sent. */
function mortal(api: Api, life: { yes: boolean }): Api {
  const never = new Promise<never>(() => undefined);
  const guarded = async (call: () => Promise<unknown>): Promise<unknown> => {
    if (!life.yes) return never;
    try {
      const answer = await call();
      return life.yes ? answer : await never;
    } catch (error) {
      if (!life.yes) return never;
      throw error;
    }
  };
  return new Proxy(api, {
    get: (target, verb: keyof Api) => {
      if (verb === 'watch') throw new Error('the tests feed the caches themselves');
      // Each is called with the arguments of its own verb.
      const call = target[verb] as (...args: unknown[]) => Promise<unknown>;
      return (...args: unknown[]): Promise<unknown> => guarded(() => call.apply(target, args));
    },
  });
}

export class World {
  readonly clock: FakeClock = new FakeClock();
  readonly random: SeededRandom;
  readonly api: MemoryApi = new MemoryApi({
    clock: this.clock,
    resources: berthResources,
  });
  readonly lines: Line[] = [];
  readonly log: Log;
  readonly calls: MemoryCall[] = [];
  /** Reported on pods. */
  readonly events: PodEvent[] = [];
  readonly pools: Map<string, IPPool> = new Map();
  /** What every agent's watch of pods has. */
  readonly cachedPods: Map<string, Pod> = new Map();
  readonly background: Promise<void>[] = [];
  readonly nodeLabels: Record<string, string> = {};
  readonly namespaceAnnotations: Record<string, string> = {};
  readonly nodes: TestNode[] = [];
  /** May throw or wait: before the call happens, or after it. */
  before: Fault | undefined;
  after: Fault | undefined;

  constructor(seed: number = 1) {
    this.random = new SeededRandom(seed);
    const at =
      (level: Line['level']) =>
      (fields: object, message: string): void => {
        this.lines.push({ level, fields, message });
      };
    this.log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
    this.api.hooks = {
      before: (call) => {
        this.calls.push(call);
        return this.before?.(call);
      },
      after: (call) => this.after?.(call),
    };
  }

  node(name: string = 'node-1'): TestNode {
    const node = new TestNode(this, name);
    this.nodes.push(node);
    return node;
  }

  /** A pool in every agent's watch. */
  pool(name: string, spec: Partial<IPPoolSpec> = {}, shape: PoolShape = {}): void {
    const pool = aPool(name, { default: true, ...spec }, shape);
    this.pools.set(name, pool);
    for (const node of this.nodes) node.parts.pools.set(pool);
  }

  /** A pod in namespace shop, in the API and in the agents' watch. */
  async pod(name: string, shape: PodShape = {}): Promise<Pod> {
    const { node = 'node-1', uid, labels, annotations, ownerReferences, phase = 'Running' } = shape;
    const created = await this.direct(() =>
      this.api.create(pods, {
        metadata: {
          name,
          namespace: 'shop',
          ...(labels !== undefined && { labels }),
          ...(annotations !== undefined && { annotations }),
          ...(ownerReferences !== undefined && { ownerReferences }),
        },
        spec: { nodeName: node },
      }),
    );
    const pod: Pod = await this.direct(() =>
      this.api.update(pods, { ...created, status: { phase } }, { subresource: 'status' }),
    );
    const seen = uid === undefined ? pod : { ...pod, metadata: { ...pod.metadata, uid } };
    this.cachedPods.set(keyOf(pod), seen);
    return seen;
  }

  /** A call of the test itself: without faults and not counted. */
  direct<R>(call: () => Promise<R>): Promise<R> {
    const { hooks } = this.api;
    this.api.hooks = {};
    // Without hooks it has happened when it returns.
    const answer = call();
    this.api.hooks = hooks;
    return answer;
  }

  async reservation(address: string, spec: Partial<IPReservationSpec> = {}): Promise<IPReservation> {
    const network = spec.network ?? 'default';
    return this.direct(() =>
      this.api.create(ipReservations, {
        metadata: { name: reservationName(network, parseAddress(address)) },
        spec: {
          network,
          address,
          pool: 'blue',
          state: 'Bound',
          owner: {
            kind: 'Pod',
            namespace: 'shop',
            name: 'other',
            uid: 'uid-other',
            node: 'node-9',
            containerID: 'c-other',
            ifname: 'eth0',
          },
          since: '2026-01-01T00:00:00Z',
          ...spec,
        },
      }),
    );
  }

  /** What the API has now. */
  get reservations(): IPReservation[] {
    return this.api.objects(ipReservations);
  }

  /** `address state container` of everything that the API has now. */
  get table(): string[] {
    return this.reservations
      .map(({ spec }) => `${spec.address} ${spec.state} ${spec.owner?.containerID ?? '-'}`)
      .toSorted();
  }

  /** `verb name` of each request since the last look. */
  takeCalls(): string[] {
    return this.calls.splice(0).map((call) => `${call.verb} ${call.target.replace(/^[a-z]+\//, '')}`);
  }

  /** A request of the socket. */
  request(command: string, shape: CallShape = {}): CniRequest {
    const { container = 'c1', ifname = 'eth0', pod = 'web', cniVersion = '1.1.0', name = 'net' } = shape;
    const uid = 'uid' in shape ? shape.uid : this.cachedPods.get(`shop/${pod}`)?.metadata.uid;
    const args = [
      ...(('pod' in shape ? shape.pod : pod) === undefined
        ? []
        : ['K8S_POD_NAMESPACE=shop', `K8S_POD_NAME=${pod}`]),
      ...(uid === undefined ? [] : [`K8S_POD_UID=${uid}`]),
      ...(shape.args === undefined ? [] : [shape.args]),
    ];
    return {
      command,
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: container,
        CNI_IFNAME: ifname,
        CNI_NETNS: '/run/netns/x',
        CNI_PATH: '/opt/cni/bin',
        CNI_ARGS: args.join(';'),
      },
      config: JSON.stringify({
        cniVersion,
        name,
        type: 'macvlan',
        ipam: { type: 'berth', ...shape.ipam },
        ...shape.config,
      }),
    };
  }

  parsed(command: string, shape: CallShape = {}): ParsedRequest {
    return parseRequest(this.request(command, shape));
  }

  /** Lets time pass in small steps, so that whatever waits for it gets its turn. */
  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
  }

  /** The outcome of work that needs time to pass. */
  async finish<R>(work: Promise<R>, limitMs: number = 120_000, stepMs: number = 50): Promise<R> {
    let isDone = false;
    const settled = work.finally(() => {
      isDone = true;
    });
    // It is awaited below; a rejection must not count as unhandled until then.
    settled.catch(() => undefined);
    await this.clock.advance(0);
    for (let passed = 0; !isDone && passed < limitMs; passed += stepMs) await this.clock.advance(stepMs);
    if (!isDone) throw new Error(`not done after ${limitMs} ms`);
    return settled;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes) node.stop();
    this.before = undefined;
    this.after = undefined;
    await this.clock.advance(60_000);
    for (const node of this.nodes) fs.rmSync(node.directory, { recursive: true });
  }
}

/** What the API says when it is away; the write did not happen. */
export function unreachable(): ApiError {
  return new ApiError('Unreachable', 'no connection');
}

/** No answer to a write that was sent. */
export function outcomeUnknown(): ApiError {
  return new ApiError('OutcomeUnknown', 'no answer');
}

export function throttled(retryAfterMs: number): ApiError {
  return new ApiError('Throttled', 'too many requests', { status: 429, retryAfterMs });
}

export function isWrite({ verb }: MemoryCall): boolean {
  return verb === 'create' || verb === 'patch' || verb === 'delete';
}

/** A fault of the first `times` calls that match. */
export function failing(
  matches: (call: MemoryCall) => boolean,
  error: () => ApiError,
  times: number = Number.POSITIVE_INFINITY,
): Fault {
  let left = times;
  return (call) => {
    if (matches(call) && left > 0) {
      left -= 1;
      throw error();
    }
  };
}
