/**
 * A store that follows the API server, and handlers that hear of each change: client-go's SharedInformer.
 *
 * - The store is changed before a handler is called; handlers of one informer run one after the other, in order.
 * - A handler that throws is logged; the others, and later events, are not affected.
 * - A handler added late first hears `onAdd` for everything that is in the store.
 * - After a new list every object is delivered again: `onAdd` if it is new, else `onUpdate`, and `onDelete`
 *   with `finalStateUnknown` for those that vanished unseen. An object that was deleted and created again
 *   under the same name (another uid) is delivered as a deletion and an addition.
 * - `metadata.managedFields` is never stored.
 * - Does NOT deliver every intermediate state: handlers must be level-based. It does NOT resync periodically.
 */
import type { Api, KubeObject, ObjectMeta, Resource } from './api.ts';
import type { Clock, Random } from './clock.ts';
import { keyOf } from './core.ts';
import type { Log } from './log.ts';
import { Reflector } from './reflector.ts';
import { type Indexers, type ReadonlyStore, Store } from './store.ts';

/** What to call on changes. The objects are the store's own: never change them. */
export interface Handler<T> {
  /** `isInitialList`: it was there before the informer (or this handler) started. */
  onAdd?(object: T, isInitialList: boolean): void;
  onUpdate?(old: T, object: T): void;
  /** `finalStateUnknown`: the deletion was missed, `object` is the last state that was seen. */
  onDelete?(object: T, finalStateUnknown: boolean): void;
}

export interface InformerOptions<T extends KubeObject> {
  readonly api: Api;
  readonly resource: Resource<T>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly namespace?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly labelSelector?: string | undefined;
  /** Trims each object before it is stored. One that throws is logged, and the object stored as it came. */
  readonly transform?: ((object: T) => T) | undefined;
  readonly indexers?: Indexers<T> | undefined;
  /** Objects per page of a list. Defaults to 500. */
  readonly pageSize?: number | undefined;
  /** Milliseconds of silence after which the watch is renewed. Defaults to 90,000. */
  readonly idleTimeoutMs?: number | undefined;
  /** Called when a list or a watch has failed. */
  readonly onInterrupt?: (() => void) | undefined;
  /** Called before each watch but the first, when the API server has answered again. */
  readonly onReconnect?: (() => void) | undefined;
}

export class Informer<T extends KubeObject> {
  readonly #options: InformerOptions<T>;
  readonly #store: Store<T>;
  readonly #handlers: Handler<T>[] = [];
  readonly #reflector: Reflector<T>;
  #synced: PromiseWithResolvers<void> | undefined;
  #hasSynced = false;
  #running = false;

  constructor(options: InformerOptions<T>) {
    this.#options = options;
    this.#store = new Store(options.indexers);
    const { onInterrupt, onReconnect } = options;
    this.#reflector = new Reflector({
      ...options,
      sink: {
        replace: (objects) => this.#replace(objects),
        upsert: (object) => this.#upsert(object, false),
        remove: (object) => this.#remove(keyOf(object), object),
      },
      onInterrupt: onInterrupt === undefined ? undefined : () => this.#guard(onInterrupt),
      trim: (object) => this.#trim(object),
      onReconnect: onReconnect === undefined ? undefined : () => this.#guard(onReconnect),
    });
  }

  /** What is known now. Empty until the first list. */
  get store(): ReadonlyStore<T> {
    return this.#store;
  }

  /** True once the first list is in the store and has been delivered. */
  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** Hears of everything in the store at once, then of each change. */
  addHandler(handler: Handler<T>): void {
    this.#handlers.push(handler);
    for (const object of this.#store.list()) this.#guard(() => handler.onAdd?.(object, true));
  }

  /**
   * Resolves when `hasSynced`.
   * @throws the signal's reason.
   */
  async whenSynced(signal?: AbortSignal): Promise<void> {
    if (this.#hasSynced) return;
    signal?.throwIfAborted();
    this.#synced ??= Promise.withResolvers();
    const { promise } = this.#synced;
    if (signal === undefined) return promise;
    const aborted = Promise.withResolvers<never>();
    const onAbort = (): void => aborted.reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.race([promise, aborted.promise]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /**
   * Follows the API server until the signal aborts, then resolves. Once only.
   * @throws Error if it has been called before.
   */
  async run(signal: AbortSignal): Promise<void> {
    if (this.#running) throw new Error(`the informer of ${this.#options.resource.plural} runs already`);
    this.#running = true;
    await this.#reflector.run(signal);
  }

  #guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#options.log.error({ resource: this.#options.resource.plural, error }, 'a handler failed');
    }
  }

  #each(call: (handler: Handler<T>) => void): void {
    for (const handler of this.#handlers) this.#guard(() => call(handler));
  }

  #trim(object: T): T {
    // The field is not in our types, and nothing here reads it: it is dead weight on every object.
    const metadata: ObjectMeta & { managedFields?: unknown } = object.metadata;
    delete metadata.managedFields;
    const { transform } = this.#options;
    if (transform === undefined) return object;
    try {
      return transform(object);
    } catch (error) {
      this.#options.log.error(
        { resource: this.#options.resource.plural, key: keyOf(object), error },
        'transform failed, the object is stored as it came',
      );
      return object;
    }
  }

  #upsert(object: T, isInitialList: boolean): void {
    const key = keyOf(object);
    const known = this.#store.get(key);
    if (known !== undefined && known.metadata.uid !== object.metadata.uid) this.#remove(key, undefined);
    const old = this.#store.set(object);
    this.#each((handler) =>
      old === undefined ? handler.onAdd?.(object, isInitialList) : handler.onUpdate?.(old, object),
    );
  }

  /** `last`: the state of the deletion; undefined where the deletion itself was missed. */
  #remove(key: string, last: T | undefined): void {
    const known = this.#store.delete(key);
    if (known === undefined) return;
    this.#each((handler) => handler.onDelete?.(last ?? known, last === undefined));
  }

  #replace(objects: readonly T[]): void {
    const gone = new Set(this.#store.keys());
    for (const object of objects) gone.delete(keyOf(object));
    for (const key of gone) this.#remove(key, undefined);
    for (const object of objects) this.#upsert(object, !this.#hasSynced);
    this.#hasSynced = true;
    this.#synced?.resolve();
  }
}
