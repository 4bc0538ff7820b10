/**
 * What quickstart-down must know: which processes were started, and what was on the machine before.
 *
 * Every process that the quickstart starts also carries MARK in its environment. So one that was started a moment
 * before the quickstart itself was killed, and was written down nowhere, is found all the same.
 */
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { identify, type ProcessId } from '../controlplane/child.ts';
import type { Places } from './places.ts';

/** Environment variable of every process that the quickstart starts; its value is the state directory. */
export const MARK = 'BERTH_QUICKSTART_PROCESS_OF';

/** The contents of quickstart.json. */
export interface State {
  /** Milliseconds since the Unix epoch. */
  readonly startedAt: number;
  readonly prefix: string;
  /** True once everything was shown. */
  readonly complete: boolean;
  /** The state directory, or the outermost of its parents that was not there before. */
  readonly outermost: string;
  /** Directories that libcni makes for its cache and that were not there before. */
  readonly cniDirectories: readonly string[];
  /** Operator and agents by name. etcd and kube-apiserver are in the control plane's own record. */
  readonly processes: Readonly<Record<string, ProcessId>>;
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/** The record; undefined where there is none. */
export async function readState(places: Places): Promise<State | undefined> {
  try {
    // Written by writeState, whole or not at all.
    return JSON.parse(await readFile(places.stateFile, 'utf8')) as State;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

export async function writeState(places: Places, state: State): Promise<void> {
  const temporary = `${places.stateFile}.new`;
  await writeFile(temporary, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  await rename(temporary, places.stateFile);
}

/** Processes that carry the mark of this state directory, whoever started them since. */
export async function markedProcesses(places: Places): Promise<ProcessId[]> {
  const found: ProcessId[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    let environment: string;
    try {
      environment = await readFile(`/proc/${entry}/environ`, 'utf8');
    } catch (error) {
      // It has ended meanwhile, or it is another user's and so not ours.
      if (error instanceof Error) continue;
      throw error;
    }
    if (!environment.split('\0').includes(`${MARK}=${places.directory}`)) continue;
    const id = identify(Number(entry));
    if (id !== undefined && id.pid !== process.pid) found.push(id);
  }
  return found;
}
