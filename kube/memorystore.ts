/**
 * The state of the in-memory API: objects, versions and the history that watches are served from.
 *
 * - Synchronous and deterministic: versions and uids are counters, objects are kept as JSON text, and what
 *   goes in or comes out is always a copy.
 * - One version counter for all resources, as in etcd.
 * - Does NOT know HTTP, errors or verbs: memory.ts does.
 */
import type { KubeObject, Resource } from './api.ts';

/** One change, as the history keeps it. */
export interface Change {
  readonly version: number;
  readonly collection: string;
  readonly before: string | undefined;
  /** undefined: deleted. */
  readonly after: string | undefined;
}

/** A frozen copy of the state, as an etcd snapshot. */
export interface Snapshot {
  readonly version: number;
  readonly objects: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

/** Tells collections apart. */
export function collectionOf(resource: Resource<KubeObject>): string {
  return `${resource.plural}.${resource.group}`;
}

export function decode(text: string): KubeObject {
  // Only what `put` encoded from a KubeObject is ever decoded.
  return JSON.parse(text) as KubeObject;
}

export class MemoryStore {
  readonly #objects = new Map<string, Map<string, string>>();
  #history: Change[] = [];
  readonly #historyLimit: number;
  #version = 1;
  #compacted = 0;
  #uids = 0;
  readonly #stride: () => number;
  readonly #onChange: (change: Change) => void;

  /** `stride`: how far the next version is from the last one; 1 or more. */
  constructor(historyLimit: number, stride: () => number, onChange: (change: Change) => void) {
    this.#historyLimit = historyLimit;
    this.#stride = stride;
    this.#onChange = onChange;
  }

  /** The version of the latest change of any resource. */
  get version(): number {
    return this.#version;
  }

  /** Watches and pages from before this version are gone. */
  get compacted(): number {
    return this.#compacted;
  }

  newUid(): string {
    this.#uids += 1;
    return `00000000-0000-4000-8000-${this.#uids.toString(16).padStart(12, '0')}`;
  }

  get(collection: string, key: string): KubeObject | undefined {
    const text = this.#objects.get(collection)?.get(key);
    return text === undefined ? undefined : decode(text);
  }

  /** In the order of their keys, as etcd. */
  list(collection: string): KubeObject[] {
    const objects = this.#objects.get(collection) ?? new Map<string, string>();
    return [...objects.keys()].toSorted(compareKeys).map((key) => decode(objects.get(key) ?? '{}'));
  }

  /** Stores the object under the next version, which it carries from then on. */
  put(collection: string, key: string, object: KubeObject): KubeObject {
    let objects = this.#objects.get(collection);
    if (objects === undefined) {
      objects = new Map();
      this.#objects.set(collection, objects);
    }
    const before = objects.get(key);
    const version = this.#version + this.#stride();
    const after = withVersion(object, version);
    objects.set(key, after);
    this.#record({ version, collection, before, after });
    return decode(after);
  }

  /** Removes the object; its last state is recorded as given. */
  remove(collection: string, key: string, last: KubeObject): KubeObject {
    this.#objects.get(collection)?.delete(key);
    const version = this.#version + this.#stride();
    const before = withVersion(last, version);
    this.#record({ version, collection, before, after: undefined });
    return decode(before);
  }

  /** The changes after a version, oldest first. */
  since(version: number): readonly Change[] {
    return this.#history.filter((change) => change.version > version);
  }

  /** Forgets the history. */
  compact(): void {
    this.#history = [];
    this.#compacted = this.#version;
  }

  snapshot(): Snapshot {
    const objects = new Map([...this.#objects].map(([name, entries]) => [name, new Map(entries)]));
    return { version: this.#version, objects };
  }

  /** Goes back in time: versions after `version` are given again. Uids are not: the real ones are random. */
  restore(snapshot: Snapshot, version: number): void {
    this.#objects.clear();
    for (const [name, entries] of snapshot.objects) this.#objects.set(name, new Map(entries));
    this.#version = version;
    this.#history = [];
    this.#compacted = version;
  }

  #record(change: Change): void {
    this.#version = change.version;
    this.#history.push(change);
    if (this.#history.length > this.#historyLimit) {
      const dropped = this.#history.splice(0, Math.ceil(this.#historyLimit / 2));
      this.#compacted = dropped.at(-1)?.version ?? this.#compacted;
    }
    this.#onChange(change);
  }
}

function withVersion(object: KubeObject, version: number): string {
  return JSON.stringify({ ...object, metadata: { ...object.metadata, resourceVersion: String(version) } });
}

/** By code unit, as etcd orders bytes of ASCII names; independent of the locale. */
function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
