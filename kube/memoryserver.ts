/**
 * The verbs of the in-memory API: each is one synchronous step on the store.
 *
 * - Every refusal is the `ApiError` that the same answer of a real API server would become.
 * - Does NOT know promises, time-outs or hooks: memory.ts does.
 */
import type {
  JsonPatchOperation,
  KubeObject,
  ListOptions,
  ObjectKey,
  Resource,
  Table,
  WatchOptions,
} from './api.ts';
import { errorOfAnswer, type Verb } from './apistatus.ts';
import { keyOf } from './core.ts';
import type { ApiError } from './errors.ts';
import { applyJsonPatch, jsonEqual, PatchFailed } from './jsonpatch.ts';
import {
  type Cause,
  forbiddenFinalizers,
  type MemoryResource,
  nameCauses,
  prepareCreate,
  prepareUpdate,
  textAt,
  valueAt,
} from './memoryrules.ts';
import { collectionOf, type MemoryStore } from './memorystore.ts';
import { MemoryWatch } from './memorywatch.ts';
import { parseFieldSelector, parseLabelSelector, SelectorError } from './selectors.ts';

/** One call, as hooks see it. */
export interface MemoryCall {
  readonly verb: Verb;
  readonly resource: Resource<KubeObject>;
  /** The plural, the namespace and the name: `pods/shop/web`. */
  readonly target: string;
  readonly key?: ObjectKey;
  readonly object?: KubeObject;
  readonly patch?: readonly JsonPatchOperation[];
  readonly subresource?: 'status' | undefined;
}

type Selection = Pick<ListOptions, 'namespace' | 'fieldSelector' | 'labelSelector'>;

export interface Page {
  readonly items: KubeObject[];
  readonly metadata: Table['metadata'];
}

const MODIFIED =
  'the object has been modified; please apply your changes to the latest version and try again';

function refusal(
  call: MemoryCall,
  status: number,
  reason: string,
  message: string,
  causes?: readonly Cause[],
): ApiError {
  const body = JSON.stringify({
    kind: 'Status',
    message,
    reason,
    ...(causes ? { details: { causes } } : {}),
  });
  return errorOfAnswer({ verb: call.verb, target: call.target, status, body });
}

function conflict(call: MemoryCall, message: string): ApiError {
  return refusal(call, 409, 'Conflict', `Operation cannot be fulfilled on ${call.target}: ${message}`);
}

function invalid(call: MemoryCall, causes: readonly Cause[]): ApiError {
  const text = causes.map(({ field, message }) => `${field}: ${message}`).join(', ');
  return refusal(call, 422, 'Invalid', `${call.target} is invalid: ${text}`, causes);
}

export class MemoryServer {
  readonly #store: MemoryStore;
  readonly #kinds: ReadonlyMap<string, MemoryResource>;
  readonly #now: () => number;
  readonly #pages = new Map<string, { readonly version: string; readonly rest: KubeObject[] }>();
  #tokens = 0;

  constructor(store: MemoryStore, kinds: readonly MemoryResource[], now: () => number) {
    this.#store = store;
    this.#kinds = new Map(kinds.map((kind) => [collectionOf(kind.resource), kind]));
    this.#now = now;
  }

  /** Every continue token is Expired from now on. */
  forgetPages(): void {
    this.#pages.clear();
  }

  /** @throws ApiError NotFound. */
  get(call: MemoryCall, key: ObjectKey): KubeObject {
    this.#kind(call);
    const object = this.#store.get(collectionOf(call.resource), keyOf({ metadata: key }));
    if (object === undefined) {
      throw refusal(call, 404, 'NotFound', `${call.resource.plural} "${key.name}" not found`);
    }
    return object;
  }

