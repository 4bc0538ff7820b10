/** Where the cluster of `make e2e` keeps its things, and what they are called. One of it at a time on a machine. */
import { join } from 'node:path';
import { cacheRoot } from '../controlplane/assetset.ts';

/** The cluster's name for kind, and the begin of every name that is made on the machine. */
export const NAME = 'berth-e2e';

/** Runtime files: gone after a reboot, as the processes are. */
const RUN = `/run/${NAME}`;

/** Paths. */
export const places: Readonly<
  Record<
    'run' | 'record' | 'kubeconfig' | 'socket' | 'daemonConfig' | 'daemonLog' | 'dockerData' | 'namespace',
    string
  >
> = {
  run: RUN,
  /** What has to be put back; written before it is changed. */
  record: join(RUN, 'record.json'),
  kubeconfig: join(RUN, 'kubeconfig'),
  socket: join(RUN, 'docker.sock'),
  daemonConfig: join(RUN, 'daemon.json'),
  daemonLog: join(RUN, 'dockerd.log'),
  /** Docker's data: the cache of the images that are built here. */
  dockerData: join(cacheRoot(), 'docker'),
  /** The network namespace of the own daemon. */
  namespace: `/run/netns/${NAME}`,
};

/** The two ends of the cable between the machine and the daemon's network namespace (link-local, RFC 3927). */
export const uplink = { machine: '169.254.77.1', daemon: '169.254.77.2', prefix: '30' } as const;
