/**
 * The API server of a simulated cluster as each process sees it: calls take time, fail as their link says, and answers
 * to a dead process reach nobody. What was sent may happen all the same.
 */
import type {
  Api,
  KubeObject,
  ListOptions,
  ObjectList,
  Resource,
  WatchEvent,
  WatchOptions,
} from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { ApiError } from '../../kube/errors.ts';
import { MemoryApi, type MemoryCall } from '../../kube/memory.ts';
import { SeededRandom } from '../../plugin/agent/testing/random.ts';
import { berthResources } from '../../plugin/agent/testing/world.ts';
import type { Effect, Link } from './link.ts';
import type { SimulatedProcess } from './process.ts';

/** Who makes a call. */
export interface Caller {
  readonly process: SimulatedProcess;
  readonly link: Link;
}

/** Told of each call that has just been done, before anything else happens. */
export type OnCommit = (caller: Caller, call: MemoryCall) => void;

interface ServerOptions {
  readonly time: Clock;
  readonly seed: number;
  /** Milliseconds that a call takes at most, each way. */
  readonly latencyMs: number;
  readonly onCommit: OnCommit;
  readonly note: (text: string) => void;
  /** A fault that has struck. */
  readonly onFault: (effect: Effect) => void;
  /** A watch begins at a version that the API server has. */
  readonly onWatch: (caller: Caller) => void;
}

/** Versions that others of a large cluster use up between two writes: after a restore no write has the version of a lost one. */
const OTHERS_WRITE = 1_000_000;

/** A new one each time: one promise for all would keep every dead process alive that ever awaited it. */
function never(): Promise<never> {
  return new Promise(() => undefined);
}