  /** @throws ApiError Invalid for a selector that cannot be used, Expired for an old token. */
  list(call: MemoryCall, options: ListOptions): Page {
    const matches = this.#selection(call, options);
    const pages = options.continue === undefined ? undefined : this.#pages.get(options.continue);
    if (options.continue !== undefined && pages === undefined) {
      throw refusal(
        call,
        410,
        'Expired',
        'The provided continue parameter is too old to display a consistent list',
      );
    }
    const version = pages?.version ?? String(this.#store.version);
    const all = pages?.rest ?? this.#store.list(collectionOf(call.resource)).filter(matches);
    const { limit } = options;
    if (limit === undefined || limit <= 0 || all.length <= limit) {
      return { items: structuredClone(all), metadata: { resourceVersion: version } };
    }
    this.#tokens += 1;
    const token = `page-${version}-${this.#tokens}`;
    this.#pages.set(token, { version, rest: all.slice(limit) });
    return {
      items: structuredClone(all.slice(0, limit)),
      metadata: { resourceVersion: version, continue: token },
    };
  }

  /** As `list`. */
  table(call: MemoryCall, options: ListOptions): Table {
    const { items, metadata } = this.list(call, options);
    const columns = this.#kind(call).columns ?? [{ name: 'Age', path: 'metadata.creationTimestamp' }];
    return {
      metadata,
      columns: ['Name', ...columns.map(({ name }) => name)],
      rows: items.map((item) => [
        item.metadata.name,
        ...columns.map(({ path }) => valueAt(item, path) ?? null),
      ]),
    };
  }

  /** @throws ApiError AlreadyExists, Invalid. */
  create(call: MemoryCall, object: KubeObject): KubeObject {
    const kind = this.#kind(call);
    this.#validate(call, kind, object, undefined);
    const key = keyOf(object);
    if (this.#store.get(collectionOf(call.resource), key) !== undefined) {
      const message = `${call.resource.plural} "${object.metadata.name}" already exists`;
      throw refusal(call, 409, 'AlreadyExists', message);
    }
    const stored = prepareCreate(kind, object, this.#store.newUid(), this.#time());
    return this.#store.put(collectionOf(call.resource), key, stored);
  }

  /** @throws ApiError NotFound, Conflict, Invalid. */
  update(call: MemoryCall, key: ObjectKey, object: KubeObject): KubeObject {
    const old = this.get(call, key);
    const { uid, resourceVersion } = object.metadata;
    if (resourceVersion === undefined && this.#kind(call).unconditionalUpdate !== true) {
      const message = 'Invalid value: 0: must be specified for an update';
      throw invalid(call, [{ field: 'metadata.resourceVersion', message, reason: 'FieldValueInvalid' }]);
    }
    if (uid !== undefined && uid !== old.metadata.uid) {
      throw conflict(
        call,
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid}`,
      );
    }
    if (resourceVersion !== undefined && resourceVersion !== old.metadata.resourceVersion) {
      throw conflict(call, MODIFIED);
    }
    return this.#replace(call, old, object);
  }

  /** @throws ApiError NotFound, TestFailed, Conflict, Invalid. */
  patch(call: MemoryCall, key: ObjectKey, patch: readonly JsonPatchOperation[]): KubeObject {
    const old = this.get(call, key);
    let next: KubeObject;
    try {
      // A patch can make anything of the object; what the rules need of it they look at.
      next = applyJsonPatch(old, patch) as KubeObject;
    } catch (error) {
      if (!(error instanceof PatchFailed)) throw error;
      const message = `the server rejected our request due to an error in our request (${error.message})`;
      throw refusal(call, 422, 'Invalid', message);
    }
    if (next.metadata.resourceVersion !== old.metadata.resourceVersion) throw conflict(call, MODIFIED);
    return this.#replace(call, old, next);
  }

  /** @throws ApiError NotFound, Conflict. */
  delete(call: MemoryCall, key: ObjectKey, preconditions: { uid?: string; resourceVersion?: string }): void {
    const collection = collectionOf(call.resource);
    const old = this.get(call, key);
    const { finalizers = [], deletionTimestamp, generation } = old.metadata;
    for (const field of ['uid', 'resourceVersion'] as const) {
      const wanted = preconditions[field];
      if (wanted !== undefined && wanted !== old.metadata[field]) {
        throw conflict(
          call,
          `Precondition failed: ${field} in precondition: ${wanted}, in object: ${old.metadata[field]}`,
        );
      }
    }
    if (finalizers.length === 0) {
      this.#store.remove(collection, keyOf(old), old);
    } else if (deletionTimestamp === undefined) {
      old.metadata.deletionTimestamp = this.#time();
      if (generation !== undefined) old.metadata.generation = generation + 1;
      this.#store.put(collection, keyOf(old), old);
    }
  }

  /** A watch with everything that it has missed queued. @throws ApiError Expired, Invalid. */
  watch(call: MemoryCall, options: WatchOptions, held: boolean): MemoryWatch {
    const collection = collectionOf(call.resource);
    const matches = this.#selection(call, options);
    if (options.resourceVersion === '0' || options.resourceVersion === '') {
      const watch = new MemoryWatch(collection, 0, matches, held);
      for (const object of this.#store.list(collection).filter(matches))
        watch.push({ type: 'ADDED', object });
      return watch;
    }
    const version = Number(options.resourceVersion);
    if (!Number.isSafeInteger(version)) {
      throw refusal(call, 400, 'BadRequest', `invalid resource version "${options.resourceVersion}"`);
    }
    if (version < this.#store.compacted) {
      throw refusal(call, 410, 'Expired', `too old resource version: ${version} (${this.#store.compacted})`);
    }
    const watch = new MemoryWatch(collection, version, matches, held);
    for (const change of this.#store.since(version)) watch.offer(change);
    return watch;
  }

  /** The rest of an update or patch: what the rules make of it, and what it does to the store. */
  #replace(call: MemoryCall, old: KubeObject, next: KubeObject): KubeObject {
    const collection = collectionOf(call.resource);
    const kind = this.#kind(call);
    const { subresource } = call;
    if (subresource === 'status' && kind.statusSubresource !== true) {
      throw refusal(call, 404, 'NotFound', 'the server could not find the requested resource');
    }
    const stored = prepareUpdate(kind, old, next, subresource);
    this.#validate(call, kind, stored, old);
    const [added] = forbiddenFinalizers(old, stored);
    if (added !== undefined) {
      const message = `Forbidden: no new finalizers can be added if the object is being deleted, found new finalizer "${added}"`;
      throw invalid(call, [{ field: 'metadata.finalizers', message, reason: 'FieldValueForbidden' }]);
    }
    if (jsonEqual(stored, old)) return old;
    const { deletionTimestamp, finalizers = [] } = stored.metadata;
    if (deletionTimestamp !== undefined && finalizers.length === 0) {
      return this.#store.remove(collection, keyOf(old), stored);
    }
    return this.#store.put(collection, keyOf(old), stored);
  }

  #validate(call: MemoryCall, kind: MemoryResource, object: KubeObject, old: KubeObject | undefined): void {
    const causes = [...nameCauses(object.metadata.name ?? ''), ...(kind.validate?.(object, old) ?? [])];
    if (causes.length > 0) throw invalid(call, causes);
  }

  #kind(call: MemoryCall): MemoryResource {
    const kind = this.#kinds.get(collectionOf(call.resource));
    if (kind === undefined) {
      throw refusal(call, 404, 'NotFound', 'the server could not find the requested resource');
    }
    return kind;
  }

  #selection(call: MemoryCall, options: Selection): (object: KubeObject) => boolean {
    const { namespace, fieldSelector, labelSelector } = options;
    const { selectableFields = [] } = this.#kind(call);
    try {
      const fields = parseFieldSelector(fieldSelector ?? '', [
        'metadata.name',
        'metadata.namespace',
        ...selectableFields,
      ]);
      const labels = parseLabelSelector(labelSelector ?? '');
      return (object) =>
        (namespace === undefined || object.metadata.namespace === namespace) &&
        fields((path) => textAt(object, path)) &&
        labels(object.metadata.labels ?? {});
    } catch (error) {
      if (!(error instanceof SelectorError)) throw error;
      throw refusal(call, 400, 'BadRequest', error.message);
    }
  }

  #time(): string {
    return `${new Date(this.#now()).toISOString().slice(0, 19)}Z`;
  }
}
