/**
 * Keeps a sink equal to a collection in the API server: list, then watch from the list's version.
 *
 * - The sink sees every change after the list, in order; what it missed while the watch was away comes with
 *   a new list, which replaces everything (deletions included).
 * - A watch that ends or breaks is taken up from the last version seen, bookmarks included. 410 Expired and silence
 *   (neither event nor bookmark for `idleTimeoutMs`) lead to a new list.
 * - So does, after a watch that broke, an API server that went back in time (an etcd restored from a snapshot, which
 *   answers a watch from the future with silence): its version is older than what was seen, or the newest change that was
 *   seen is not there any more. The latter may also be somebody's new change; the list is then for nothing.
 * - Where neither shows, the watch after one that broke is followed by a list too, 5 to 10 minutes later: not all at once.
 * - Failures are waited out with exponential backoff and jitter, 0.8 s to 30 s, from the start again
 *   after a watch that delivered something.
 * - `run` ends as soon as its signal aborts, and leaves no timer and no connection behind.
 * - Does NOT promise every intermediate state: a new list may skip some. It does NOT resync periodically.
 */
import { isAborted, pause } from './abort.ts';
import type { Api, KubeObject, Resource, WatchEvent } from './api.ts';
import { Backoff } from './backoff.ts';
import type { Clock, Random } from './clock.ts';
import { isOlderVersion } from './core.ts';
import { isApiError, retryAfterOf } from './errors.ts';
import type { Log } from './log.ts';

/** What a reflector fills. Its methods must not throw. */
export interface ReflectorSink<T> {
  /** These are all objects there are. */
  replace(objects: readonly T[]): void;
  /** The object is new or changed. */
  upsert(object: T): void;
  /** The object is gone; this is its last state. */
  remove(object: T): void;
}

export interface ReflectorOptions<T extends KubeObject> {
  readonly api: Api;
  readonly resource: Resource<T>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly sink: ReflectorSink<T>;
  /** Applied to each object as it comes, to those of a list page by page: the whole is never in memory. Must not throw. */
  readonly trim?: ((object: T) => T) | undefined;
  readonly namespace?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly labelSelector?: string | undefined;
  /** Objects per page of a list. Defaults to 500. */
  readonly pageSize?: number | undefined;
  /** Milliseconds of silence after which a watch is given up. Defaults to 90,000: the API server sends a bookmark about every minute. */
  readonly idleTimeoutMs?: number | undefined;
  /** Called when a list or a watch has failed; a watch that the server ends in good order is no failure. Must not throw. */
  readonly onInterrupt?: (() => void) | undefined;
  /** Called before each watch but the first, when the API server has answered again. Must not throw. */
  readonly onReconnect?: (() => void) | undefined;
}

const LIST_TIMEOUT_MS = 60_000;
/** Seconds; each watch lasts this to twice this, so that not all end at once. */
const MIN_WATCH_SECONDS = 300;
/** A watch that ends sooner than this (milliseconds) with nothing to say is a failure, not an end. */
const SHORT_WATCH_MS = 1000;

export class Reflector<T extends KubeObject> {
  readonly #options: ReflectorOptions<T>;
  readonly #selection: { namespace?: string; fieldSelector?: string; labelSelector?: string };
  readonly #backoff: Backoff;
  readonly #idleTimeoutMs: number;
  /** Where to watch from; undefined: list first. */
  #version: string | undefined;
  /** The newest change that was seen: what a restore from a snapshot loses first. */
  #newest: Seen | undefined;
  #watchedBefore = false;
  /** The last watch broke: the server behind the connection may have lost its memory. */
  #suspicious = false;

