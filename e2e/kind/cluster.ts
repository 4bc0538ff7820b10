/** The cluster: one control plane and two workers, without a network of its own. */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Progress } from '../controlplane/progress.ts';
import { RunError, run } from '../controlplane/run.ts';
import type { Docker } from './docker.ts';
import { NAME, places, uplink } from './places.ts';
import type { ClusterPrograms } from './programs.ts';

/** Names of the nodes' containers, which are those of the Node objects. */
export const NODES: readonly [string, string, string] = [
  `${NAME}-control-plane`,
  `${NAME}-worker`,
  `${NAME}-worker2`,
];

/** kind's configuration. JSON is YAML. */
function configuration(image: string, docker: Docker): string {
  const kubelet = {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    // From 1.35 on it refuses cgroup v1 unless told otherwise.
    failCgroupV1: false,
    // How soon it sees that a pod is to be evicted because of its volume; a minute unless told.
    volumeStatsAggPeriod: '10s',
    // As containerd of the node image that is built here; see node/rootfs.ts.
    ...(docker.foreign ? {} : { cgroupDriver: 'cgroupfs' }),
  };
  const proxy = {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    // On a stretched bridge an answer from another node would reach the pod past the node that has translated it.
    nftables: { masqueradeAll: true },
  };
  // One of each, on a machine that others may keep busy: nobody has to be elected, and nothing outlives the machine.
  const alone = { 'leader-elect': 'false' };
  // Multus gives the API server 250 ms for each of its requests. Where 100 pods start at once on two cores, most find it too slow,
  // and a whole sandbox is made in vain for each of them. So many pods a second are bound to nodes.
  const steadily = { 'kube-api-qps': '5', 'kube-api-burst': '10' };
  const controlPlane = {
    kind: 'ClusterConfiguration',
    // What kind writes for Kubernetes before 1.36; another version takes no notice of it.
    apiVersion: 'kubeadm.k8s.io/v1beta3',
    controllerManager: { extraArgs: alone },
    scheduler: { extraArgs: { ...alone, ...steadily } },
    etcd: { local: { extraArgs: { 'unsafe-no-fsync': 'true' } } },
  };
  return JSON.stringify({
    kind: 'Cluster',
    apiVersion: 'kind.x-k8s.io/v1alpha4',
    name: NAME,
    networking: {
      ipFamily: 'dual',
      disableDefaultCNI: true,
      kubeProxyMode: 'nftables',
      // Nothing uses it but the check that it is there: Berth's pools say which addresses there are.
      podSubnet: '10.64.0.0/16,fd00:64::/56',
      // kind would look for a free port on this machine, where the address is not.
      ...(docker.foreign ? {} : { apiServerAddress: uplink.daemon, apiServerPort: 6443 }),
    },
    nodes: [{ role: 'control-plane' }, { role: 'worker' }, { role: 'worker' }].map((node) => ({
      ...node,
      image,
    })),
    kubeadmConfigPatches: [kubelet, proxy, controlPlane].map((patch) => JSON.stringify(patch)),
  });
}

/** Runs kind. */
export async function kind(
  programs: ClusterPrograms,
  docker: Docker,
  args: readonly string[],
  onLine?: (line: string) => void,
  input?: string,
): Promise<string> {
  const env = { ...docker.env, KUBECONFIG: places.kubeconfig };
  return run(join(programs.kind, 'kind'), args, {
    env,
    ...(onLine === undefined ? {} : { onLine }),
    ...(input === undefined ? {} : { input }),
  });
}

/** Creates the cluster; its API server answers afterwards, and no node is Ready yet. */
export async function createCluster(
  programs: ClusterPrograms,
  docker: Docker,
  image: string,
  progress: Progress,
): Promise<void> {
  const step = progress.step(`kind cluster ${NAME}: one control plane, two workers`);
  try {
    await mkdir(dirname(places.kubeconfig), { recursive: true });
    const args = ['create', 'cluster', '--config=-', '--retain', `--kubeconfig=${places.kubeconfig}`];
    await kind(programs, docker, args, (line) => step.update(line.trim()), configuration(image, docker));
    step.done();
  } catch (error) {
    step.failed('see below');
    throw error;
  }
}

/** docker gives up on a container that takes more than 10 s to die, as a busy machine's may; it dies all the same. */
const DELETE_TRIES = 5;

/** Deletes the cluster's containers and their volumes; nothing if there is none. */
export async function deleteCluster(programs: ClusterPrograms, docker: Docker): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await kind(programs, docker, ['delete', 'cluster', `--name=${NAME}`]);
      break;
    } catch (error) {
      if (!(error instanceof RunError) || tries === DELETE_TRIES) throw error;
    }
  }
  // Made by kind, and only this cluster used it.
  if (!docker.foreign) await docker.run(['network', 'prune', '--force']);
}

/** Loads images into every node: some that the daemon has, and one from a file. */
export async function loadImages(
  programs: ClusterPrograms,
  docker: Docker,
  images: readonly string[],
  archive: string,
): Promise<void> {
  await kind(programs, docker, ['load', 'docker-image', `--name=${NAME}`, ...images]);
  await kind(programs, docker, ['load', 'image-archive', `--name=${NAME}`, archive]);
}

/** An environment for kubectl and the tests: the cluster, and no proxy in between. */
export function clusterEnvironment(kubeconfig: string): NodeJS.ProcessEnv {
  const direct = [process.env['NO_PROXY'], uplink.daemon].filter((each) => each !== undefined && each !== '');
  return { ...process.env, KUBECONFIG: kubeconfig, NO_PROXY: direct.join(','), no_proxy: direct.join(',') };
}
