/** `make e2e-up`: creates the cluster that the suite runs on, and leaves it there. */
import { join, resolve } from 'node:path';
import { settleAll } from '../controlplane/assets.ts';
import { type Progress, terminalProgress } from '../controlplane/progress.ts';
import { createCluster, loadImages, NODES } from './cluster.ts';
import { spawnDaemon, whenDaemonAnswers } from './daemon.ts';
import { Docker } from './docker.ts';
import { takeDown } from './down.ts';
import { MULTUS_IMAGE, makeTestImages, POD_IMAGE } from './images.ts';
import { configureCni, copyPlugins, nodeAddresses, stretch } from './network.ts';
import { nodeImage } from './node/nodeimage.ts';
import { type ClusterPrograms, resolveClusterPrograms } from './programs.ts';
import { readRecord, writeRecord } from './record.ts';
import { readSysctls } from './sysctls.ts';

/** The machine's own daemon if it answers, else ours. What is changed is recorded before. */
async function startDocker(progress: Progress): Promise<Docker> {
  const sysctls = await readSysctls();
  const own = new Docker();
  if (await own.answers()) {
    await writeRecord({ sysctls, foreign: true });
    return own;
  }
  const step = progress.step('docker daemon');
  await writeRecord({ sysctls, foreign: false });
  const daemon = await spawnDaemon();
  await writeRecord({ sysctls, foreign: false, daemon });
  const docker = await whenDaemonAnswers(daemon);
  step.done();
  return docker;
}

/** Berth's own image, which `make image` has built. */
function berthImage(): string {
  const dist = process.env['BERTH_DIST'] ?? join(import.meta.dirname, '../../dist');
  return resolve(dist, `image-${process.arch === 'x64' ? 'amd64' : process.arch}.tar`);
}

async function prepareNodes(docker: Docker, programs: ClusterPrograms, progress: Progress): Promise<void> {
  const step = progress.step('networks, CNI plugins and images on the nodes');
  await stretch(docker, await nodeAddresses(docker, NODES));
  await settleAll(
    NODES.map(async (node) => {
      await copyPlugins(docker, node, programs.plugins);
      await configureCni(docker, node, 'stretched');
    }),
  );
  await makeTestImages(docker, programs);
  await loadImages(programs, docker, [POD_IMAGE, MULTUS_IMAGE], berthImage());
  step.done();
}

/** Creates the cluster. What was there of an earlier one is removed first. */
export async function bringUp(progress: Progress = terminalProgress()): Promise<void> {
  if ((await readRecord()) !== undefined) await takeDown(progress);
  const programs = await resolveClusterPrograms({ progress });
  const docker = await startDocker(progress);
  const image = await nodeImage(docker, programs, progress);
  await createCluster(programs, docker, image, progress);
  await prepareNodes(docker, programs, progress);
}

if (import.meta.main) await bringUp();
