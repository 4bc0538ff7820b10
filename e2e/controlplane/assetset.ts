/** A set of programs: where it is looked for, how the cache is filled, and what is said when it cannot be had. */
import { access, constants, mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { rootMessage } from './download.ts';
import { withLock } from './lock.ts';
import type { Progress, Step } from './progress.ts';

/** A set of programs that could not be had; the message lists every way that was tried. */
export class AssetsError extends Error {
  override readonly name = 'AssetsError';
}

/** One way to get the programs: puts them into `outDirectory`, or throws why not. */
export interface Way {
  readonly name: string;
  fill(outDirectory: string, workDirectory: string, step: Step): Promise<void>;
}

/** Programs that are found, fetched or built together. */
export interface AssetSet {
  readonly name: string;
  /** Directory under the cache root: names the versions, so that a new version is a new directory. */
  readonly cacheName: string;
  readonly binaries: readonly string[];
  readonly variable: string;
  readonly ways: readonly Way[];
}

/** Where built and fetched programs are kept: `$XDG_CACHE_HOME/berth`, else `~/.cache/berth`. */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  const base = env['XDG_CACHE_HOME'];
  return join(base === undefined || base === '' ? join(env['HOME'] ?? homedir(), '.cache') : base, 'berth');
}

async function missingIn(directory: string, binaries: readonly string[]): Promise<string[]> {
  const missing: string[] = [];
  for (const name of binaries) {
    try {
      await access(join(directory, name), constants.X_OK);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      missing.push(name);
    }
  }
  return missing;
}

const ABANDONED_AFTER_MS = 60 * 60 * 1000;

/** Removes what a killed process left half-made. */
async function removeAbandoned(directory: string): Promise<void> {
  for (const entry of await readdir(dirname(directory))) {
    if (!entry.startsWith(`${basename(directory)}.partial-`)) continue;
    const path = join(dirname(directory), entry);
    if (Date.now() - (await stat(path)).mtimeMs > ABANDONED_AFTER_MS)
      await rm(path, { recursive: true, force: true });
  }
}

async function fillCache(
  set: AssetSet,
  directory: string,
  progress: Progress,
  tried: string[],
): Promise<boolean> {
  await mkdir(dirname(directory), { recursive: true });
  await removeAbandoned(directory);
  for (const way of set.ways) {
    const temporary = await mkdtemp(`${directory}.partial-`);
    const step = progress.step(`${set.name}: ${way.name}`);
    try {
      const out = join(temporary, 'out');
      const work = join(temporary, 'work');
      await mkdir(out);
      await mkdir(work);
      await way.fill(out, work, step);
      const missing = await missingIn(out, set.binaries);
      if (missing.length > 0) throw new Error(`made no ${missing.join(', ')}`);
      await writeFile(join(out, 'ORIGIN'), `${way.name}\n`);
      await rm(directory, { recursive: true, force: true });
      await rename(out, directory);
      step.done();
      return true;
    } catch (error) {
      const reason = rootMessage(error);
      step.failed(reason.split('\n')[0] ?? reason);
      tried.push(`${way.name}: ${reason}`);
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
  }
  return false;
}

/** The directory with all of the set's programs. @throws AssetsError */
export async function resolveSet(set: AssetSet, env: NodeJS.ProcessEnv, progress: Progress): Promise<string> {
  const tried: string[] = [];
  const given = env[set.variable];
  if (given !== undefined && given !== '') {
    const missing = await missingIn(given, set.binaries);
    if (missing.length === 0) return given;
    tried.push(`${set.variable}=${given}: has no executable ${missing.join(', ')}`);
  } else {
    tried.push(`${set.variable}: not set`);
  }
  const directory = join(cacheRoot(env), set.cacheName);
  if ((await missingIn(directory, set.binaries)).length === 0) return directory;
  tried.push(`cache ${directory}: not there or not complete`);
  let waiting: Step | undefined;
  const filled = await withLock(
    directory,
    async () => {
      waiting?.done();
      return (
        (await missingIn(directory, set.binaries)).length === 0 || fillCache(set, directory, progress, tried)
      );
    },
    () => {
      waiting = progress.step(`${set.name}: another process is getting it, waiting`);
    },
  );
  if (filled) return directory;
  throw new AssetsError(
    [
      `${set.name} (${set.binaries.join(', ')}) could not be had. Tried:`,
      ...tried.map((t) => `  - ${t.replaceAll('\n', '\n    ')}`),
      `Cure: set ${set.variable} to a directory that has them, or make one of these ways work.`,
    ].join('\n'),
  );
}
