/** Taking Berth's files off every node: a DaemonSet that runs the installer with `--remove`. */
import { posix } from 'node:path';
import type { Api } from '../kube/api.ts';
import type { Clock } from '../kube/clock.ts';
import { isApiError } from '../kube/errors.ts';
import type { Log } from '../kube/log.ts';
import { type DaemonSet, daemonSets, type HostPathVolume, podsWithSpec } from './kinds.ts';

/** Directories of a node. */
export interface NodePaths {
  /** From where CNI plugins are started. */
  readonly bin: string;
  /** Of the agent's socket. */
  readonly run: string;
  /** Of the journal. */
  readonly state: string;
}

export const DEFAULT_PATHS: NodePaths = { bin: '/opt/cni/bin', run: '/run/berth', state: '/var/lib/berth' };

/** The paths that an agent was installed with. */
export function pathsOf(agent: DaemonSet): NodePaths {
  const path = (name: keyof NodePaths): string =>
    agent.spec.template.spec.volumes?.find((volume) => volume.name === name)?.hostPath?.path ??
    DEFAULT_PATHS[name];
  return { bin: path('bin'), run: path('run'), state: path('state') };
}

const NAME = 'berth-remove-node';
const LABELS = { 'app.kubernetes.io/name': 'berth', 'app.kubernetes.io/component': 'remove-node' };

/** Its pod is ready when its node has nothing of Berth any more. */
export function cleaner(namespace: string, image: string, paths: NodePaths): DaemonSet {
  // A directory is removed from the one above it.
  const above = { run: posix.dirname(paths.run), state: posix.dirname(paths.state) };
  const securityContext = {
    runAsUser: 0,
    readOnlyRootFilesystem: true,
    allowPrivilegeEscalation: false,
    // The state directory is root's own, as is the binary.
    capabilities: { drop: ['ALL'] },
  };
  const node = '/usr/local/bin/node';
  const volume = (name: string, path: string): HostPathVolume => ({ name, hostPath: { path } });
  const mount = (name: string): object => ({ name, mountPath: `/host/${name}` });
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: NAME, namespace, labels: LABELS },
    spec: {
      selector: { matchLabels: LABELS },
      updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '100%' } },
      template: {
        metadata: { labels: LABELS },
        spec: {
          hostNetwork: true,
          dnsPolicy: 'Default',
          priorityClassName: 'system-node-critical',
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: 1,
          nodeSelector: { 'kubernetes.io/os': 'linux' },
          tolerations: [{ operator: 'Exists' }],
          initContainers: [
            {
              name: 'remove',
              image,
              command: [node, '/berth/install.mjs'],
              args: [
                '--remove=true',
                '--bin-dir=/host/bin',
                `--state-dir=/host/state/${posix.basename(paths.state)}`,
                `--run-dir=/host/run/${posix.basename(paths.run)}`,
              ],
              securityContext,
              volumeMounts: ['bin', 'run', 'state'].map(mount),
            },
          ],
          // A DaemonSet's pod has to stay for its node to count as done.
          containers: [
            {
              name: 'done',
              image,
              command: [node, '-e', 'setInterval(() => undefined, 1e9)'],
              securityContext: { ...securityContext, runAsUser: 65532 },
            },
          ],
          volumes: [volume('bin', paths.bin), volume('run', above.run), volume('state', above.state)],
        },
      },
    },
  };
}

export interface Cleaning {
  readonly api: Api;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly namespace: string;
  readonly image: string;
  readonly paths: NodePaths;
  /** Milliseconds for all nodes together. */
  readonly timeoutMs: number;
}

const LOOK_EVERY_MS = 1_000;

/**
 * Removes the files of every node, and then the DaemonSet that did it.
 * @throws Error that says how many nodes are missing, if not all are done in time; the DaemonSet stays and goes on
 */
export async function cleanNodes(options: Cleaning): Promise<void> {
  const { api, clock, log, signal, namespace, timeoutMs } = options;
  try {
    await api.create(daemonSets, cleaner(namespace, options.image, options.paths), { signal });
  } catch (error) {
    // From a run before this one.
    if (!isApiError(error, 'AlreadyExists')) throw error;
  }
  const deadline = clock.monotonic() + timeoutMs;
  let said = '';
  for (;;) {
    const { status = {} } = await api.get(daemonSets, { namespace, name: NAME }, { signal });
    const { desiredNumberScheduled: all = 0, numberReady: done = 0, observedGeneration = 0 } = status;
    if (observedGeneration > 0 && done >= all) break;
    const progress = `${done} of ${all} nodes are clean`;
    if (progress !== said) log.info({}, progress);
    said = progress;
    if (clock.monotonic() > deadline) {
      throw new Error(
        `${progress} after ${timeoutMs / 1000} s, and nothing else is removed yet: kubectl -n ${namespace} get pods -o wide ` +
          `shows which node is missing; bring it back or delete its Node object, and run this again`,
      );
    }
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
  log.info({}, 'no node has a file of Berth any more');
  await api.delete(daemonSets, { namespace, name: NAME }, { signal });
}

/** Waits until no pod has these labels any more. @throws Error that names one which stays */
export async function whenPodsGone(
  { api, clock, signal, namespace, timeoutMs }: Omit<Cleaning, 'image' | 'paths'>,
  component: string,
): Promise<void> {
  const labelSelector = `app.kubernetes.io/name=berth,app.kubernetes.io/component=${component}`;
  const deadline = clock.monotonic() + timeoutMs;
  for (;;) {
    const { items } = await api.list(podsWithSpec, { namespace, labelSelector, limit: 1, signal });
    const [pod] = items;
    if (pod === undefined) return;
    if (clock.monotonic() > deadline) {
      throw new Error(`pod ${namespace}/${pod.metadata.name} is still there after ${timeoutMs / 1000} s`);
    }
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
}