  constructor(options: ReflectorOptions<T>) {
    const { namespace, fieldSelector, labelSelector } = options;
    this.#options = options;
    this.#selection = {
      ...(namespace === undefined ? {} : { namespace }),
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
      ...(labelSelector === undefined ? {} : { labelSelector }),
    };
    this.#backoff = new Backoff({ initialMs: 800, maxMs: 30_000 }, options.random);
    this.#idleTimeoutMs = options.idleTimeoutMs ?? 90_000;
  }

  /** Resolves when the signal has aborted; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, resource } = this.#options;
    while (!signal.aborted) {
      try {
        await this.#listAndWatch(signal);
      } catch (error) {
        if (isAborted(signal)) return;
        this.#options.onInterrupt?.();
        const delayMs = this.#delayAfter(error);
        log.warn({ resource: resource.plural, error, delayMs }, 'list or watch failed, trying again');
        await pause(clock, delayMs, signal);
      }
    }
  }

  #delayAfter(error: unknown): number {
    if (isApiError(error, 'Expired')) this.#version = undefined;
    this.#suspicious = true;
    // On top of what the server asks for: all whose watch it ended must not come back at the same time.
    return retryAfterOf(error) + this.#backoff.next();
  }

  async #listAndWatch(signal: AbortSignal): Promise<void> {
    if (this.#version !== undefined && this.#suspicious) await this.#checkVersion(this.#version, signal);
    const isTakenUp = this.#version !== undefined && this.#suspicious;
    const version = this.#version ?? (await this.#list(signal));
    this.#version = version;
    this.#suspicious = false;
    if (this.#watchedBefore) this.#options.onReconnect?.();
    this.#watchedBefore = true;
    await this.#watch(version, signal);
    // A restored API server that was written to before it was asked gives versions that were seen to other changes.
    if (isTakenUp) this.#version = undefined;
  }

  /** Forgets the version if the server's present one is older, or the newest change is lost: it may have been restored. */
  async #checkVersion(version: string, signal: AbortSignal): Promise<void> {
    const { api, resource, log } = this.#options;
    const { namespace, name } = this.#newest ?? {};
    const fields = [this.#selection.fieldSelector, name && `metadata.name=${name}`].filter(Boolean);
    const { metadata, items } = await api.list(resource, {
      ...this.#selection,
      ...(namespace !== undefined && { namespace }),
      ...(fields.length > 0 && { fieldSelector: fields.join(',') }),
      limit: 1,
      signal,
    });
    const { resourceVersion } = metadata;
    if (!isOlderVersion(resourceVersion, version) && !isLost(this.#newest, items, version)) return;
    log.warn(
      { resource: resource.plural, seen: version, now: resourceVersion, newest: this.#newest },
      'the API server went back in time, or the newest change was followed by another: listing again',
    );
    this.#version = undefined;
  }

  /** Replaces the sink's content; returns the version of the list. */
  async #list(signal: AbortSignal): Promise<string> {
    const { api, resource, sink, trim = (object: T): T => object, pageSize = 500 } = this.#options;
    let objects: T[] = [];
    let newest: Seen | undefined;
    let limit: number | undefined = pageSize;
    let next: string | undefined;
    for (;;) {
      try {
        const page = await api.list(resource, {
          ...this.#selection,
          signal,
          timeoutMs: LIST_TIMEOUT_MS,
          ...(limit === undefined ? {} : { limit }),
          ...(next === undefined ? {} : { continue: next }),
        });
        for (const object of page.items) {
          newest = newer(newest, seen(object, false));
          objects.push(trim(object));
        }
        next = page.metadata.continue === '' ? undefined : page.metadata.continue;
        if (next === undefined) {
          this.#newest = newest;
          sink.replace(objects);
          return page.metadata.resourceVersion;
        }
      } catch (error) {
        if (next === undefined || !isApiError(error, 'Expired')) throw error;
        // The pages took longer than the server remembers: everything in one answer cannot expire.
        objects = [];
        newest = undefined;
        limit = undefined;
        next = undefined;
      }
    }
  }

  async #watch(from: string, signal: AbortSignal): Promise<void> {
    const { api, clock, random, resource } = this.#options;
    const started = clock.monotonic();
    let heardAt = started;
    let heard = false;
    try {
      const events = api.watch(resource, {
        ...this.#selection,
        resourceVersion: from,
        timeoutSeconds: Math.round(MIN_WATCH_SECONDS * (1 + random())),
        idleTimeoutMs: this.#idleTimeoutMs,
        signal,
      });
      for await (const event of events) {
        if (!heard) this.#backoff.reset();
        heard = true;
        heardAt = clock.monotonic();
        this.#apply(event);
      }
    } catch (error) {
      if (clock.monotonic() - heardAt >= this.#idleTimeoutMs) this.#version = undefined;
      throw error;
    }
    if (!heard && clock.monotonic() - started < SHORT_WATCH_MS) {
      throw new Error(`watch ${resource.plural}: very short watch: ended at once without an event`);
    }
    this.#backoff.reset();
  }

  #apply(event: WatchEvent<T>): void {
    const { sink, trim = (object: T): T => object } = this.#options;
    if (event.type !== 'BOOKMARK') this.#newest = seen(event.object, event.type === 'DELETED');
    if (event.type === 'DELETED') sink.remove(trim(event.object));
    else if (event.type !== 'BOOKMARK') sink.upsert(trim(event.object));
    this.#version = versionOf(event) ?? this.#version;
  }
}

/** A change as it was seen. */
interface Seen {
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly uid: string | undefined;
  readonly version: string;
  readonly isDeletion: boolean;
}

function seen({ metadata }: KubeObject, isDeletion: boolean): Seen {
  const { namespace, name, uid, resourceVersion = '' } = metadata;
  return { namespace, name, uid, version: resourceVersion, isDeletion };
}

function newer(a: Seen | undefined, b: Seen): Seen {
  return a === undefined || isOlderVersion(a.version, b.version) ? b : a;
}

/**
 * True if the change has not happened by what the API server has now.
 * @param items what it has under the name
 * @param version up to which every change was seen, this one being the last
 */
function isLost(newest: Seen | undefined, items: readonly KubeObject[], version: string): boolean {
  if (newest === undefined) return items.some((item) => isUnseen(item, version));
  const same = items.find(({ metadata }) => metadata.uid === newest.uid);
  if (newest.isDeletion) return same !== undefined || items.some((item) => isUnseen(item, version));
  return same === undefined || isOlderVersion(same.metadata.resourceVersion ?? '', newest.version);
}

/** True for what is where nothing was at a version that was seen since: versions were given twice. */
function isUnseen({ metadata }: KubeObject, version: string): boolean {
  return !isOlderVersion(version, metadata.resourceVersion ?? '');
}

function versionOf<T extends KubeObject>(event: WatchEvent<T>): string | undefined {
  return event.type === 'BOOKMARK' ? event.resourceVersion : event.object.metadata.resourceVersion;
}
