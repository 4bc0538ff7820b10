/** Kubernetes' resources that only installing and removing has to do with, with the part of their objects that is looked at. */
import type { KubeObject, Resource } from '../kube/api.ts';

export interface HostPathVolume {
  readonly name: string;
  readonly hostPath?: { readonly path: string };
}

export interface PodSpec {
  readonly containers: readonly {
    readonly name: string;
    readonly image: string;
    readonly [more: string]: unknown;
  }[];
  readonly volumes?: readonly HostPathVolume[];
  readonly [more: string]: unknown;
}

export interface DaemonSet extends KubeObject {
  spec: {
    readonly template: { readonly metadata?: unknown; readonly spec: PodSpec };
    readonly [more: string]: unknown;
  };
  status?: { desiredNumberScheduled?: number; numberReady?: number; observedGeneration?: number };
}

export interface Deployment extends KubeObject {
  status?: { replicas?: number; readyReplicas?: number };
}

export interface PodWithSpec extends KubeObject {
  spec: PodSpec;
}

const kind = <T extends KubeObject>(
  group: string,
  plural: string,
  name: string,
  namespaced: boolean,
): Resource<T> => ({ group, version: 'v1', plural, kind: name, namespaced });

export const daemonSets: Resource<DaemonSet> = kind('apps', 'daemonsets', 'DaemonSet', true);
export const deployments: Resource<Deployment> = kind('apps', 'deployments', 'Deployment', true);
export const podsWithSpec: Resource<PodWithSpec> = kind('', 'pods', 'Pod', true);
export const customResourceDefinitions: Resource<KubeObject> = kind(
  'apiextensions.k8s.io',
  'customresourcedefinitions',
  'CustomResourceDefinition',
  false,
);

const RBAC = 'rbac.authorization.k8s.io';
const ADMISSION = 'admissionregistration.k8s.io';

/** What is installed besides kinds and workloads, in the order of its removal; the kinds are removed before. */
export const ACCESS: readonly {
  readonly resource: Resource<KubeObject>;
  readonly names: readonly string[];
}[] = [
  {
    resource: kind(ADMISSION, 'validatingadmissionpolicybindings', 'ValidatingAdmissionPolicyBinding', false),
    names: ['berth-agent'],
  },
  {
    resource: kind(ADMISSION, 'validatingadmissionpolicies', 'ValidatingAdmissionPolicy', false),
    names: ['berth-agent'],
  },
  {
    resource: kind(RBAC, 'clusterrolebindings', 'ClusterRoleBinding', false),
    names: ['berth-agent', 'berth-agent-annotate-pods', 'berth-operator'],
  },
  {
    resource: kind(RBAC, 'clusterroles', 'ClusterRole', false),
    names: ['berth-agent', 'berth-agent-annotate-pods', 'berth-operator'],
  },
  { resource: kind(RBAC, 'rolebindings', 'RoleBinding', true), names: ['berth-operator'] },
  { resource: kind(RBAC, 'roles', 'Role', true), names: ['berth-operator'] },
  { resource: kind('', 'serviceaccounts', 'ServiceAccount', true), names: ['berth-agent', 'berth-operator'] },
  { resource: kind('coordination.k8s.io', 'leases', 'Lease', true), names: ['berth-operator'] },
  {
    resource: kind('policy', 'poddisruptionbudgets', 'PodDisruptionBudget', true),
    names: ['berth-operator'],
  },
];
