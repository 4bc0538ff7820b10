/**
 * Puts the CNI binary into the directory from which the container runtime starts plugins, and takes it and the agent's files
 * away when Berth is removed.
 *
 * - The runtime may start the binary at any moment: its place has the old file or the new one, whole, never a part. The new
 *   one is written beside it, synced, and renamed.
 * - A binary that is running goes on with the file that it was started from.
 * - The same content is not written again.
 */
import { constants } from 'node:fs';
import { open, readdir, readFile, rename, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** The file's name is the `type` that network configurations give. */
export const BINARY_NAME = 'berth';
const TEMPORARY_PREFIX = '.berth-new-';

export interface Installation {
  /** Path of the binary to install. */
  readonly source: string;
  /** An existing directory. */
  readonly directory: string;
  /** Something that no other installer uses at the same time, for the name of the temporary file. */
  readonly unique: string;
}

/** What was there before. */
export type Outcome = 'installed' | 'replaced' | 'unchanged';

/** A directory that can not be used; the message says which flag and what to do. */
export class InstallError extends Error {
  override readonly name = 'InstallError';
}

/** @throws InstallError if the directory is not there; every other error of the file system as it is */
export async function installBinary({ source, directory, unique }: Installation): Promise<Outcome> {
  const found = await stat(directory).catch(absent);
  if (found === undefined || !found.isDirectory()) {
    throw new InstallError(
      `--bin-dir is "${directory}": there is no such directory; mount the one that the container runtime starts CNI plugins from`,
    );
  }
  const content = await readFile(source);
  const target = join(directory, BINARY_NAME);
  const present = await readFile(target).catch(absent);
  if (present?.equals(content) === true && ((await stat(target)).mode & 0o777) === 0o755) return 'unchanged';
  await removeLeftovers(directory);
  const temporary = join(directory, `${TEMPORARY_PREFIX}${unique}`);
  try {
    await writeSynced(temporary, content);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(directory);
  return present === undefined ? 'installed' : 'replaced';
}

/**
 * Takes the binary away, and what an installer that was killed has left.
 * @returns false if there was none
 */
export async function removeBinary(directory: string): Promise<boolean> {
  if ((await stat(directory).catch(absent)) === undefined) return false;
  await removeLeftovers(directory);
  const target = join(directory, BINARY_NAME);
  if ((await stat(target).catch(absent)) === undefined) return false;
  await rm(target, { force: true });
  await syncDirectory(directory);
  return true;
}

/** Names in the state directory and beside the socket that Berth makes. */
const STATE = /^(journal\.jsonl.*|deletes|agent\.lock)$/;
const RUN = /^agent\.sock$/;

/** What stayed of a directory because Berth has not made it. */
export type Remainder = readonly string[];

/** Removes the agent's state directory: journal, lock and queued DELs. @returns the names of what is not Berth's and stays */
export function removeState(directory: string): Promise<Remainder> {
  return removeOwn(directory, STATE);
}

/** Removes the directory of the agent's socket. @returns the names of what is not Berth's and stays */
export function removeRun(directory: string): Promise<Remainder> {
  return removeOwn(directory, RUN);
}

async function removeOwn(directory: string, own: RegExp): Promise<Remainder> {
  if ((await stat(directory).catch(absent)) === undefined) return [];
  const names = await readdir(directory);
  for (const name of names)
    if (own.test(name)) await rm(join(directory, name), { recursive: true, force: true });
  const left = names.filter((name) => !own.test(name));
  if (left.length === 0) await rmdir(directory);
  return left;
}

async function writeSynced(path: string, content: Buffer): Promise<void> {
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o755);
  try {
    await file.writeFile(content);
    // Whatever the umask was.
    await file.chmod(0o755);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes the rename last through a power loss. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** An installer that still runs fails at its rename, and is started again. */
async function removeLeftovers(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.startsWith(TEMPORARY_PREFIX)) await rm(join(directory, name), { force: true });
  }
}

function absent(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}
