/**
 * The node agent: wires the parts together and owns their order of start and stop.
 *
 * Start: journal, watches, one comparison with the API, queued DELs; only then the socket opens. Until then the binary
 * finds nobody, waits with an ADD and queues a DEL.
 *
 * The comparison is what a start costs the API server most: it looks at every reservation there is. Agents that all start
 * at the same time spread it by themselves (`startDelay`).
 */
import * as fs from 'node:fs';
import { ipPools } from '../../crds/resources.ts';
import type { IPPool } from '../../crds/types.ts';
import type { Api, KubeObject, Resource } from '../../kube/api.ts';
import { Backoff } from '../../kube/backoff.ts';
import type { Clock, Random } from '../../kube/clock.ts';
import { type Node, namespaces, nodes, type Pod, pods } from '../../kube/core.ts';
import { isApiError, retryAfterOf } from '../../kube/errors.ts';
import { Informer, type InformerOptions } from '../../kube/informer.ts';
import type { Log } from '../../kube/log.ts';
import { EventRecorder } from '../../kube/recorder.ts';
import type { ProbeOptions } from '../../process/httpserver.ts';
import { deletesDir } from '../protocol.ts';
import { ADDRESSES_ANNOTATION } from './annotations.ts';
import type { WatchDirectory } from './deletes.ts';
import { CniError } from './errors.ts';
import type { Journal } from './journal.ts';
import { Marker } from './marker.ts';
import type { AgentMetrics } from './metrics.ts';
import { podFacts } from './owners.ts';
import { buildParts, type Parts } from './parts.ts';
import { type AgentServer, serveSocket } from './server.ts';
import { agentRoutes } from './show.ts';
import { trimNamespace, trimNode, trimPod } from './trim.ts';
import { requireTrusted } from './trusted.ts';

/** Milliseconds between comparisons with the API, on average; each is jittered by a quarter. */
const COMPARE_EVERY_MS = 600_000;
/** Milliseconds that a stop waits for Events that are not written yet. */
const LAST_EVENTS_MS = 2_000;
/** Milliseconds between tries of the first comparison while the API is away, before jitter: the first, and at most. */
const START_RETRY_MS = 1_000;
const START_RETRY_MOST_MS = 8_000;

/** First lists that take fewer milliseconds are those of an API server that is not asked by many at once. */
const BUSY_MS = 1_000;
/** The first comparison waits for up to this many times what the first lists took, and at most this many milliseconds. */
const SPREAD = 4;
const SPREAD_MOST_MS = 8_000;

/**
 * Milliseconds that a start waits before its comparison: a random part of four times what its first lists took. Nothing while
 * the API server is quick, seconds when a thousand agents ask it.
 * @param listsMs what the first lists took
 * @param random is drawn from only if there is something to wait for
 */
export function startDelay(listsMs: number, random: Random): number {
  return listsMs < BUSY_MS ? 0 : Math.min(SPREAD * listsMs, SPREAD_MOST_MS) * random();
}

export interface AgentOptions {
  readonly node: string;
  readonly socket: string;
  readonly stateDir: string;
  readonly api: Api;
  readonly journal: Journal;
  readonly metrics: AgentMetrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** How the socket is served. Defaults to `serveSocket`. */
  readonly serve?: typeof serveSocket;
  /** How notices of a changed directory come. Defaults to `fs.watch`. */
  readonly watchDirectory?: WatchDirectory;
}

