/** What the operator watches, trimmed to what it needs: it holds every reservation and every pod of the cluster. */
import { ipPools, ipReservations } from '../crds/resources.ts';
import type { IPPool, IPReservation } from '../crds/types.ts';
import type { Api, ObjectMeta } from '../kube/api.ts';
import type { Clock, Random } from '../kube/clock.ts';
import { MIRROR_ANNOTATION, type Node, nodes, type Pod, pods } from '../kube/core.ts';
import { Informer } from '../kube/informer.ts';
import type { Log } from '../kube/log.ts';
import { isOutOfService, OUT_OF_SERVICE_TAINT } from './liveness.ts';
import { POD_BY_UID } from './orphans.ts';

export const RESERVATION_BY_OWNER_UID = 'ownerUid';
export const RESERVATION_BY_NODE = 'node';
export const RESERVATION_BY_POOL = 'pool';

export interface Caches {
  readonly pools: Informer<IPPool>;
  readonly reservations: Informer<IPReservation>;
  readonly pods: Informer<Pod>;
  readonly nodes: Informer<Node>;
}

/** The four informers, not yet running. */
export function createCaches(options: { api: Api; clock: Clock; random: Random; log: Log }): Caches {
  return {
    pools: new Informer({ ...options, resource: ipPools }),
    reservations: new Informer({
      ...options,
      resource: ipReservations,
      transform: trimReservation,
      indexers: {
        [RESERVATION_BY_OWNER_UID]: ({ spec }) => present(spec.owner?.uid),
        [RESERVATION_BY_NODE]: ({ spec }) => present(spec.owner?.node),
        [RESERVATION_BY_POOL]: ({ spec }) => [spec.pool],
      },
    }),
    pods: new Informer({
      ...options,
      resource: pods,
      transform: trimPod,
      indexers: { [POD_BY_UID]: uidsOf },
    }),
    nodes: new Informer({ ...options, resource: nodes, transform: trimNode }),
  };
}

/** Every UID that CNI may know the pod by. */
export function uidsOf({ metadata }: Pod): string[] {
  return [...present(metadata.uid), ...present(metadata.annotations?.[MIRROR_ANNOTATION])];
}

function present(value: string | undefined): string[] {
  return value === undefined || value === '' ? [] : [value];
}

/** Name, versions and spec: what a guarded write needs. */
export function trimReservation({ metadata, spec }: IPReservation): IPReservation {
  return { metadata: identity(metadata), spec };
}

/** Identity, node, phase and the mirror annotation. */
export function trimPod({ metadata, spec, status }: Pod): Pod {
  const mirror = metadata.annotations?.[MIRROR_ANNOTATION];
  return {
    metadata: {
      ...identity(metadata),
      ...(mirror === undefined ? {} : { annotations: { [MIRROR_ANNOTATION]: mirror } }),
    },
    ...(spec?.nodeName === undefined ? {} : { spec: { nodeName: spec.nodeName } }),
    ...(status?.phase === undefined ? {} : { status: { phase: status.phase } }),
  };
}

/** Identity, and the out-of-service taint if it is there. */
export function trimNode(node: Node): Node {
  const taints = isOutOfService(node) ? [{ key: OUT_OF_SERVICE_TAINT, effect: 'NoExecute' as const }] : [];
  return { metadata: identity(node.metadata), spec: { taints } };
}

function identity({ name, namespace, uid, resourceVersion, deletionTimestamp }: ObjectMeta): ObjectMeta {
  return {
    ...(name === undefined ? {} : { name }),
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
  };
}
