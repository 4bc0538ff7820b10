/** Events about reservations and pools: for people, never needed for correctness. */
import { ipPools, ipReservations } from '../crds/resources.ts';
import type { IPReservation } from '../crds/types.ts';
import type { ObjectReference } from '../kube/core.ts';
import type { Log } from '../kube/log.ts';
import { apiVersionOf } from '../kube/paths.ts';
import { type EventRecorder, referenceTo } from '../kube/recorder.ts';

export interface Happening {
  readonly type: 'Normal' | 'Warning';
  /** CamelCase, for programs. */
  readonly reason: string;
  /** One line, for people. */
  readonly message: string;
  /** What the messages have in common that are one event; absent: all of the message. */
  readonly series?: string;
}

/** Tells that something happened to an object. Does not wait, and does not throw. */
export type Report = (about: ObjectReference, happening: Happening) => void;

/** Reports as Kubernetes Events. */
export function reportThrough(recorder: EventRecorder): Report {
  return (about, { type, reason, message, series }) =>
    recorder.event(about, type, reason, message, { series });
}

/** Reports in the log alone. */
export function reportInLog(log: Log): Report {
  return ({ kind, name }, happening) =>
    log.info({ about: `${kind}/${name}`, ...happening }, 'would be an Event');
}

/** Names the reservation for an event. */
export function aboutReservation(reservation: IPReservation): ObjectReference {
  return referenceTo(ipReservations, reservation);
}

/** Names a pool for an event, be it still there or not. */
export function aboutPool(name: string): ObjectReference {
  return { apiVersion: apiVersionOf(ipPools), kind: ipPools.kind, name };
}
