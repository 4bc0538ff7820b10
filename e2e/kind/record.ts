/** What `up` has changed on the machine, so that `down` can put it back, also after a crash. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import type { ProcessId } from '../controlplane/child.ts';
import { places } from './places.ts';
import type { Sysctls } from './sysctls.ts';

/** Written before anything is changed, and again as it becomes known. */
export interface Record {
  readonly sysctls: Sysctls;
  /** Absent: the machine's own daemon is used. */
  readonly daemon?: ProcessId;
  /** Whether the daemon is the machine's own. */
  readonly foreign: boolean;
}

/** Writes it whole. */
export async function writeRecord(record: Record): Promise<void> {
  await mkdir(places.run, { recursive: true });
  await writeFile(`${places.record}.new`, JSON.stringify(record, null, 2));
  await rename(`${places.record}.new`, places.record);
}

/** What was written last; undefined if nothing is up. */
export async function readRecord(): Promise<Record | undefined> {
  try {
    // Written by `writeRecord`, above.
    return JSON.parse(await readFile(places.record, 'utf8')) as Record;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
