/**
 * `Api` in memory, for tests and simulations: the API server's rules without its process.
 *
 * - Holds the contract suite of apicontract.ts, as the real client does.
 * - Deterministic: versions and uids are counters. Without hooks a call commits in the instant in which it is made.
 * - Sets timers only on a clock that it is given: for calls that a hook keeps waiting and for watches' time-outs.
 * - Faults by `hooks`, `before` a commit and `after` it: they may throw (the caller gets that error) or wait.
 *   A caller that gives up while `before` waits does not stop the commit: a write that timed out may still happen.
 * - `compact`, `snapshot` and `restore` do to watches and lists what etcd's do.
 * - Does NOT have admission, defaults, schemas (but a `validate` hook), garbage collection, graceful deletion
 *   of pods, or namespaces that must exist.
 */
import type {
  Api,
  CallOptions,
  DeleteOptions,
  JsonPatchOperation,
  KubeObject,
  ListOptions,
  ObjectKey,
  ObjectList,
  Resource,
  Table,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from './api.ts';
import { isMutating } from './apistatus.ts';
import type { Clock } from './clock.ts';
import { ApiError } from './errors.ts';
import { coreMemoryResources } from './memorycore.ts';
import type { MemoryResource } from './memoryrules.ts';
import { type MemoryCall, MemoryServer } from './memoryserver.ts';
import { collectionOf, MemoryStore, type Snapshot } from './memorystore.ts';
import type { MemoryWatch } from './memorywatch.ts';
import { collectionPath, creationPath, objectPath, targetOf } from './paths.ts';

export type { MemoryResource } from './memoryrules.ts';
export type { MemoryCall } from './memoryserver.ts';
export type { Snapshot } from './memorystore.ts';

/** Called around each commit. What they throw is what the caller gets. */
export interface MemoryHooks {
  /** A throw keeps the call from happening. */
  readonly before?: ((call: MemoryCall) => void | Promise<void>) | undefined;
  /** The call has happened; a throw loses its answer. */
  readonly after?: ((call: MemoryCall) => void | Promise<void>) | undefined;
}

export interface MemoryOptions {
  /** Beside the resources of core.ts, which are always there. */
  readonly resources?: readonly MemoryResource[];
  /** For creation and deletion times and for time-outs. Absent: it is always 2026-01-01T00:00:00Z, and nothing times out. */
  readonly clock?: Clock;
  readonly hooks?: MemoryHooks;
  /** Changes that a watch can start from. Defaults to 10,000. */
  readonly historyLimit?: number;
  /** How far each version is from the one before, 1 or more: what others write in between. Defaults to 1. */
  readonly versionStride?: () => number;
}

export interface RestoreOptions {
  /** What is added to the snapshot's version, as by `etcdutl --bump-revision --mark-compacted`. Defaults to 0. */
  readonly bump?: number;
  /**
   * `break` (the default): every watch fails. `silent`: nobody tells them, as when a connection is half open: they
   * deliver nothing any more.
   */
  readonly watches?: 'break' | 'silent';
}

const DEFAULT_TIMEOUT_MS = 30_000;
const NO_TIME = Date.UTC(2026, 0, 1);

export class MemoryApi implements Api {
  /** May be replaced at any time. */
  hooks: MemoryHooks;
  readonly #clock: Clock | undefined;
  readonly #store: MemoryStore;
  readonly #server: MemoryServer;
  readonly #watches = new Set<MemoryWatch>();
  #held = false;

  constructor(options: MemoryOptions = {}) {
    const { clock, resources = [] } = options;
    this.hooks = options.hooks ?? {};
    this.#clock = clock;
    const { historyLimit = 10_000, versionStride = () => 1 } = options;
    this.#store = new MemoryStore(historyLimit, versionStride, (change) => {
      for (const watch of this.#watches) watch.offer(change);
    });
    const kinds = [...coreMemoryResources, ...resources];
    this.#server = new MemoryServer(this.#store, kinds, () => clock?.now() ?? NO_TIME);
  }

  /** Watches that are open now. */
  get watches(): number {
    return this.#watches.size;
  }

  /** The version of the latest change. */
  get resourceVersion(): string {
    return String(this.#store.version);
  }

  /** Present objects, without a call. */
  objects<T extends KubeObject>(resource: Resource<T>): T[] {
    return typed(this.#store.list(collectionOf(resource)));
  }

  /** Forgets history and pages: older versions and tokens are Expired from now on. */
  compact(): void {
    this.#store.compact();
    this.#server.forgetPages();
  }

  /** Sends a bookmark to every watch that has not seen a later version. */
  bookmark(): void {
    for (const watch of this.#watches) watch.bookmark(this.#store.version);
  }

  /** Ends every watch, as the server does at its time-out. */
  endWatches(): void {
    for (const watch of this.#watches) watch.end();
  }

  /** Breaks every watch; by default with Unreachable. */
  failWatches(error: unknown = new ApiError('Unreachable', 'watch: connection lost')): void {
    for (const watch of this.#watches) watch.fail(error);
  }

  /** Watches, present and new, deliver nothing until `releaseWatches`. */
  holdWatches(): void {
    this.#held = true;
    for (const watch of this.#watches) watch.hold();
  }

  /** Each watch delivers its next `count` items, or all from now on. */
  releaseWatches(count?: number): void {
    if (count === undefined) this.#held = false;
    for (const watch of this.#watches) watch.release(count);
  }

  /** The present state, to go back to by `restore`. */
  snapshot(): Snapshot {
    return this.#store.snapshot();
  }

  /** An etcd restored from a snapshot: the past comes back, and versions are given again unless they are bumped. */
  restore(snapshot: Snapshot, { bump = 0, watches = 'break' }: RestoreOptions = {}): void {
    this.#store.restore(snapshot, snapshot.version + bump);
    this.#server.forgetPages();
    if (watches === 'break') this.failWatches();
    else for (const watch of this.#watches) watch.hold();
  }

  async get<T extends KubeObject>(
    resource: Resource<T>,
    key: ObjectKey,
    options: CallOptions = {},
  ): Promise<T> {
    const call = objectCall('get', resource, key);
    return typed(await this.#call(call, options, () => this.#server.get(call, key)));
  }

  async list<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}): Promise<ObjectList<T>> {
    const call = collectionCall('list', resource, options.namespace);
    return typed(await this.#call(call, options, () => this.#server.list(call, options)));
  }

  async listTable<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}): Promise<Table> {
    const call = collectionCall('list', resource, options.namespace);
    return this.#call(call, options, () => this.#server.table(call, options));
  }

  async create<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options: CallOptions = {},
  ): Promise<T> {
    const given = copy(object);
    const { namespace, name } = given.metadata;
    creationPath(resource, namespace);
    const target = targetOf(resource, {
      ...(namespace === undefined ? {} : { namespace }),
      ...(name === undefined ? {} : { name }),
    });
    const call: MemoryCall = { verb: 'create', resource, target, object: given };
    return typed(await this.#call(call, options, () => this.#server.create(call, given)));
  }

  async update<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    const given = copy(object);
    const { namespace, name = '' } = given.metadata;
    const key = namespace === undefined ? { name } : { namespace, name };
    const call = { ...objectCall('update', resource, key, options.subresource), object: given };
    return typed(await this.#call(call, options, () => this.#server.update(call, key, given)));
  }

  async patch<T extends KubeObject>(
    resource: Resource<T>,
    key: ObjectKey,
    patch: readonly JsonPatchOperation[],
    options: WriteOptions = {},
  ): Promise<T> {
    const given = copy(patch);
    const call = { ...objectCall('patch', resource, key, options.subresource), patch: given };
    return typed(await this.#call(call, options, () => this.#server.patch(call, key, given)));
  }

  async delete<T extends KubeObject>(
    resource: Resource<T>,
    key: ObjectKey,
    options: DeleteOptions = {},
  ): Promise<void> {
    const call = objectCall('delete', resource, key);
    await this.#call(call, options, () => this.#server.delete(call, key, options.preconditions ?? {}));
  }

  async *watch<T extends KubeObject>(
    resource: Resource<T>,
    options: WatchOptions,
  ): AsyncIterable<WatchEvent<T>> {
    const call = collectionCall('watch', resource, options.namespace);
    const { signal, timeoutSeconds, idleTimeoutMs } = options;
    const watch = await this.#call(call, signal === undefined ? {} : { signal }, () => {
      const started = this.#server.watch(call, options, this.#held);
      this.#watches.add(started);
      return started;
    });
    const onAbort = (): void => watch.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    const cancelEnd = this.#after(timeoutSeconds === undefined ? undefined : timeoutSeconds * 1000, () => {
      // As the API server, which lets its watchers know where to go on.
      watch.bookmark(this.#store.version);
      watch.end();
    });
    const silent = `watch ${call.target}: no event and no bookmark for ${idleTimeoutMs} ms`;
    try {
      for (;;) {
        const cancelIdle = this.#after(idleTimeoutMs, () => watch.abort(new ApiError('Unreachable', silent)));
        const event = await watch.next().finally(cancelIdle);
        if (event === undefined) return;
        yield typed(event);
      }
    } finally {
      cancelEnd();
      signal?.removeEventListener('abort', onAbort);
      this.#watches.delete(watch);
    }
  }

  #after(ms: number | undefined, run: () => void): () => void {
    return ms === undefined || this.#clock === undefined ? () => undefined : this.#clock.after(ms, run);
  }

  /** The commit between its hooks, for as long as the caller waits. */
  #call<R>(call: MemoryCall, options: CallOptions, commit: () => R): Promise<R> {
    const { signal, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    const work = this.#perform(call, options.permit, commit);
    if (signal === undefined && this.#clock === undefined) return work;
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(signal?.reason);
      signal?.addEventListener('abort', onAbort, { once: true });
      const cancel = this.#after(timeoutMs, () => {
        const kind = isMutating(call.verb) ? 'OutcomeUnknown' : 'Unreachable';
        reject(new ApiError(kind, `${call.verb} ${call.target}: no answer within ${timeoutMs} ms`));
      });
      const settled = (): void => {
        cancel();
        signal?.removeEventListener('abort', onAbort);
      };
      work.then(resolve, reject).finally(settled);
    });
  }

  async #perform<R>(call: MemoryCall, permit: (() => void) | undefined, commit: () => R): Promise<R> {
    permit?.();
    // Not awaited without a hook: the commit then happens in the caller's own step.
    if (this.hooks.before !== undefined) await this.hooks.before(call);
    const result = commit();
    if (this.hooks.after !== undefined) await this.hooks.after(call);
    return result;
  }
}

/** A collection holds what was written as its resource's type. */
function typed<R>(value: unknown): R {
  return value as R;
}

/** As over the wire: undefined members are gone, and nothing is shared. */
function copy<V>(value: V): V {
  return JSON.parse(JSON.stringify(value)) as V;
}

/** Refuses what the real client refuses to send. */
function objectCall(
  verb: MemoryCall['verb'],
  resource: Resource<KubeObject>,
  key: ObjectKey,
  subresource?: 'status',
): MemoryCall {
  objectPath(resource, key, subresource);
  return { verb, resource, key, target: targetOf(resource, key), subresource };
}

function collectionCall(
  verb: MemoryCall['verb'],
  resource: Resource<KubeObject>,
  namespace: string | undefined,
): MemoryCall {
  collectionPath(resource, namespace);
  return { verb, resource, target: targetOf(resource, namespace === undefined ? {} : { namespace }) };
}
