/** `make e2e-down`: removes the cluster and puts back what was changed on the machine; the cache stays. */
import { rm } from 'node:fs/promises';
import { isRunning } from '../controlplane/child.ts';
import { type Progress, terminalProgress } from '../controlplane/progress.ts';
import { deleteCluster } from './cluster.ts';
import { stopDaemon } from './daemon.ts';
import { Docker } from './docker.ts';
import { places } from './places.ts';
import { resolveClusterPrograms } from './programs.ts';
import { type Record, readRecord } from './record.ts';
import { restoreSysctls } from './sysctls.ts';

async function removeCluster(record: Record, progress: Progress): Promise<void> {
  const programs = await resolveClusterPrograms({ progress });
  if (record.foreign) {
    await deleteCluster(programs, new Docker());
    return;
  }
  if (record.daemon === undefined) return;
  try {
    if (isRunning(record.daemon)) await deleteCluster(programs, new Docker(places.socket));
  } finally {
    // Whatever was not deleted ends with it.
    await stopDaemon(record.daemon);
  }
}

/** Removes everything; does nothing if nothing is up. */
export async function takeDown(progress: Progress = terminalProgress()): Promise<void> {
  const record = await readRecord();
  if (record === undefined) return;
  const step = progress.step('removing the cluster');
  try {
    await removeCluster(record, progress);
  } catch (error) {
    step.failed('see below');
    throw error;
  } finally {
    await restoreSysctls(record.sysctls);
  }
  await rm(places.run, { recursive: true, force: true });
  step.done();
}

if (import.meta.main) await takeDown();
