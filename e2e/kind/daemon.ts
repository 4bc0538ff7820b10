/**
 * A docker daemon of our own, that leaves nothing on the machine.
 *
 * - It has a network namespace, a mount namespace and a PID namespace of its own: its bridges, iptables rules, routes
 *   and `ip_forward` are in there, and everything that it started ends with it.
 * - One cable leads into the network namespace, for the API server. There is no way out: nothing is pulled by accident.
 * - Its data, with the images that were built, stays in the cache.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  identify,
  isRunning,
  killServer,
  type ProcessId,
  startServer,
  stopServer,
} from '../controlplane/child.ts';
import { run, tail } from '../controlplane/run.ts';
import { waitFor } from '../harness/wait.ts';
import { Docker } from './docker.ts';
import { NAME, places, uplink } from './places.ts';

/** Bit 24 of capability sets (capabilities(7)). */
const CAP_SYS_RESOURCE = 24n;

/**
 * A machine that is a container itself may lack CAP_SYS_RESOURCE; runc then refuses to start privileged containers,
 * which ask for all capabilities. This asks for one less.
 */
const RUNC_WITHOUT_SYS_RESOURCE = `#!/bin/sh
set -eu
file= previous=
for word in "$@"; do
  case $previous in
    --bundle | -b) file=$word/config.json ;;
    --process | -p) file=$word ;;
  esac
  case $word in
    --bundle=*) file=\${word#*=}/config.json ;;
    --process=*) file=\${word#*=} ;;
  esac
  previous=$word
done
[ -z "$file" ] || sed -i -e 's/"CAP_SYS_RESOURCE",//g' -e 's/,"CAP_SYS_RESOURCE"//g' "$file"
exec runc "$@"
`;

/** Whether this machine may hand out every capability that docker asks for. */
export async function lacksSysResource(): Promise<boolean> {
  const bounding = /^CapBnd:\s*([0-9a-f]+)$/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1];
  if (bounding === undefined) throw new Error('/proc/self/status has no line CapBnd');
  return ((BigInt(`0x${bounding}`) >> CAP_SYS_RESOURCE) & 1n) === 0n;
}

async function writeConfiguration(): Promise<void> {
  const wrapper = join(places.run, 'runc');
  await writeFile(wrapper, RUNC_WITHOUT_SYS_RESOURCE, { mode: 0o755 });
  const configuration = {
    'data-root': places.dockerData,
    'exec-root': join(places.run, 'exec'),
    pidfile: join(places.run, 'dockerd.pid'),
    hosts: [`unix://${places.socket}`],
    bridge: 'none',
    'storage-driver': 'overlay2',
    'exec-opts': ['native.cgroupdriver=cgroupfs'],
    ...((await lacksSysResource())
      ? { 'default-runtime': 'without-sys-resource', runtimes: { 'without-sys-resource': { path: wrapper } } }
      : {}),
  };
  await writeFile(places.daemonConfig, JSON.stringify(configuration, null, 2));
}

async function makeNetwork(): Promise<void> {
  await run('ip', ['netns', 'add', NAME]);
  await run('ip', ['link', 'add', NAME, 'type', 'veth', 'peer', 'name', 'uplink', 'netns', NAME]);
  await run('ip', ['address', 'add', `${uplink.machine}/${uplink.prefix}`, 'dev', NAME]);
  await run('ip', ['link', 'set', NAME, 'up']);
  const inside = (...args: string[]): Promise<string> => run('ip', ['-netns', NAME, ...args]);
  await inside('link', 'set', 'lo', 'up');
  await inside('address', 'add', `${uplink.daemon}/${uplink.prefix}`, 'dev', 'uplink');
  await inside('link', 'set', 'uplink', 'up');
}

/** Removes the network namespace; the cable goes with it. */
async function removeNetwork(): Promise<void> {
  const names = (await run('ip', ['netns', 'list'])).split('\n').map((line) => line.split(' ')[0]);
  if (names.includes(NAME)) await run('ip', ['netns', 'delete', NAME]);
}

/** Starts the daemon, without waiting until it answers. @returns the process that all others end with */
export async function spawnDaemon(): Promise<ProcessId> {
  await mkdir(places.run, { recursive: true });
  await mkdir(places.dockerData, { recursive: true });
  await removeNetwork();
  await makeNetwork();
  await writeConfiguration();
  const unshare = ['unshare', '--mount', '--propagation', 'private', '--pid', '--mount-proc'];
  return startServer({
    command: 'nsenter',
    args: [
      `--net=${places.namespace}`,
      ...unshare,
      '--fork',
      '--kill-child=SIGKILL',
      'dockerd',
      '--config-file',
      places.daemonConfig,
    ],
    logFile: places.daemonLog,
    detached: true,
  });
}

/** Waits until the daemon answers. @throws Error with the end of its log */
export async function whenDaemonAnswers(id: ProcessId): Promise<Docker> {
  const docker = new Docker(places.socket);
  let ended = false;
  const log = async (): Promise<string> => tail(await readFile(places.daemonLog, 'utf8'));
  await waitFor(
    'dockerd answers',
    async () => {
      ended = !isRunning(id);
      return ended || (await docker.answers());
    },
    { timeoutMs: 60_000, everyMs: 250 },
  ).catch(async (error: unknown) => {
    throw new Error(`dockerd did not answer:\n${await log()}`, { cause: error });
  });
  if (ended) throw new Error(`dockerd has ended:\n${await log()}`);
  return docker;
}

/** Stops the daemon with everything in it, and removes its network. */
export async function stopDaemon(id: ProcessId): Promise<void> {
  if (isRunning(id)) {
    // `unshare` waits for dockerd and passes no signal on.
    const children = await readFile(`/proc/${id.pid}/task/${id.pid}/children`, 'utf8');
    const dockerd = identify(Number(children.trim().split(' ')[0]));
    if (dockerd !== undefined) await stopServer(dockerd, 60_000);
    await waitFor('the daemon has ended', () => !isRunning(id)).catch(() => killServer(id));
  }
  await removeNetwork();
  await rm(join(places.run, 'exec'), { recursive: true, force: true });
}