/** The gauges of a journal's state. */
export function journalGauges(journal: Journal): ConstructorParameters<typeof AgentMetrics>[0] {
  return {
    attachments: () => journal.state.attachments.size,
    journalPending: () => journal.state.releasing.size + journal.state.intents.size,
  };
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #poolWatch: Informer<IPPool>;
  readonly #podWatch: Informer<Pod>;
  readonly #namespaceWatch: Informer<KubeObject>;
  readonly #nodeWatch: Informer<Node>;
  readonly #recorder: EventRecorder;
  readonly #parts: Parts;
  readonly #marker: Marker;
  #ready = false;

  constructor(options: AgentOptions) {
    this.#options = options;
    const { node } = options;
    this.#poolWatch = this.#watch({ resource: ipPools });
    this.#podWatch = this.#watch({
      resource: pods,
      fieldSelector: `spec.nodeName=${node}`,
      transform: trimPod,
    });
    this.#namespaceWatch = this.#watch({ resource: namespaces, transform: trimNamespace });
    this.#nodeWatch = this.#watch({
      resource: nodes,
      fieldSelector: `metadata.name=${node}`,
      transform: trimNode,
    });
    this.#recorder = new EventRecorder({ ...options, component: 'berth-agent', instance: node });
    this.#parts = buildParts({
      ...options,
      recorder: this.#recorder,
      cachedPod: (namespace, name) => {
        const pod = this.#podWatch.store.get(`${namespace}/${name}`);
        return pod === undefined ? undefined : podFacts(pod);
      },
      cachedNode: () => this.#nodeWatch.store.get(node),
      cachedNamespace: (name) => this.#namespaceWatch.store.get(name),
    });
    this.#marker = new Marker(options);
    const { pools, annotator } = this.#parts;
    const shown = ({ metadata }: Pod): string | undefined => metadata.annotations?.[ADDRESSES_ANNOTATION];
    const lookAt = ({ metadata: { namespace = '', name = '' } }: Pod): void =>
      annotator.look(namespace, name);
    this.#podWatch.addHandler({
      onAdd: (pod) => (shown(pod) === undefined ? undefined : lookAt(pod)),
      onUpdate: (old, pod) => (shown(old) === shown(pod) ? undefined : lookAt(pod)),
      onDelete: (pod, finalStateUnknown) => {
        if (!finalStateUnknown) this.#parts.ended.deleted(pod);
      },
    });
    this.#poolWatch.addHandler({
      onAdd: (pool) => pools.set(pool),
      onUpdate: (_old, pool) => pools.set(pool),
      onDelete: (pool) => pools.delete(pool),
    });
  }

  get #watches(): Pick<Informer<KubeObject>, 'run' | 'whenSynced'>[] {
    return [this.#poolWatch, this.#podWatch, this.#namespaceWatch, this.#nodeWatch];
  }

  /** What the agent shows on its socket; the metrics address has the same but for the routes. */
  get probes(): ProbeOptions {
    return {
      registry: this.#options.metrics.registry,
      checks: {
        healthz: () => undefined,
        readyz: () => (this.#ready ? undefined : 'not yet compared with the API server'),
      },
    };
  }

  /**
   * Serves until the signal aborts, then finishes what it has begun.
   * @throws Error if the socket or the state directory cannot be used
   */
  async run(signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const background = this.#watches.map((watch) => watch.run(stop.signal));
    background.push(this.#marker.run(stop.signal));
    try {
      await this.#start(signal);
      const server = await this.#serve();
      background.push(
        this.#parts.releaser.run(stop.signal),
        this.#parts.doubts.run(stop.signal),
        this.#parts.leftovers.run(stop.signal),
        this.#parts.annotator.run(stop.signal),
        this.#parts.deletes.run(stop.signal),
        this.#parts.canary.run(stop.signal),
        this.#parts.conflicts.run(stop.signal, (key) => this.#parts.sync.lookAgain(key)),
        this.#compareNowAndThen(stop.signal),
      );
      this.#ready = true;
      this.#options.log.info({ socket: this.#options.socket, node: this.#options.node }, 'serving');
      await aborted(signal);
      this.#ready = false;
      await server.close();
    } finally {
      stop.abort(signal.reason);
      await Promise.all(background);
      await this.#lastEvents();
    }
  }

  async #start(signal: AbortSignal): Promise<void> {
    const { clock, random, log, metrics } = this.#options;
    const begun = clock.monotonic();
    await Promise.all(this.#watches.map((watch) => watch.whenSynced(signal)));
    const delay = startDelay(clock.monotonic() - begun, random);
    if (delay > 0) await clock.sleep(delay, signal);
    const backoff = new Backoff({ initialMs: START_RETRY_MS, maxMs: START_RETRY_MOST_MS }, random);
    while (true) {
      signal.throwIfAborted();
      let wait = backoff.next();
      try {
        await this.#parts.sync.compare({ isFirst: true });
        break;
      } catch (error) {
        if (!isApiError(error) && !(error instanceof CniError)) {
          throw error;
        }
        wait += retryAfterOf(error);
        log.warn({ error, wait }, 'the first comparison with the API server failed; trying again');
      }
      await clock.sleep(wait, signal);
    }
    this.#parts.canary.sure();
    metrics.synced(clock.now());
    await this.#parts.deletes.drain();
    this.#marker.make();
  }

  async #serve(): Promise<AgentServer> {
    const { socket, stateDir, node, clock, log, journal, serve = serveSocket } = this.#options;
    const config = { node, socket, stateDir };
    return serve({
      socket,
      clock,
      log,
      handle: (request) => this.#parts.handler.handle(request),
      probes: { ...this.probes, routes: agentRoutes({ journal, pools: this.#parts.pools, config }) },
    });
  }

  /** What was reported last is worth a moment, but no more: the API server may be away. */
  async #lastEvents(): Promise<void> {
    const late = Promise.withResolvers<void>();
    const cancel = this.#options.clock.after(LAST_EVENTS_MS, late.resolve);
    await Promise.race([this.#recorder.flush(), late.promise]);
    cancel();
  }

  async #compareNowAndThen(signal: AbortSignal): Promise<void> {
    const { clock, random, log, metrics } = this.#options;
    while (!signal.aborted) {
      try {
        await clock.sleep(COMPARE_EVERY_MS * (0.75 + random() / 2), signal);
        await this.#parts.sync.compare();
        metrics.synced(clock.now());
      } catch (error) {
        if (!signal.aborted) {
          log.warn({ error }, 'a comparison with the API server failed; the next one comes');
        }
      }
    }
  }

  #watch<T extends KubeObject>(
    options: { resource: Resource<T> } & Pick<InformerOptions<T>, 'fieldSelector' | 'transform'>,
  ): Informer<T> {
    const { api, clock, random, log } = this.#options;
    return new Informer({
      ...options,
      api,
      clock,
      random,
      log,
      onInterrupt: () => this.#parts.canary.suspect(),
      onReconnect: () => this.#parts.canary.reconnected(),
    });
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) {
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }
}

/**
 * The state directory and that of the queued DELs, made with mode 0700 where they are not there.
 * @throws Error that names the path: it cannot be made, is no directory, or others may replace what lies in it
 */
export function prepareStateDir(stateDir: string): void {
  for (const directory of [stateDir, deletesDir(stateDir)]) {
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
    // The first one may be a link that an administrator made; what lies in it is this program's own.
    if (directory !== stateDir && fs.lstatSync(directory).isSymbolicLink()) {
      throw new Error(`${directory} is a symbolic link: remove it, the agent makes the directory itself`);
    }
    // Before the mode is changed: what everybody could write may hold what nobody here has written.
    requireTrusted(directory);
    fs.chmodSync(directory, 0o700);
  }
}
