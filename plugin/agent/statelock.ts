/**
 * One agent at a time on a state directory: two would write one journal, and each would undo what the other did.
 *
 * - A lock of the kernel (fcntl(2)) on the file `agent.lock`. It ends with the process that has it, by whatever hand, so
 *   none is ever left over; it holds across pid and network namespaces. Node offers no such lock but through SQLite,
 *   which takes it for a transaction; nothing is ever written to the file.
 * - Who comes second waits. So an agent that is upgraded ends what it has begun before the new one reads the journal.
 * - Does NOT hold between machines that share a directory over the network.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { isAborted } from '../../kube/abort.ts';
import type { Clock } from '../../kube/clock.ts';
import type { Log } from '../../kube/log.ts';

export const LOCK_FILE = 'agent.lock';

/** SQLite's result code of a lock that somebody else has (sqlite.org/rescode.html). */
const SQLITE_BUSY = 5;
/** Milliseconds between tries. */
const TRY_EVERY_MS = 100;
/** Milliseconds between two lines of the log that say who is waited for. */
const SAY_EVERY_MS = 10_000;

export interface StateLock {
  release(): void;
}

export interface StateLockOptions {
  /** A directory, which must exist. */
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Waits until no other agent has the directory.
 * @throws Error if the lock file cannot be had (read-only file system, a symbolic link in its place), or the signal's
 *   reason
 */
export async function lockStateDir(options: StateLockOptions, signal: AbortSignal): Promise<StateLock> {
  const { stateDir, clock, log } = options;
  const file = path.join(stateDir, LOCK_FILE);
  const start = clock.monotonic();
  let sayAt = start;
  for (;;) {
    if (isAborted(signal)) throw signal.reason;
    const lock = tryLock(file);
    const now = clock.monotonic();
    if (lock !== undefined) {
      if (sayAt > start) log.info({ seconds: (now - start) / 1000 }, 'the state directory is free now');
      return lock;
    }
    if (now >= sayAt) {
      log.warn(
        { stateDir, seconds: Math.round((now - start) / 1000) },
        'another agent has the state directory; waiting for it to end. If two are meant to run here, give each its own --state-dir and --socket',
      );
      sayAt = now + SAY_EVERY_MS;
    }
    await clock.sleep(TRY_EVERY_MS, signal);
  }
}

/** undefined if somebody else has it. */
function tryLock(file: string): StateLock | undefined {
  // Made here, as SQLite would follow a symbolic link, and emptied: what is no database would be refused.
  const flags = fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_TRUNC | fs.constants.O_NOFOLLOW;
  fs.closeSync(fs.openSync(file, flags, 0o600));
  const database = new DatabaseSync(file, { timeout: 0 });
  try {
    // Without the pragma an empty rollback journal would lie beside the file.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY) return undefined;
    throw new Error(`cannot lock ${file}: ${String(error)}`, { cause: error });
  }
  return { release: () => database.close() };
}
