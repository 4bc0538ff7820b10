/** What the operator watches, trimmed to what it needs: it holds every reservation and every pod of the cluster. */
import { EVENT_ADDRESS_CONFLICT, ipPools, ipReservations } from '../crds/resources.ts';
import type { IPPool, IPReservation, ReservationOwner } from '../crds/types.ts';
import type { Api, ObjectMeta } from '../kube/api.ts';
import type { Clock, Random } from '../kube/clock.ts';
import { type Event, events, MIRROR_ANNOTATION, type Node, nodes, type Pod, pods } from '../kube/core.ts';
import { Informer } from '../kube/informer.ts';
import type { Log } from '../kube/log.ts';
import { isOutOfService, OUT_OF_SERVICE_TAINT } from './liveness.ts';

/** Index of pods by every UID that CNI may know them by. */
export const POD_BY_UID = 'uid';
export const RESERVATION_BY_OWNER_UID = 'ownerUid';
export const RESERVATION_BY_NODE = 'node';
export const RESERVATION_BY_POOL = 'pool';

export interface Caches {
  readonly pools: Informer<IPPool>;
  readonly reservations: Informer<IPReservation>;
  readonly pods: Informer<Pod>;
  readonly nodes: Informer<Node>;
}

/**
 * Events that tell of addresses with two users, not yet running. Apart from the caches: nothing but a condition waits for them,
 * and an operator whose role is too old to read them does everything else.
 */
export function createConflictEvents(options: {
  api: Api;
  clock: Clock;
  random: Random;
  log: Log;
}): Informer<Event> {
  return new Informer({
    ...options,
    resource: events,
    fieldSelector: `reason=${EVENT_ADDRESS_CONFLICT}`,
  });
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

/** Texts that many objects share. Each object is parsed by itself, and would have a copy of its own. */
const shared = new Map<string, string>();
/** Beyond this many it starts anew: names of nodes come and go for as long as the process lives. */
const MOST_SHARED = 50_000;

/** The same text, stored once. */
function share(text: string): string {
  const known = shared.get(text);
  if (known !== undefined) {
    return known;
  }
  if (shared.size >= MOST_SHARED) {
    shared.clear();
  }
  shared.set(text, text);
  return text;
}

/** Name, versions and spec: what a guarded write needs. */
export function trimReservation({ metadata, spec }: IPReservation): IPReservation {
  const { owner } = spec;
  return {
    metadata: identity(metadata),
    spec: {
      ...spec,
      network: share(spec.network),
      pool: share(spec.pool),
      ...(owner === undefined ? {} : { owner: trimOwner(owner) }),
    },
  };
}

function trimOwner(owner: ReservationOwner): ReservationOwner {
  const { namespace, node, ifname, cniNetwork } = owner;
  return {
    ...owner,
    ...(namespace === undefined ? {} : { namespace: share(namespace) }),
    ...(node === undefined ? {} : { node: share(node) }),
    ...(ifname === undefined ? {} : { ifname: share(ifname) }),
    ...(cniNetwork === undefined ? {} : { cniNetwork: share(cniNetwork) }),
  };
}

/** Identity, node, phase and the mirror annotation. */
export function trimPod({ metadata, spec, status }: Pod): Pod {
  const mirror = metadata.annotations?.[MIRROR_ANNOTATION];
  return {
    metadata: {
      ...identity(metadata),
      ...(mirror === undefined ? {} : { annotations: { [MIRROR_ANNOTATION]: mirror } }),
    },
    ...(spec?.nodeName === undefined ? {} : { spec: { nodeName: share(spec.nodeName) } }),
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
    ...(namespace === undefined ? {} : { namespace: share(namespace) }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
  };
}
