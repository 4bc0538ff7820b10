/**
 * One watch of the in-memory API: an explicit queue of events.
 *
 * - Events are delivered in order. A held watch keeps them until it is released, one by one or all.
 * - Ends, failures and bookmarks take their turn in the same queue.
 */
import type { KubeObject, WatchEvent } from './api.ts';
import { type Change, decode } from './memorystore.ts';

type Item = { readonly event: WatchEvent<KubeObject> } | { readonly end: true } | { readonly error: unknown };

export class MemoryWatch {
  readonly #collection: string;
  /** The latest version that it has been offered; at first the one after which it begins. */
  #seen: number;
  readonly #matches: (object: KubeObject) => boolean;
  readonly #queue: Item[] = [];
  #deliverable = 0;
  #held: boolean;
  #wake: (() => void) | undefined;
  #aborted: { readonly reason: unknown } | undefined;

  /** `from`: the version after which the watch begins, which may lie in the future. */
  constructor(collection: string, from: number, matches: (object: KubeObject) => boolean, held: boolean) {
    this.#collection = collection;
    this.#seen = from;
    this.#matches = matches;
    this.#held = held;
  }

  /** Queues what the change means for this watch's selection; nothing if it means nothing. */
  offer(change: Change): void {
    if (change.version <= this.#seen) return;
    this.#seen = change.version;
    if (change.collection !== this.#collection) return;
    const before = change.before === undefined ? undefined : decode(change.before);
    const after = change.after === undefined ? undefined : decode(change.after);
    const matchedBefore = before !== undefined && this.#matches(before);
    if (after !== undefined && this.#matches(after)) {
      this.push({ type: matchedBefore ? 'MODIFIED' : 'ADDED', object: after });
    } else if (before !== undefined && matchedBefore) {
      // The last state that matched, at the version at which it ceased to.
      before.metadata.resourceVersion = String(change.version);
      this.push({ type: 'DELETED', object: before });
    }
  }

  /** Says which version the server has; not of one that lies before what it has delivered. */
  bookmark(version: number): void {
    if (version < this.#seen) return;
    this.#seen = version;
    this.push({ type: 'BOOKMARK', resourceVersion: String(version) });
  }

  push(event: WatchEvent<KubeObject>): void {
    this.#add({ event });
  }

  /** The server ends the watch, without an error. */
  end(): void {
    this.#add({ end: true });
  }

  /** The watch breaks. */
  fail(error: unknown): void {
    this.#add({ error });
  }

  /** The reader gives up: `next` throws at once, whatever is queued. */
  abort(reason: unknown): void {
    this.#aborted ??= { reason };
    this.#notify();
  }

  /** Nothing more is delivered until `release`. */
  hold(): void {
    this.#held = true;
    this.#deliverable = 0;
  }

  /** Delivers the next `count` queued items, or everything from now on. */
  release(count?: number): void {
    if (count === undefined) {
      this.#held = false;
    } else {
      this.#deliverable += count;
    }
    this.#notify();
  }

  /** The next event; undefined when the server ended the watch. */
  async next(): Promise<WatchEvent<KubeObject> | undefined> {
    for (;;) {
      if (this.#aborted !== undefined) throw this.#aborted.reason;
      const item = this.#held && this.#deliverable === 0 ? undefined : this.#queue.shift();
      if (item !== undefined) {
        if (this.#held) this.#deliverable -= 1;
        if ('error' in item) throw item.error;
        return 'end' in item ? undefined : item.event;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #add(item: Item): void {
    this.#queue.push(item);
    this.#notify();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
