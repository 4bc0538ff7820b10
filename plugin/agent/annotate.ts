/**
 * Showing a pod its addresses: the annotation `ipam.berth.dev/addresses`, for network configurations that ask for it.
 *
 * - JSON by interface, `{"net1": ["10.20.1.7/16", "fd00::7/64"]}`, made of this node's journal: one write has the whole
 *   value, so that interfaces do not overwrite each other's.
 * - In the background, after the ADD or DEL: it never waits for this and never fails of it. Changes of one pod that come
 *   together are one write.
 * - Level-based: what a pod has is compared with what it should have whenever its attachments or the annotation change, and
 *   when the agent starts. A failure is tried again with backoff.
 * - The patch tests the pod's UID: a pod of the same name is somebody else.
 * - Patching pods needs a role that is opted into (config/rbac/optional/). Without it that is said once in the log and on
 *   each pod, and tried again now and then.
 */
import type { Api, JsonPatchOperation } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { done, type Outcome, runController } from '../../kube/controller.ts';
import { hasUid, pods } from '../../kube/core.ts';
import { isApiError } from '../../kube/errors.ts';
import type { Log } from '../../kube/log.ts';
import { RateLimitingQueue } from '../../kube/workqueue.ts';
import { ADDRESSES_ANNOTATION } from './annotations.ts';
import { resultFromClaims } from './answer.ts';
import type { Journal } from './journal.ts';
import type { OwnerResolver, PodFacts } from './owners.ts';
import type { PodEvents } from './podevents.ts';
import type { PoolTable } from './pools.ts';
import type { Attachment, JournalRecord, State } from './state.ts';

/** Milliseconds between tries of one pod: first and longest. */
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;
/** Milliseconds between tries of a pod that the agent may not patch. */
export const FORBIDDEN_RETRY_MS = 300_000;
/** Milliseconds for one write. */
const WRITE_TIMEOUT_MS = 10_000;
/** The `reason` of the Event where the role is missing. */
export const FORBIDDEN_REASON = 'AnnotationForbidden';

export interface AnnotatorOptions {
  readonly api: Api;
  readonly clock: Clock;
  readonly log: Log;
  readonly journal: Journal;
  readonly pools: PoolTable;
  readonly owners: Pick<OwnerResolver, 'livePod'>;
  readonly events: Pick<PodEvents, 'warn'>;
  readonly cachedPod: (namespace: string, name: string) => PodFacts | undefined;
}

export class Annotator {
  readonly #options: AnnotatorOptions;
  readonly #queue: RateLimitingQueue;
  /** Keys of pods that could not be patched for want of the role. */
  readonly #forbidden = new Set<string>();
  #hasWarned = false;

  constructor(options: AnnotatorOptions) {
    this.#options = options;
    this.#queue = new RateLimitingQueue({
      clock: options.clock,
      baseDelayMs: FIRST_RETRY_MS,
      maxDelayMs: LONGEST_RETRY_MS,
    });
  }

  /** The pod's annotation, or what it should be, may have changed. */
  look(namespace: string, name: string): void {
    this.#queue.add(`${namespace}/${name}`);
  }

  /** Works until the signal aborts, beginning with every pod of the journal: a write may have been due when the agent died. */
  async run(signal: AbortSignal): Promise<void> {
    const { journal, log, clock } = this.#options;
    for (const { owner, annotate } of journal.state.attachments.values()) {
      if (annotate === true && owner.namespace !== undefined && owner.name !== undefined) {
        this.look(owner.namespace, owner.name);
      }
    }
    const reconcile = (key: string, stop: AbortSignal): Promise<Outcome> => this.#reconcile(key, stop);
    await runController(
      { name: 'annotations', queue: this.#queue, workers: 2, reconcile, log, clock },
      signal,
    );
  }

  async #reconcile(key: string, signal: AbortSignal): Promise<Outcome> {
    const [namespace = '', name = ''] = key.split('/');
    const cached = this.#options.cachedPod(namespace, name);
    try {
      const isDone = cached !== undefined && (await this.#bring(cached, signal));
      if (!isDone) {
        // The watch is behind: the pod is new, gone, another one, or has annotations that were not there.
        const live = await this.#options.owners.livePod(namespace, name);
        if (live !== undefined && !(await this.#bring(live, signal))) {
          throw new Error(`pod ${key} changes while it is annotated`);
        }
      }
    } catch (error) {
      if (!isApiError(error, 'Forbidden')) {
        throw error;
      }
      this.#warn(key, error);
      return { type: 'requeueAfter', ms: FORBIDDEN_RETRY_MS };
    }
    this.#forbidden.delete(key);
    return done;
  }

  /** @returns false if the pod is not as `pod` has it */
  async #bring(pod: PodFacts, signal: AbortSignal): Promise<boolean> {
    const { api, journal, pools } = this.#options;
    const present = pod.annotations[ADDRESSES_ANNOTATION];
    const wanted = addressesOf(pod, journal.state, (pool) => pools.entries.get(pool)?.pool);
    // What is going away takes its annotation along.
    if (present === wanted || pod.isTerminating) {
      return true;
    }
    try {
      const key = { namespace: pod.namespace, name: pod.name };
      await api.patch(pods, key, patchFor(pod, wanted), { signal, timeoutMs: WRITE_TIMEOUT_MS });
    } catch (error) {
      if (isApiError(error, 'NotFound', 'TestFailed')) {
        return false;
      }
      throw error;
    }
    this.#allowed();
    return true;
  }

  #warn(key: string, error: unknown): void {
    const { log, events } = this.#options;
    const [namespace, name] = key.split('/');
    const message =
      'the addresses of pods can not be shown in their annotations: the agent may not patch pods; apply config/rbac/optional/agent-annotate-pods.yaml, or remove ipam.annotatePod';
    if (!this.#hasWarned) {
      this.#hasWarned = true;
      log.warn({ pod: key, error }, message);
    }
    if (!this.#forbidden.has(key)) {
      this.#forbidden.add(key);
      events.warn({ namespace, name }, FORBIDDEN_REASON, ADDRESSES_ANNOTATION, message);
    }
  }

  /** The role is there: whoever waits for it need not wait any longer. */
  #allowed(): void {
    this.#hasWarned = false;
    for (const key of this.#forbidden) {
      this.#queue.add(key);
    }
    this.#forbidden.clear();
  }
}

