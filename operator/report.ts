/** Events about reservations: for people, never needed for correctness. */
import { ipReservations } from '../crds/resources.ts';
import type { IPReservation } from '../crds/types.ts';
import { type EventRecorder, referenceTo } from '../kube/recorder.ts';

export interface Happening {
  readonly type: 'Normal' | 'Warning';
  /** CamelCase, for programs. */
  readonly reason: string;
  /** One line, for people. */
  readonly message: string;
}

/** Tells that something happened to a reservation. Does not wait, and does not throw. */
export type Report = (about: IPReservation, happening: Happening) => void;

/** Reports as Kubernetes Events. */
export function reportThrough(recorder: EventRecorder): Report {
  return (about, { type, reason, message }) =>
    recorder.event(referenceTo(ipReservations, about), type, reason, message);
}
