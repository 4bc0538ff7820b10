/**
 * Whether somebody still has a right to a reservation: pure, and the same for the cache and for a live read.
 *
 * Judged by pod UID and node, never by name: a re-created pod is somebody else, and a pod of the same name is no
 * proof of life. A person's reservation is nobody's to collect.
 */

import type { IPReservationSpec } from '../crds/types.ts';
import { hasUid, type Node, type Pod } from '../kube/core.ts';

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
  | { readonly kind: 'nobody' };

/**
 * Why a reservation may be taken back. Also the `reason` of the metric and of the event.
 * - `PodDeleted`: no pod has the owner's UID.
 * - `PodFinished`: the pod is Succeeded or Failed.
 * - `PodElsewhere`: the pod of this UID is on another node.
 * - `NodeDeleted`, `NodeOutOfService`: the pod is Terminating and its node is deleted, or is declared down.
 * - `OwnerNodeDeleted`: the owner was the node itself.
 */
export type GoneReason =
  | 'PodDeleted'
  | 'PodFinished'
  | 'PodElsewhere'
  | 'NodeDeleted'
  | 'NodeOutOfService'
  | 'OwnerNodeDeleted';

/** Everything there is in `GoneReason`, for metrics that start at 0. */
export const GONE_REASONS: readonly GoneReason[] = [
  'PodDeleted',
  'PodFinished',
  'PodElsewhere',
  'NodeDeleted',
  'NodeOutOfService',
  'OwnerNodeDeleted',
];

const NOBODY: Subject = { kind: 'nobody' };

/**
 * Who must be alive for the reservation to stay.
 *
 * Only a Bound one has an owner who could be gone. A Released one is the cooldown's business. A Held one waits for
 * its holder however long that takes: a person's reservation that a pod has used once looks exactly like one that
 * Berth made by itself, which Berth does not do yet, so there is no proof by which to tell them apart.
 */
export function subjectOf(spec: IPReservationSpec): Subject {
  const owner = spec.owner;
  if (spec.state !== 'Bound' || owner === undefined || owner.kind === 'External') {
    return NOBODY;
  }
  const { uid = '', namespace = '', name = '', node = '' } = owner;
  if (owner.kind === 'Node') {
    return node === '' ? NOBODY : { kind: 'node', node };
  }
  // The schema asks for all four; without one of them there is no proof, and so no collection.
  return [uid, namespace, name, node].includes('') ? NOBODY : { kind: 'pod', uid, namespace, name, node };
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
  const phase = pod.status?.phase;
  if (phase === 'Succeeded' || phase === 'Failed') {
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

/** Whether the node carries the out-of-service taint. */
export function isOutOfService(node: Node): boolean {
  return node.spec?.taints?.some((taint) => taint.key === OUT_OF_SERVICE_TAINT) === true;
}
