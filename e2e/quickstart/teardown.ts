/** Removes every trace of a quickstart, whole or half-made. */
import { existsSync } from 'node:fs';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isRunning, killServer, type ProcessId, stopServer } from '../controlplane/child.ts';
import { attachControlPlane } from '../controlplane/controlplane.ts';
import { namespacesOf, removeCniCache, removeNamespaces } from './network.ts';
import type { Places } from './places.ts';
import { markedProcesses, readState } from './record.ts';

/** What was there and is gone. */
export interface Removed {
  readonly processes: number;
  readonly namespaces: number;
  readonly files: boolean;
}

/** Whether there is anything to remove. */
export async function isThere(places: Places): Promise<boolean> {
  if (existsSync(places.directory)) return true;
  if ((await ownNamespaces(places.prefix)).length > 0) return true;
  return (await markedProcesses(places)).length > 0;
}

/** Only root can have made them. */
async function ownNamespaces(prefix: string): Promise<string[]> {
  return process.getuid?.() === 0 ? namespacesOf(prefix) : [];
}

/** Stops all, politely first. @returns how many were running */
async function stopAll(ids: readonly ProcessId[]): Promise<number> {
  const running = ids.filter(isRunning);
  await Promise.all(running.map((id) => stopServer(id)));
  return running.length;
}

/**
 * Stops the processes that the quickstart started and no others, removes its network namespaces and files.
 * Does what it can where parts are missing.
 * @throws Error where something that is ours cannot be removed
 */
export async function tearDown(places: Places): Promise<Removed> {
  const state = await readState(places);
  const prefix = state?.prefix ?? places.prefix;
  let processes = await stopAll(Object.values(state?.processes ?? {}));
  const controlPlane = await attachControlPlane(places.controlPlane);
  if (controlPlane !== undefined) {
    const servers = (await markedProcesses(places)).length;
    await controlPlane.stop();
    processes += servers;
  }
  // What nobody wrote down: the quickstart was killed in the middle of a start.
  const left = await markedProcesses(places);
  await Promise.all(left.map(killServer));
  processes += left.length;
  const namespaces = await removeNamespaces(await ownNamespaces(prefix));
  await removeCniCache(prefix, state?.cniDirectories ?? []);
  const files = existsSync(places.directory);
  await rm(places.directory, { recursive: true, force: true, maxRetries: 5 });
  await removeEmptyParents(places.directory, state?.outermost ?? places.directory);
  return { processes, namespaces, files };
}

/** Removes the parent of `directory`, which has our name, and those up to `outermost`, unless something else is in them. */
async function removeEmptyParents(directory: string, outermost: string): Promise<void> {
  const parent = dirname(directory);
  const last = outermost.length < parent.length ? outermost : parent;
  for (let path = parent; path.length >= last.length; path = dirname(path)) {
    if (existsSync(path)) {
      if ((await readdir(path)).length > 0) return;
      await rmdir(path);
    }
  }
}
