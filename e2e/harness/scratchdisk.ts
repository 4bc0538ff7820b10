/** A small disk of one program's own: a tmpfs that nobody else sees, and which goes with the program. Needs root. */
import { execFile } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface ScratchDisk {
  /** Put before a program (`ProgramOptions.wrapper`): it and its children see the disk at `directory`. */
  readonly wrapper: readonly string[];
}

/** A disk at `directory`, which is made. @param options those of mount(8), such as `size=256k` */
export async function scratchDisk(directory: string, options: string): Promise<ScratchDisk> {
  await mkdir(directory, { recursive: true });
  const script = 'mount -t tmpfs -o "$1" berth-scratch "$2" && shift 2 && exec "$@"';
  return {
    wrapper: ['unshare', '--mount', '--propagation=private', 'sh', '-c', script, 'sh', options, directory],
  };
}

/** The path as the program sees it, for everybody else. */
export function seenBy(pid: number, path: string): string {
  return join(`/proc/${pid}/root`, path);
}

/** Writes to the program's disk until nothing more fits. @returns what makes room again */
export async function fillDisk(pid: number, directory: string): Promise<() => Promise<void>> {
  const ballast = join(seenBy(pid, directory), 'ballast');
  // dd ends with an error when the disk is full: that is what it is for.
  await promisify(execFile)('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=4k', 'status=none']).then(
    () => {
      throw new Error('the disk has no end');
    },
    (error: Error) => {
      if (!/No space left/.test(String(error))) throw error;
    },
  );
  return () => rm(ballast);
}
