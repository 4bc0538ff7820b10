/**
 * The Kubernetes API as Berth uses it: small enough to have a second, in-memory implementation.
 *
 * Promises of every implementation (held by the contract suite, which runs against both):
 * - a call settles at the latest when its time-out or its signal says so;
 * - every rejection is an `ApiError` of `errors.ts`, the signal's reason if the caller aborted, or what `permit` threw;
 * - nothing is retried: whether to try again is the caller's decision.
 */

/** Object metadata, the part that Berth reads or writes. */
export interface ObjectMeta {
  name?: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
}

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
}

export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
}

/** One REST resource and the type of its objects. */
export interface Resource<T extends KubeObject> {
  /** "" is the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Never set: it only ties the object type to the resource for inference. */
  readonly type?: T;
}

/** Names one object. `namespace` only for namespaced resources. */
export interface ObjectKey {
  readonly namespace?: string;
  readonly name: string;
}

export interface CallOptions {
  /** Aborts the call; a write may have happened all the same. */
  readonly signal?: AbortSignal;
  /** Milliseconds until the call is given up. Defaults to the implementation's (30,000). */
  readonly timeoutMs?: number;
  /** Asked right before the first byte is written: what it throws is what the call rejects with, and nothing was sent. */
  readonly permit?: (() => void) | undefined;
}

export interface WriteOptions extends CallOptions {
  readonly subresource?: 'status';
}

export interface DeleteOptions extends CallOptions {
  /** The delete is refused with Conflict unless the object has this uid and resourceVersion. */
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
}

export interface ListOptions extends CallOptions {
  readonly namespace?: string;
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
  /** At most this many objects; the rest by `continue`. Absent: everything in one answer. */
  readonly limit?: number;
  readonly continue?: string;
  /** "0": any state the server's cache holds; absent: the most recent. */
  readonly resourceVersion?: string;
}

export interface ObjectList<T> {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: T[];
}

/** A `meta.k8s.io/v1` Table without the objects: the cheapest way to read many. */
export interface Table {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  /** Column names in order, as the CRD's printer columns have them (wide ones too). */
  readonly columns: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
}

export interface WatchOptions {
  readonly namespace?: string;
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
  /** Events after this version. */
  readonly resourceVersion: string;
  /** Seconds after which the server ends the watch; the stream then ends without an error. */
  readonly timeoutSeconds?: number;
  /** Milliseconds without any event or bookmark after which the stream ends with Unreachable. Absent: never. */
  readonly idleTimeoutMs?: number;
  readonly signal?: AbortSignal;
}

export type WatchEvent<T> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string };

/** RFC 6902, the operations that Berth uses. */
export type JsonPatchOperation =
  | { readonly op: 'test' | 'add' | 'replace'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string };

export interface Api {
  get<T extends KubeObject>(resource: Resource<T>, key: ObjectKey, options?: CallOptions): Promise<T>;
  /** One page. */
  list<T extends KubeObject>(resource: Resource<T>, options?: ListOptions): Promise<ObjectList<T>>;
  /** One page, as a Table with `includeObject=None`. */
  listTable<T extends KubeObject>(resource: Resource<T>, options?: ListOptions): Promise<Table>;
  create<T extends KubeObject>(resource: Resource<T>, object: T, options?: CallOptions): Promise<T>;
  /** PUT: replaces the object, or its status; refused with Conflict if its resourceVersion is not the present one. */
  update<T extends KubeObject>(resource: Resource<T>, object: T, options?: WriteOptions): Promise<T>;
  /** JSON patch; a failed `test` rejects with TestFailed and changes nothing. */
  patch<T extends KubeObject>(
    resource: Resource<T>,
    key: ObjectKey,
    patch: readonly JsonPatchOperation[],
    options?: WriteOptions,
  ): Promise<T>;
  delete<T extends KubeObject>(resource: Resource<T>, key: ObjectKey, options?: DeleteOptions): Promise<void>;
  /** Bookmarks are always asked for. Rejects with Expired where the version is too old (410, also as an ERROR event). */
  watch<T extends KubeObject>(resource: Resource<T>, options: WatchOptions): AsyncIterable<WatchEvent<T>>;
}