export class ApiServer {
  /** Without faults and without latency: what the cluster itself does. */
  readonly memory: MemoryApi;
  readonly #options: ServerOptions;
  readonly #random: SeededRandom;
  #caller: Caller | undefined;
  readonly #callers = new WeakMap<MemoryCall, Caller>();
  readonly #lost = new WeakSet<MemoryCall>();

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed ^ 0x51ed270b);
    this.memory = new MemoryApi({
      clock: options.time,
      resources: berthResources,
      versionStride: () => 1 + this.#random.below(OTHERS_WRITE),
      hooks: { before: (call) => this.#before(call), after: (call) => this.#after(call) },
    });
  }

  /** The API for one process. */
  client(caller: Caller): Api {
    return new Proxy<Api>(this.memory, {
      get: (target, verb: keyof Api) => {
        if (verb === 'watch') {
          return (resource: Resource<KubeObject>, options: WatchOptions) =>
            this.#watch(caller, resource, options);
        }
        if (verb === 'list') {
          return (resource: Resource<KubeObject>, options: ListOptions) =>
            this.#list(caller, resource, options);
        }
        // Each is called with the arguments of its own verb.
        const call = target[verb] as (...args: unknown[]) => Promise<unknown>;
        return (...args: unknown[]): Promise<unknown> =>
          mortal(caller.process, () => {
            caller.process.effect();
            return this.#as(caller, () => call.apply(target, args));
          });
      },
    });
  }

  /** An informer may be served by a replica; a list that asks for one pool's reservations decides about it, and is live. */
  #list(
    caller: Caller,
    resource: Resource<KubeObject>,
    options: ListOptions,
  ): Promise<ObjectList<KubeObject>> {
    const { process, link } = caller;
    const { replica } = link;
    return mortal(process, async () => {
      process.effect();
      if (replica === undefined || options.fieldSelector?.startsWith('spec.pool=') === true) {
        return this.#as(caller, () => this.memory.list(resource, options));
      }
      await this.#latency();
      if (link.isAway) throw unreachable({ verb: 'list', resource, target: resource.plural });
      return replica.list(resource, options);
    });
  }

  /** The hook before a call is run in the very step in which the call is made, and so knows its caller. */
  #as<R>(caller: Caller, make: () => R): R {
    this.#caller = caller;
    try {
      return make();
    } finally {
      this.#caller = undefined;
    }
  }

  #before(call: MemoryCall): Promise<void> | undefined {
    const caller = this.#caller;
    if (caller === undefined) return undefined;
    this.#callers.set(call, caller);
    return this.#onTheWay(caller, call);
  }

  async #onTheWay({ process, link }: Caller, call: MemoryCall): Promise<void> {
    const { time, note, onFault } = this.#options;
    await this.#latency();
    if (link.isAway) throw unreachable(call);
    const effect = link.faultOf(call, time.monotonic(), this.#random.next);
    if (effect === undefined) return;
    note(`${process.name}: ${effect}: ${call.verb} ${call.target}`);
    onFault(effect);
    await this.#strike(effect, call);
  }

  async #strike(effect: Effect, call: MemoryCall): Promise<void> {
    switch (effect) {
      case 'unreachable':
        throw unreachable(call);
      case 'throttled': {
        const retryAfterMs = this.#random.pick([1_000, 1_000, 5_000]);
        throw new ApiError('Throttled', `${call.verb} ${call.target}: too many requests`, {
          status: 429,
          retryAfterMs,
        });
      }
      case 'conflict':
        throw new ApiError('Conflict', `${call.verb} ${call.target}: conflict`, {
          status: 409,
          reason: 'Conflict',
        });
      case 'failed':
        throw unknown(call);
      case 'touched':
        await this.#touch(call);
        return;
      case 'unanswered':
        this.#lost.add(call);
        return;
      case 'late':
        await this.#options.time.sleep(5_000 + this.#random.below(54_000));
        return;
    }
  }

  /** A person labels the object. */
  async #touch({ resource, key }: MemoryCall): Promise<void> {
    if (key === undefined) return;
    const found = this.memory
      .objects(resource)
      .find(({ metadata }) => metadata.name === key.name && metadata.namespace === key.namespace);
    if (found === undefined) return;
    const labels = { ...found.metadata.labels, touched: String(this.#random.below(1_000_000)) };
    await this.memory.update(resource, { ...found, metadata: { ...found.metadata, labels } });
  }

  #after(call: MemoryCall): Promise<void> | undefined {
    const caller = this.#callers.get(call);
    if (caller === undefined) return undefined;
    this.#options.onCommit(caller, call);
    return this.#onTheWayBack(caller, call);
  }

  async #onTheWayBack(caller: Caller, call: MemoryCall): Promise<void> {
    if (this.#lost.has(call)) throw unknown(call);
    await this.#latency();
    // The connection is gone, and the answer with it: the time-out tells.
    if (caller.link.isAway) await never();
  }

  async #latency(): Promise<void> {
    const ms = this.#random.below(this.#options.latencyMs + 1);
    if (ms > 0) await this.#options.time.sleep(ms);
  }

  async *#watch<T extends KubeObject>(
    { process, link }: Caller,
    resource: Resource<T>,
    options: WatchOptions,
  ): AsyncIterable<WatchEvent<T>> {
    if (!process.isAlive) await never();
    const { time } = this.#options;
    const abort = new AbortController();
    const source = link.replica ?? this.memory;
    if (source === this.memory && Number(options.resourceVersion) <= Number(this.memory.resourceVersion)) {
      this.#options.onWatch({ process, link });
    }
    const events = source.watch(resource, { ...options, signal: abort.signal })[Symbol.asyncIterator]();
    const open = { abort: (reason: unknown) => abort.abort(reason) };
    const onAbort = (): void => abort.abort(options.signal?.reason);
    const close = async (): Promise<void> => {
      link.watches.delete(open);
      options.signal?.removeEventListener('abort', onAbort);
      abort.abort(new Error('the watch is closed'));
      await events.return?.();
    };
    if (options.signal?.aborted === true) onAbort();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    link.watches.add(open);
    // Nobody takes the rest of a dead process's watch.
    process.death.then(close).catch(() => undefined);
    try {
      for (let heard = time.monotonic(); ; heard = time.monotonic()) {
        const next = await mortal(process, () => this.#as({ process, link }, () => events.next()));
        if (next.done === true) return;
        const patience = heard + (options.idleTimeoutMs ?? Number.POSITIVE_INFINITY);
        await mortal(process, () =>
          this.#deliver(() => link.isStalled(resource.plural, time.monotonic()), patience, abort.signal),
        );
        yield next.value;
      }
    } finally {
      await close();
    }
  }

  /** @throws ApiError Unreachable if nothing has come through by `patience` */
  async #deliver(isStalled: () => boolean, patience: number, signal: AbortSignal): Promise<void> {
    const { time } = this.#options;
    await this.#latency();
    while (isStalled()) {
      if (time.monotonic() >= patience)
        throw new ApiError('Unreachable', 'watch: nothing heard for too long');
      await time.sleep(1_000, signal);
    }
    signal.throwIfAborted();
  }
}

/** The outcome for as long as the process lives; afterwards nobody hears of it. */
async function mortal<R>(process: SimulatedProcess, work: () => Promise<R>): Promise<R> {
  if (!process.isAlive) return never();
  try {
    const result = await work();
    await process.awake();
    return process.isAlive ? result : await never();
  } catch (error) {
    await process.awake();
    if (!process.isAlive) return never();
    throw error;
  }
}

function unreachable({ verb, target }: MemoryCall): ApiError {
  return new ApiError('Unreachable', `${verb} ${target}: no connection`);
}

function unknown({ verb, target }: MemoryCall): ApiError {
  return new ApiError('OutcomeUnknown', `${verb} ${target}: no answer`);
}
