/**
 * Whether somebody still has a right to a reservation: pure, and the same for the cache and for a live read.
 *
 * Judged by pod UID and node, never by name: a re-created pod is somebody else, and a pod of the same name is no
 * proof of life. A person's reservation is nobody's to collect.
 */

import type { IPReservationSpec } from '../crds/types.ts';
import { hasUid, type Node, type Pod, type StatefulSet } from '../kube/core.ts';

/** A person's word that a node is down for good (Kubernetes: non-graceful node shutdown). */
export const OUT_OF_SERVICE_TAINT = 'node.kubernetes.io/out-of-service';

/** Who must be alive for a reservation to stay. `nobody`: it stays whoever is alive. */
export type Subject =
  | {
      readonly kind: 'pod';
      readonly uid: string;
      readonly namespace: string;
      readonly name: string;
      readonly node: string;
    }
  | { readonly kind: 'node'; readonly node: string }
  | Holder
  | { readonly kind: 'nobody' };

/** For whom a Held one waits: a pod of this name, which a StatefulSet may make again. */
export interface Holder {
  readonly kind: 'holder';
  readonly namespace: string;
  readonly pod: string;
  readonly set?: { readonly name: string; readonly ordinal: number };
}

/**
 * Why a reservation may be taken back. Also the `reason` of the metric and of the event.
 * - `PodDeleted`: no pod has the owner's UID.
 * - `PodFinished`: the pod is Succeeded or Failed.
 * - `PodElsewhere`: the pod of this UID is on another node.
 * - `NodeDeleted`, `NodeOutOfService`: the pod is Terminating and its node is deleted, or is declared down.
 * - `OwnerNodeDeleted`: the owner was the node itself.
 * - `HolderGone`: nobody is left for whom Berth holds the address.
 */
export type GoneReason =
  | 'PodDeleted'
  | 'PodFinished'
  | 'PodElsewhere'
  | 'NodeDeleted'
  | 'NodeOutOfService'
  | 'OwnerNodeDeleted'
  | 'HolderGone';

/** Everything there is in `GoneReason`, for metrics that start at 0. */
export const GONE_REASONS: readonly GoneReason[] = [
  'PodDeleted',
  'PodFinished',
  'PodElsewhere',
  'NodeDeleted',
  'NodeOutOfService',
  'OwnerNodeDeleted',
  'HolderGone',
];

const NOBODY: Subject = { kind: 'nobody' };

/**
 * Who must be alive for the reservation to stay.
 *
 * A Released one is the cooldown's business. A Held one with a last owner is one that Berth keeps for its holder by
 * itself; without one a person has asked for it, and it waits however long that takes (docs/adr/0020).
 */
export function subjectOf(spec: IPReservationSpec): Subject {
  const { owner, state } = spec;
  if (owner === undefined || owner.kind === 'External' || state === 'Released') {
    return NOBODY;
  }
  if (state === 'Held') {
    return owner.kind === 'Pod' ? holderOf(spec.holder ?? '') : NOBODY;
  }
  const { uid = '', namespace = '', name = '', node = '' } = owner;
  if (owner.kind === 'Node') {
    return node === '' ? NOBODY : { kind: 'node', node };
  }
  // The schema asks for all four; without one of them there is no proof, and so no collection.
  return [uid, namespace, name, node].includes('') ? NOBODY : { kind: 'pod', uid, namespace, name, node };
}

/** A holder of a kind that is not known here is nobody's to judge. */
function holderOf(text: string): Holder | typeof NOBODY {
  const [kind, namespace = '', name = '', ordinal = '', ...more] = text.split('/');
  if (namespace === '' || name === '' || more.length > 0) {
    return NOBODY;
  }
  if (kind === 'Pod' && ordinal === '') {
    return { kind: 'holder', namespace, pod: name };
  }
  if (kind === 'StatefulSet' && /^(0|[1-9][0-9]*)$/.test(ordinal)) {
    const set = { name, ordinal: Number(ordinal) };
    return { kind: 'holder', namespace, pod: `${name}-${ordinal}`, set };
  }
  return NOBODY;
}

/** Whether the pod of a holder's name is there, and has not ended. */
export function isHolderThere(pod: Pod | undefined): boolean {
  return pod !== undefined && !isTerminal(pod);
}

/** Whether the StatefulSet makes a pod of this ordinal. */
export function hasOrdinal(set: StatefulSet | undefined, ordinal: number): boolean {
  if (set === undefined || set.metadata.deletionTimestamp !== undefined) {
    return false;
  }
  const first = set.spec?.ordinals?.start ?? 0;
  return ordinal >= first && ordinal < first + (set.spec?.replicas ?? 1);
}

/** Whether the pod is the one that CNI knew by this UID. */
export function podHasUid(pod: Pod, uid: string): boolean {
  return hasUid(pod.metadata, uid);
}

/**
 * Why a pod's reservation may be taken back; undefined if the pod counts as alive.
 * @param pod the pod as it was found by UID or by name, undefined if there is none
 * @param node the node of the subject, undefined if there is none; only looked at for a Terminating pod
 */
export function whyPodGone(
  subject: { readonly uid: string; readonly node: string },
  pod: Pod | undefined,
  node: Node | undefined,
): GoneReason | undefined {
  if (pod === undefined || !podHasUid(pod, subject.uid)) {
    return 'PodDeleted';
  }
  const on = pod.spec?.nodeName;
  if (on !== undefined && on !== '' && on !== subject.node) {
    return 'PodElsewhere';
  }
  if (isTerminal(pod)) {
    return 'PodFinished';
  }
  if (pod.metadata.deletionTimestamp === undefined) {
    return undefined;
  }
  // Its node may only be unreachable, with the pod still running: alive until somebody says otherwise.
  if (node === undefined) {
    return 'NodeDeleted';
  }
  return isOutOfService(node) ? 'NodeOutOfService' : undefined;
}

function isTerminal({ status }: Pod): boolean {
  return status?.phase === 'Succeeded' || status?.phase === 'Failed';
}

/** Whether the node carries the out-of-service taint. */
export function isOutOfService(node: Node): boolean {
  return node.spec?.taints?.some((taint) => taint.key === OUT_OF_SERVICE_TAINT) === true;
}
