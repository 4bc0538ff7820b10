/** Files of the state directory: plain ones. A link, a pipe or a device in the place of one is neither read nor written. */
import * as fs from 'node:fs';

/** What lies there is no plain file, or larger than it may be. */
export class NotPlainError extends Error {
  override readonly name = 'NotPlainError';
}

/**
 * Opens a plain file; `flags` are those of open(2), and a new one has mode 0600.
 * @throws NotPlainError, or the system's error
 */
export function openPlain(file: string, flags: number): number {
  let fd: number;
  try {
    // Without O_NONBLOCK a pipe would wait for its other end, and the agent with it.
    fd = fs.openSync(file, flags | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK, 0o600);
  } catch (error) {
    // A link; a directory; a pipe that nobody reads, or a socket.
    if (isCode(error, ['ELOOP', 'EISDIR', 'ENXIO'])) {
      throw new NotPlainError(`${file} is no plain file: ${String(error)}`, { cause: error });
    }
    throw error;
  }
  if (!fs.fstatSync(fd).isFile()) {
    fs.closeSync(fd);
    throw new NotPlainError(`${file} is no plain file`);
  }
  return fd;
}

/**
 * All of a plain file.
 * @throws NotPlainError, also for one of more than `mostBytes`, or the system's error
 */
export function readPlain(file: string, mostBytes: number = Number.POSITIVE_INFINITY): Buffer {
  const fd = openPlain(file, fs.constants.O_RDONLY);
  try {
    const { size } = fs.fstatSync(fd);
    if (size > mostBytes) {
      throw new NotPlainError(`${file} has ${size} bytes, more than ${mostBytes}`);
    }
    return fs.readFileSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function isCode(error: unknown, codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}
