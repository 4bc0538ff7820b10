/** Kubernetes' own resources that Berth reads or writes, with the part of their objects that it looks at. */
import type { KubeObject, ObjectMeta, Resource } from './api.ts';

export interface Pod extends KubeObject {
  spec?: { nodeName?: string; hostNetwork?: boolean };
  status?: { phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown'; reason?: string };
}

export interface Taint {
  key: string;
  value?: string;
  effect: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';
  timeAdded?: string;
}

export interface Node extends KubeObject {
  spec?: { taints?: Taint[]; unschedulable?: boolean };
  status?: { conditions?: { type: string; status: 'True' | 'False' | 'Unknown' }[] };
}

export interface Namespace extends KubeObject {
  status?: { phase?: 'Active' | 'Terminating' };
}

/** An object that an event is about. */
export interface ObjectReference {
  apiVersion?: string;
  kind?: string;
  namespace?: string;
  name?: string;
  uid?: string;
  resourceVersion?: string;
}

/** core/v1 Event. */
export interface Event extends KubeObject {
  involvedObject: ObjectReference;
  /** Another object that it is about. */
  related?: ObjectReference;
  reason: string;
  message: string;
  type: 'Normal' | 'Warning';
  count?: number;
  /** RFC 3339, whole seconds. */
  firstTimestamp?: string;
  lastTimestamp?: string;
  source?: { component?: string; host?: string };
  reportingComponent?: string;
  reportingInstance?: string;
}

export interface LeaseSpec {
  holderIdentity?: string;
  leaseDurationSeconds?: number;
  /** RFC 3339 with six digits of microseconds (MicroTime). */
  acquireTime?: string;
  renewTime?: string;
  leaseTransitions?: number;
}

/** coordination.k8s.io/v1 Lease. */
export interface Lease extends KubeObject {
  spec?: LeaseSpec;
}

/** apps/v1 StatefulSet. */
export interface StatefulSet extends KubeObject {
  spec?: { replicas?: number; ordinals?: { start?: number } };
}

export interface ConfigMap extends KubeObject {
  data?: Record<string, string>;
}

const core = { group: '', version: 'v1' } as const;

export const pods: Resource<Pod> = { ...core, plural: 'pods', kind: 'Pod', namespaced: true };
export const nodes: Resource<Node> = { ...core, plural: 'nodes', kind: 'Node', namespaced: false };
export const namespaces: Resource<Namespace> = {
  ...core,
  plural: 'namespaces',
  kind: 'Namespace',
  namespaced: false,
};
export const events: Resource<Event> = { ...core, plural: 'events', kind: 'Event', namespaced: true };
export const configMaps: Resource<ConfigMap> = {
  ...core,
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};
export const leases: Resource<Lease> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
};

export const statefulSets: Resource<StatefulSet> = {
  group: 'apps',
  version: 'v1',
  plural: 'statefulsets',
  kind: 'StatefulSet',
  namespaced: true,
};

/** `namespace/name`, or `name` for cluster-wide objects: the key of stores and work queues. */
export function keyOf(object: { readonly metadata: Pick<ObjectMeta, 'namespace' | 'name'> }): string {
  const { namespace, name = '' } = object.metadata;
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** The parts of a key of `keyOf`. */
export function splitKey(key: string): { readonly namespace?: string; readonly name: string } {
  const slash = key.indexOf('/');
  return slash === -1 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** Static pods reach CNI with the kubelet's hash as UID; their mirror pod carries it in this annotation. */
export const MIRROR_ANNOTATION = 'kubernetes.io/config.mirror';

/** True if a runtime may mean this pod by the UID: by its own, or as the mirror of a static pod. */
export function hasUid(pod: Pick<ObjectMeta, 'uid' | 'annotations'>, uid: string): boolean {
  return pod.uid === uid || pod.annotations?.[MIRROR_ANNOTATION] === uid;
}

/**
 * True if the resource version is older than the other one. Those of one resource are decimal numbers that grow; of
 * anything else only a difference can be seen, and counts as older.
 */
export function isOlderVersion(version: string, than: string): boolean {
  if (!/^\d+$/.test(version) || !/^\d+$/.test(than)) return version !== than;
  return BigInt(version) < BigInt(than);
}