/**
 * The journal, of which every record that changes what a pod should show is told.
 * @param look as `Annotator.look`; called when the record is written
 */
export function watched(journal: Journal, look: (namespace: string, name: string) => void): Journal {
  return {
    state: journal.state,
    append: (record) => {
      const changed = concerned(journal.state, record);
      journal.append(record);
      for (const { namespace, name } of changed.map(({ owner }) => owner)) {
        if (namespace !== undefined && name !== undefined) {
          look(namespace, name);
        }
      }
    },
    close: () => journal.close(),
  };
}

/** The attachments with an annotation that the record brings or ends. */
function concerned({ attachments }: State, record: JournalRecord): Attachment[] {
  if (record.t === 'bound') {
    return [record.attachment, attachments.get(record.replaces ?? '')].filter(mayBeShown);
  }
  const isEnd = record.t === 'release' || record.t === 'dropped';
  return isEnd ? [attachments.get(record.key)].filter(mayBeShown) : [];
}

/** What was adopted from the API has neither an answer nor a word on whether it is to be shown. */
function mayBeShown(attachment: Attachment | undefined): attachment is Attachment {
  return attachment !== undefined && (attachment.annotate === true || attachment.result === undefined);
}

/**
 * The annotation that the pod should have; undefined: none. Of an attachment that was adopted from the API nobody knows
 * whether it is to be shown: it stays if it is.
 */
function addressesOf(
  pod: PodFacts,
  { attachments }: State,
  poolOf: Parameters<typeof resultFromClaims>[1],
): string | undefined {
  const present = interfacesOf(pod.annotations[ADDRESSES_ANNOTATION]);
  const own = [...attachments.values()]
    .filter(({ owner }) => owner.namespace === pod.namespace && owner.name === pod.name)
    .filter(({ owner }) => owner.uid !== undefined && hasUid(pod, owner.uid))
    .filter(
      ({ annotate, result, owner }) =>
        annotate === true || (result === undefined && present.has(owner.ifname)),
    )
    .toSorted((a, b) => a.addedAt - b.addedAt);
  // Of two sandboxes' interfaces of one name the newer one counts.
  const shown = new Map(
    own.flatMap(({ owner, claims, result }): [string, string[]][] => {
      const ips = (result ?? resultFromClaims(claims, poolOf))?.ips;
      return [[owner.ifname, ips?.map(({ address }) => address) ?? claims.map(({ address }) => address)]];
    }),
  );
  const sorted = [...shown].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return sorted.length === 0 ? undefined : JSON.stringify(Object.fromEntries(sorted));
}

/** The interfaces of a value; none where it is no value of ours. */
function interfacesOf(value: string | undefined): Set<string> {
  try {
    const parsed: unknown = JSON.parse(value ?? '{}');
    return new Set(typeof parsed === 'object' && parsed !== null ? Object.keys(parsed) : []);
  } catch (error) {
    if (error instanceof SyntaxError) {
      return new Set();
    }
    throw error;
  }
}

/** Guarded by the UID; the map of annotations is made where it is not there. */
function patchFor(pod: PodFacts, wanted: string | undefined): JsonPatchOperation[] {
  const path = `/metadata/annotations/${ADDRESSES_ANNOTATION.replaceAll('/', '~1')}`;
  const isIt: JsonPatchOperation = { op: 'test', path: '/metadata/uid', value: pod.uid };
  if (wanted === undefined) {
    return [isIt, { op: 'remove', path }];
  }
  const value = { [ADDRESSES_ANNOTATION]: wanted };
  return pod.hasAnnotations
    ? [isIt, { op: 'add', path, value: wanted }]
    : [
        isIt,
        { op: 'test', path: '/metadata/annotations', value: null },
        { op: 'add', path: '/metadata/annotations', value },
      ];
}
