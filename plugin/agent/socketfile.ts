/** The file of a unix socket: whether it may be made at a path, making it, and whether it is still the one. */
import { once } from 'node:events';
import * as fs from 'node:fs';
import { connect, type Server } from 'node:net';
import * as path from 'node:path';
import type { Clock } from '../../kube/clock.ts';
import { requireTrusted } from './trusted.ts';

/** Callers that may wait to be accepted; the kernel's own limit (net.core.somaxconn) is 4,096 today. */
const BACKLOG = 4_096;

/** Milliseconds between looks whether the process that answers there has ended. */
const LOOK_EVERY_MS = 100;

/** One file for all time: inode numbers are used again, the pair with the time of its birth is not. */
export interface SocketFile {
  readonly path: string;
  readonly inode: bigint;
  readonly birth: bigint;
}

function fileAt(socket: string): SocketFile | undefined {
  const stat = fs.lstatSync(socket, { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? undefined : { path: socket, inode: stat.ino, birth: stat.birthtimeNs };
}

/** False if it was removed, or another file lies in its place. */
export function isStillThere(file: SocketFile): boolean {
  const found = fileAt(file.path);
  return found?.inode === file.inode && found.birth === file.birth;
}

/**
 * Makes the directory (mode 0700) where there is none, and removes the socket that a dead process left behind. Nothing
 * else is removed, and no symbolic link is followed.
 * @param patienceMs how long a process that listens there is given to end: of one that is killed the locks may be free
 *   some moments before its sockets are
 * @throws Error that names the path: the directory is not safe, something else lies there, or somebody listens there
 */
export async function prepareSocket(socket: string, clock: Clock, patienceMs: number): Promise<void> {
  const directory = path.dirname(socket);
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
  requireTrusted(directory);
  const deadline = clock.monotonic() + patienceMs;
  while (await isServed(socket)) {
    if (clock.monotonic() >= deadline) {
      throw new Error(
        `another process answers at ${socket}: stop it, or give this agent another --socket and --state-dir`,
      );
    }
    await clock.sleep(LOOK_EVERY_MS);
  }
  fs.rmSync(socket, { force: true });
}

/**
 * Whether some process listens there. A socket whose process is dead refuses at once.
 * @throws Error if something else than a socket lies there
 */
async function isServed(socket: string): Promise<boolean> {
  const stat = fs.lstatSync(socket, { throwIfNoEntry: false });
  if (stat === undefined) return false;
  if (!stat.isSocket()) {
    throw new Error(`${socket} exists and is not a socket: move it away, or choose another --socket`);
  }
  const probe = connect(socket);
  try {
    await once(probe, 'connect');
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error) {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') return false;
      // So many wait to be accepted that nobody else may: somebody listens.
      if (error.code === 'EAGAIN') return true;
    }
    throw error;
  } finally {
    probe.destroy();
  }
}

/** Binds the server there with mode 0600. @throws Error if it cannot; it names the path */
export async function bindSocket(server: Server, socket: string): Promise<SocketFile> {
  // The mode must be right from the first moment: chmod afterwards leaves a gap. `listen` binds before it returns.
  const umask = process.umask(0o177);
  try {
    server.listen({ path: socket, backlog: BACKLOG });
  } finally {
    process.umask(umask);
  }
  await once(server, 'listening');
  const file = fileAt(socket);
  if (file === undefined) throw new Error(`${socket} was removed while it was made`);
  return file;
}
