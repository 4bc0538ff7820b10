/**
 * `make e2e`: a cluster, the suite on it, and everything removed again.
 *
 * - E2E_KUBECONFIG runs the suite on a cluster of your own, with Berth, Multus and the suite's image (E2E_IMAGE) in it.
 * - E2E_KUBERNETES is the version of the node image to pull, such as 1.34; E2E_NODE_IMAGE is an image of another one.
 * - E2E_MASTER is the nodes' interface for macvlan, eth0 unless set.
 */
import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { withLock } from '../controlplane/lock.ts';
import { formatElapsed, terminalProgress } from '../controlplane/progress.ts';
import { RunError } from '../controlplane/run.ts';
import { clusterEnvironment, kind } from './cluster.ts';
import { Docker } from './docker.ts';
import { takeDown } from './down.ts';
import { NAME, places } from './places.ts';
import { resolveClusterPrograms } from './programs.ts';
import { readRecord } from './record.ts';
import { bringUp } from './up.ts';

const ROOT = join(import.meta.dirname, '../..');

/** Runs the suite. @returns its exit status */
function runSuite(kubeconfig: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const args = [join(ROOT, 'hack/test.ts'), '--project', 'kind', ...process.argv.slice(2)];
    const env = clusterEnvironment(kubeconfig);
    const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: 'inherit' });
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
  });
}

/** Keeps what nodes and pods have logged, for whoever looks for the reason. */
async function keepLogs(): Promise<void> {
  const record = await readRecord();
  const docker = new Docker(record?.foreign === true ? undefined : places.socket);
  const directory = join(ROOT, 'dist/e2e-logs');
  await mkdir(directory, { recursive: true });
  try {
    await kind(await resolveClusterPrograms(), docker, ['export', 'logs', directory, `--name=${NAME}`]);
  } catch (error) {
    // A node image without crictl has no list of images to export; all else is there by then.
    if (!(error instanceof RunError)) throw error;
    console.log(`Not all logs could be exported: ${error.message}`);
  }
  console.log(`Logs of nodes and pods: ${directory}`);
}

async function onOwnCluster(): Promise<number> {
  const progress = terminalProgress();
  const start = performance.now();
  const stop = (signal: NodeJS.Signals): void => {
    console.log(`\nStopped by ${signal}: \`make e2e-down\` removes what is there.`);
    process.exit(130);
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  let code = 1;
  try {
    await bringUp(progress);
    const up = performance.now();
    console.log(`The cluster is up after ${formatElapsed(up - start)}.`);
    code = await runSuite(places.kubeconfig);
    console.log(`The suite took ${formatElapsed(performance.now() - up)}.`);
    if (code !== 0) await keepLogs();
  } finally {
    await takeDown(progress);
  }
  console.log(`make e2e took ${formatElapsed(performance.now() - start)} in all.`);
  return code;
}

async function main(): Promise<number> {
  const given = process.env['E2E_KUBECONFIG'];
  if (given !== undefined && given !== '') return runSuite(given);
  return withLock(NAME, onOwnCluster, () => console.log('Waiting for another `make e2e` to end.'));
}

process.exitCode = await main();
