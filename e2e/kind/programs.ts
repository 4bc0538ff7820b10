/** The programs that a whole cluster consists of: found, or built through the Go module proxy, and cached by version. */
import {
  type AssetOptions,
  type ControlPlaneAssets,
  resolveAssets,
  resolveBuilt,
  resolveCniPlugins,
  resolveMultus,
  settleAll,
} from '../controlplane/assets.ts';
import {
  buildContainerd,
  buildCoreDns,
  buildKind,
  buildKubernetes,
  buildMultusEntrypoint,
} from '../controlplane/gobuild.ts';
import { terminalProgress } from '../controlplane/progress.ts';
import {
  CONTAINERD_BINARIES,
  CONTAINERD_VERSION,
  COREDNS_VERSION,
  KIND_VERSION,
  KUBERNETES_VERSION,
  MULTUS_VERSION,
  NODE_BINARIES,
} from '../controlplane/versions.ts';

/** Names a directory with all of them, such as one that another machine has filled. */
const VARIABLE = 'KIND_BIN';

/** Directories of programs that only a node image needs. */
export interface NodePrograms {
  readonly controlPlane: ControlPlaneAssets;
  /** kubelet, kubeadm, kube-proxy, kube-controller-manager, kube-scheduler. */
  readonly node: string;
  readonly containerd: string;
  readonly coredns: string;
}

/** What runs a cluster, whoever made its node image. */
export interface ClusterPrograms {
  /** Directory of `kind`, with `base-files`. */
  readonly kind: string;
  readonly kubectl: string;
  /** Directory of the reference CNI plugins. */
  readonly plugins: string;
  /** Path of Multus' thin plugin, and of what its image starts. */
  readonly multus: string;
  readonly multusEntrypoint: string;
}

/** kind, kubectl, CNI plugins and Multus. @throws AssetsError */
export async function resolveClusterPrograms(options: AssetOptions = {}): Promise<ClusterPrograms> {
  const shared = { ...options, progress: options.progress ?? terminalProgress() };
  const kind = resolveBuilt(
    {
      name: `kind ${KIND_VERSION}`,
      cacheName: `kind-${KIND_VERSION}`,
      binaries: ['kind'],
      variable: VARIABLE,
      build: buildKind,
    },
    shared,
  );
  const entrypoint = resolveBuilt(
    {
      name: `Multus' entry point ${MULTUS_VERSION}`,
      cacheName: `multus-entrypoint-${MULTUS_VERSION}`,
      binaries: ['thin_entrypoint'],
      variable: VARIABLE,
      build: buildMultusEntrypoint,
    },
    shared,
  );
  const [controlPlane, plugins, multus] = [
    resolveAssets(shared),
    resolveCniPlugins(shared),
    resolveMultus(shared),
  ];
  await settleAll([kind, entrypoint, controlPlane, plugins, multus]);
  return {
    kind: await kind,
    kubectl: (await controlPlane).kubectl,
    plugins: (await plugins).directory,
    multus: await multus,
    multusEntrypoint: `${await entrypoint}/thin_entrypoint`,
  };
}

/** Everything in a node image. @throws AssetsError */
export async function resolveNodePrograms(options: AssetOptions = {}): Promise<NodePrograms> {
  const shared = { ...options, progress: options.progress ?? terminalProgress() };
  // First: what it leaves in Go's build cache is most of what the node's programs need.
  const controlPlane = await resolveAssets(shared);
  const node = resolveBuilt(
    {
      name: `Kubernetes ${KUBERNETES_VERSION} node`,
      cacheName: `node-${KUBERNETES_VERSION}`,
      binaries: NODE_BINARIES,
      variable: VARIABLE,
      build: (build) => buildKubernetes(build, NODE_BINARIES),
    },
    shared,
  );
  const containerd = resolveBuilt(
    {
      name: `containerd ${CONTAINERD_VERSION}`,
      cacheName: `containerd-${CONTAINERD_VERSION}`,
      binaries: CONTAINERD_BINARIES,
      variable: VARIABLE,
      build: buildContainerd,
    },
    shared,
  );
  const coredns = resolveBuilt(
    {
      name: `CoreDNS ${COREDNS_VERSION}`,
      cacheName: `coredns-${COREDNS_VERSION}`,
      binaries: ['coredns'],
      variable: VARIABLE,
      build: buildCoreDns,
    },
    shared,
  );
  await settleAll([node, containerd, coredns]);
  return { controlPlane, node: await node, containerd: await containerd, coredns: await coredns };
}
