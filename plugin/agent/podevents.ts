/**
 * Events on pods, for whoever runs `kubectl describe pod`: why a pod gets no address, or who else has it.
 *
 * - Nobody waits for one: `EventRecorder` queues them, counts repeats, limits the rate of each pod, and logs failures.
 * - One Event for each pod, reason and interface, with the newest message: the counts in a message change with every try.
 */

import type { Event, ObjectReference } from '../../kube/core.ts';
import { hasUid } from '../../kube/core.ts';
import type { EventRecorder } from '../../kube/recorder.ts';
import { ErrorCode, oneLine } from '../protocol.ts';
import type { Code } from './errors.ts';
import type { PodFacts } from './owners.ts';

/** The `reason` of the Event for a failed ADD (docs/errors.md); a code that is not here has none. */
export const EVENT_REASONS: Readonly<Partial<Record<Code, string>>> = {
  [ErrorCode.exhausted]: 'AddressesExhausted',
  [ErrorCode.addressTaken]: 'AddressTaken',
  [ErrorCode.addressNotAllowed]: 'AddressNotAllowed',
  [ErrorCode.poolNotAllowed]: 'PoolNotAllowed',
  [ErrorCode.poolNotFound]: 'PoolNotFound',
};

/** The `reason` of the Event for code 7, where it is an annotation that is wrong. */
export const ANNOTATION_REASON = 'InvalidAnnotation';

/** A pod, by as much as is known of it. */
export interface PodName {
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  /** As the runtime has it. */
  readonly uid?: string | undefined;
}

/** What is told about a pod. */
export interface PodEvent {
  readonly type: Event['type'];
  readonly reason: string;
  readonly message: string;
  /** What the messages have in common that are one Event, such as the interface. */
  readonly series: string;
  /** Another object that it is about. */
  readonly related?: ObjectReference | undefined;
}

export interface PodEventsOptions {
  readonly recorder: Pick<EventRecorder, 'event'>;
  readonly cachedPod: (namespace: string, name: string) => PodFacts | undefined;
}

export class PodEvents {
  readonly #options: PodEventsOptions;

  constructor(options: PodEventsOptions) {
    this.#options = options;
  }

  /** Warns on the pod, as `tell`. */
  warn(pod: PodName, reason: string, ifname: string, message: string): void {
    this.tell(pod, { type: 'Warning', reason, message, series: ifname });
  }

  /** An Event on the pod. A pod that is not known well enough for an Event to be found on it gets none. */
  tell(pod: PodName, { type, reason, message, series, related }: PodEvent): void {
    const about = this.referenceTo(pod);
    if (about !== undefined) {
      this.#options.recorder.event(about, type, reason, oneLine(message), { series, related });
    }
  }

  /** By which `kubectl describe` finds what is told of the pod; undefined if it is not known well enough. */
  referenceTo({ namespace, name, uid }: PodName): ObjectReference | undefined {
    if (namespace === undefined || name === undefined) {
      return undefined;
    }
    const cached = this.#options.cachedPod(namespace, name);
    const isIt = cached !== undefined && (uid === undefined || hasUid(cached, uid));
    // `kubectl describe` finds Events by the API's UID, which a static pod's differs from.
    const known = isIt ? cached.uid : uid;
    return known === undefined ? undefined : { apiVersion: 'v1', kind: 'Pod', namespace, name, uid: known };
  }
}
