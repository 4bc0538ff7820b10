/**
 * Objects by key, with indexes: client-go's Indexer.
 *
 * - Keys are `namespace/name`, or `name` for cluster-wide objects.
 * - Indexes are exact after every call; an object may be under several values of one index, or none.
 * - What readers get is the store's own object: never change it.
 * - Does NOT compare versions: the writer (the reflector) decides what is newer.
 */
import type { KubeObject } from './api.ts';
import { keyOf } from './core.ts';

/** The values under which an index finds an object. */
export type Indexer<T> = (object: T) => readonly string[];
export type Indexers<T> = Readonly<Record<string, Indexer<T>>>;

export interface ReadonlyStore<T> {
  readonly size: number;
  get(key: string): T | undefined;
  /** In no particular order. */
  list(): T[];
  keys(): string[];
  /**
   * The objects that the index has under `value`.
   * @throws Error for an index that does not exist.
   */
  byIndex(index: string, value: string): T[];
  /**
   * The values of an index that have at least one object.
   * @throws Error for an index that does not exist.
   */
  indexValues(index: string): string[];
}

interface Index<T> {
  readonly valuesOf: Indexer<T>;
  /** value → the object, or where there are several: key → object. Most values of a large index have one. */
  readonly entries: Map<string, T | Map<string, T>>;
}

export class Store<T extends KubeObject> implements ReadonlyStore<T> {
  readonly #objects = new Map<string, T>();
  readonly #indexes = new Map<string, Index<T>>();

  constructor(indexers: Indexers<T> = {}) {
    for (const [name, valuesOf] of Object.entries(indexers)) {
      this.#indexes.set(name, { valuesOf, entries: new Map() });
    }
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(): T[] {
    return [...this.#objects.values()];
  }

  keys(): string[] {
    return [...this.#objects.keys()];
  }

  byIndex(index: string, value: string): T[] {
    const found = this.#index(index).entries.get(value);
    return found === undefined ? [] : found instanceof Map ? [...found.values()] : [found];
  }

  indexValues(index: string): string[] {
    return [...this.#index(index).entries.keys()];
  }

  /** Adds the object or replaces the one of its key, which is returned. */
  set(object: T): T | undefined {
    const key = keyOf(object);
    const old = this.#objects.get(key);
    if (old !== undefined) this.#unindex(key, old);
    this.#objects.set(key, object);
    for (const { valuesOf, entries } of this.#indexes.values()) {
      for (const value of valuesOf(object)) {
        const found = entries.get(value);
        if (found === undefined) entries.set(value, object);
        else if (found instanceof Map) found.set(key, object);
        else {
          const both = new Map([[keyOf(found), found]]);
          entries.set(value, both.set(key, object));
        }
      }
    }
    return old;
  }

  /** Removes and returns the object of the key. */
  delete(key: string): T | undefined {
    const old = this.#objects.get(key);
    if (old === undefined) return undefined;
    this.#unindex(key, old);
    this.#objects.delete(key);
    return old;
  }

  #unindex(key: string, object: T): void {
    for (const { valuesOf, entries } of this.#indexes.values()) {
      for (const value of valuesOf(object)) {
        const found = entries.get(value);
        if (found instanceof Map) {
          found.delete(key);
          if (found.size === 0) entries.delete(value);
        } else if (found === object) entries.delete(value);
      }
    }
  }

  #index(name: string): Index<T> {
    const index = this.#indexes.get(name);
    if (index === undefined) {
      throw new Error(`no index "${name}": the store has ${[...this.#indexes.keys()].join(', ') || 'none'}`);
    }
    return index;
  }
}
