/**
 * Kubernetes Events about objects, for people who run `kubectl describe`.
 *
 * - core/v1, not events.k8s.io/v1: both are the same objects in storage, and core/v1's count and lastTimestamp
 *   are what kubectl shows and sorts by; a repeated event is one patch of these two.
 * - The same event (object, type, reason, message) again is counted on the event that is there. Of a series, whose
 *   messages differ (counts, other names), the event that is there gets the newest message too.
 * - Rate-limited per object: a burst of 25, then one in five minutes (client-go's spam filter). What is over is dropped.
 * - `event` never throws, never waits and makes no promise: failures are logged, a full queue drops.
 * - Does NOT survive the process, and does NOT retry: an event is help, not state.
 */
import type { Api, KubeObject, Resource } from './api.ts';
import type { Clock, Random } from './clock.ts';
import { type Event, events, type ObjectReference } from './core.ts';
import { isApiError } from './errors.ts';
import type { Log } from './log.ts';
import { apiVersionOf } from './paths.ts';

export interface EventRecorderOptions {
  readonly api: Api;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Shown as the event's source: `berth-operator`. */
  readonly component: string;
  /** The pod or host that reports. */
  readonly instance?: string | undefined;
  /** Events of one object at once. Defaults to 25. */
  readonly burst?: number | undefined;
  /** Milliseconds until an object may have one more. Defaults to 300,000. */
  readonly refillMs?: number | undefined;
}

/** Events that wait to be sent; more are dropped. */
const MAX_PENDING = 1000;
/** Events and objects that are remembered, the least recently used go first. */
const MAX_REMEMBERED = 4096;
const MAX_MESSAGE = 1024;
/** Leaves room for the suffix in the 253 characters of a name. */
const MAX_NAME_PREFIX = 220;

interface Sent {
  readonly name: string;
  readonly count: number;
}

interface Bucket {
  readonly tokens: number;
  readonly at: number;
}

/** What few Events need. */
export interface EventExtras {
  /** What the messages have in common that are one event; absent: all of the message. */
  readonly series?: string | undefined;
  /** Another object that it is about, for programs. */
  readonly related?: ObjectReference | undefined;
}

/** A reference to an object, for `event`. */
export function referenceTo<T extends KubeObject>(resource: Resource<T>, object: T): ObjectReference {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  return {
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    ...(namespace === undefined ? {} : { namespace }),
    ...(name === undefined ? {} : { name }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
}

export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #sent = new Map<string, Sent>();
  readonly #buckets = new Map<string, Bucket>();
  #pending = 0;
  #dropped = 0;
  /** Events are sent one after the other; this is the end of the last. It never rejects. */
  #tail: Promise<void> = Promise.resolve();

  constructor(options: EventRecorderOptions) {
    this.#options = options;
  }

  /** Events that were dropped for their object's rate or a full queue. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Reports something about an object. `reason` is a CamelCase word, `message` a sentence. */
  event(
    about: ObjectReference,
    type: Event['type'],
    reason: string,
    message: string,
    extras: EventExtras = {},
  ): void {
    if (this.#pending >= MAX_PENDING || !this.#take(about)) {
      this.#dropped += 1;
      this.#options.log.debug({ about, reason }, 'event dropped');
      return;
    }
    this.#pending += 1;
    const text = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE - 1)}…` : message;
    this.#tail = this.#tail.then(() => this.#send(about, type, reason, text, extras));
  }

  /** Resolves when everything reported so far has been sent or has failed. */
  flush(): Promise<void> {
    return this.#tail;
  }

  async #send(
    about: ObjectReference,
    type: Event['type'],
    reason: string,
    message: string,
    { series, related }: EventExtras,
  ): Promise<void> {
    const { log } = this.#options;
    const same = series === undefined ? { message } : { series };
    const key = JSON.stringify([about.kind, about.namespace, about.name, about.uid, type, reason, same]);
    try {
      const known = this.#sent.get(key);
      const sent =
        (known === undefined ? undefined : await this.#again(about, known, message)) ??
        (await this.#first(about, { type, reason, message, ...(related && { related }) }));
      remember(this.#sent, key, sent);
    } catch (error) {
      log.warn({ about, reason, message, error }, 'cannot record an event');
    } finally {
      this.#pending -= 1;
    }
  }

  async #first(
    about: ObjectReference,
    told: Pick<Event, 'type' | 'reason' | 'message' | 'related'>,
  ): Promise<Sent> {
    const { api, clock, random, component, instance } = this.#options;
    const now = this.#now();
    const unique = `${clock.now().toString(16)}${Math.floor(random() * 0xffffff)
      .toString(16)
      .padStart(6, '0')}`;
    const name = `${(about.name ?? 'unnamed').slice(0, MAX_NAME_PREFIX)}.${unique}`;
    await api.create(events, {
      metadata: { namespace: namespaceOf(about), name },
      involvedObject: about,
      ...told,
      count: 1,
      firstTimestamp: now,
      lastTimestamp: now,
      source: { component, ...(instance === undefined ? {} : { host: instance }) },
      reportingComponent: component,
      ...(instance === undefined ? {} : { reportingInstance: instance }),
    });
    return { name, count: 1 };
  }

  /** Counts the event that is there; undefined if it is gone (the API server keeps events for an hour). */
  async #again(about: ObjectReference, known: Sent, message: string): Promise<Sent | undefined> {
    const count = known.count + 1;
    try {
      await this.#options.api.patch(events, { namespace: namespaceOf(about), name: known.name }, [
        { op: 'add', path: '/count', value: count },
        { op: 'add', path: '/lastTimestamp', value: this.#now() },
        { op: 'add', path: '/message', value: message },
      ]);
      return { name: known.name, count };
    } catch (error) {
      if (isApiError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  #take(about: ObjectReference): boolean {
    const { clock, burst = 25, refillMs = 300_000 } = this.#options;
    const key = JSON.stringify([about.kind, about.namespace, about.name, about.uid]);
    const now = clock.monotonic();
    const bucket = this.#buckets.get(key) ?? { tokens: burst, at: now };
    const tokens = Math.min(burst, bucket.tokens + (now - bucket.at) / refillMs);
    const enough = tokens >= 1;
    remember(this.#buckets, key, { tokens: enough ? tokens - 1 : tokens, at: now });
    return enough;
  }

  #now(): string {
    return `${new Date(this.#options.clock.now()).toISOString().slice(0, 19)}Z`;
  }
}

/** Events about cluster-wide objects live in "default": the API server refuses any other namespace. */
function namespaceOf(about: ObjectReference): string {
  return about.namespace ?? 'default';
}

/** Sets the entry as the most recently used one, and forgets the least recently used. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= MAX_REMEMBERED) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}
