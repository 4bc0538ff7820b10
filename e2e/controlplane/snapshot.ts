/**
 * Snapshots of etcd as people make and restore them: `etcdctl snapshot save` of a live member, `etcdutl snapshot restore`
 * into a new data directory.
 */
import { resolveEtcdTools } from './assets.ts';
import { run } from './run.ts';

/** How a snapshot is put in the place of what came after it. */
export interface RestoreOptions {
  /**
   * How far etcd's revision is moved on, so that no version of an object comes twice (`--bump-revision` with
   * `--mark-compacted`, which etcdutl allows only together): every watch then breaks as compacted. Absent: etcd begins again
   * at the snapshot's revision, as it does where nobody thinks of it.
   */
  readonly bumpRevision?: number;
  /**
   * True: the API server goes on while etcd is away and comes back older, which the documents of Kubernetes warn of and people
   * do. Defaults to false: it is stopped before and started after.
   */
  readonly keepApiServer?: boolean;
}

/** Saves a snapshot of a running etcd. @param etcdUrl of its client port @throws RunError */
export async function saveSnapshot(etcdUrl: string, file: string): Promise<void> {
  const { etcdctl } = await resolveEtcdTools();
  await run(etcdctl, ['--endpoints', etcdUrl, 'snapshot', 'save', file]);
}

/**
 * Makes a data directory of a snapshot.
 * @param directory must not exist
 * @param member its name and peer URL, as etcd is then started
 * @throws RunError
 */
export async function restoreSnapshot(
  file: string,
  directory: string,
  member: { readonly name: string; readonly peerUrl: string },
  bumpRevision?: number,
): Promise<void> {
  const { etcdutl } = await resolveEtcdTools();
  const { name, peerUrl } = member;
  await run(etcdutl, [
    'snapshot',
    'restore',
    file,
    `--data-dir=${directory}`,
    `--name=${name}`,
    `--initial-cluster=${name}=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    ...(bumpRevision === undefined ? [] : [`--bump-revision=${bumpRevision}`, '--mark-compacted']),
  ]);
}
