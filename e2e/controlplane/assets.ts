/**
 * Finds, fetches or builds the programs that tests, quickstart and benchmarks start.
 *
 * - In this order: the environment (KUBEBUILDER_ASSETS; CNI_BIN), the cache, a published archive, a build through
 *   the Go module proxy.
 * - The cache has one directory for each version, filled beside it and then renamed: it is whole or absent.
 * - Two processes do not build the same thing at once; the second waits and takes what the first made.
 * - What cannot be had is reported with everything that was tried and why it failed.
 */
import {
  access,
  chmod,
  constants,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { type Download, downloadCniPlugins, downloadEnvtest, type Fetch, rootMessage } from './download.ts';
import {
  buildCniPlugins,
  buildCnitool,
  buildEtcd,
  buildKubernetes,
  type GoBuild,
  goVersion,
} from './gobuild.ts';
import { withLock } from './lock.ts';
import { type Progress, type Step, terminalProgress } from './progress.ts';
import { type Run, run } from './run.ts';
import {
  CNI_PLUGINS,
  CNI_PLUGINS_VERSION,
  CNI_VERSION,
  CONTROL_PLANE_BINARIES,
  ETCD_VERSION,
  KUBERNETES_VERSION,
} from './versions.ts';

/** Everything the resolution takes from outside; all have defaults. */
export interface AssetOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly fetch?: Fetch;
  readonly run?: Run;
  readonly progress?: Progress;
  /** Node's name of the architecture. */
  readonly arch?: string;
}

/** Paths of the control plane's programs. */
export interface ControlPlaneAssets {
  readonly kubeApiserver: string;
  readonly etcd: string;
  readonly kubectl: string;
}

/** The reference CNI plugins' directory, and the path of cnitool. */
export interface CniAssets {
  readonly directory: string;
  readonly cnitool: string;
}

/** A set of programs that could not be had; the message lists every way that was tried. */
export class AssetsError extends Error {
  override readonly name = 'AssetsError';
}

/** One way to get the programs: puts them into `outDirectory`, or throws why not. */
interface Way {
  readonly name: string;
  fill(outDirectory: string, workDirectory: string, step: Step): Promise<void>;
}

interface AssetSet {
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

const GO_ARCH: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

function goArch(arch: string): string {
  const name = GO_ARCH[arch];
  if (name === undefined) {
    throw new AssetsError(`architecture ${arch} is not supported: Berth runs on x64 and arm64`);
  }
  return name;
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

async function copyBinaries(
  found: ReadonlyMap<string, string>,
  binaries: readonly string[],
  outDirectory: string,
): Promise<void> {
  for (const name of binaries) {
    const source = found.get(name);
    if (source === undefined) throw new Error(`the archive contains no ${name}`);
    await copyFile(source, join(outDirectory, name));
    await chmod(join(outDirectory, name), 0o755);
  }
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
async function resolveSet(set: AssetSet, env: NodeJS.ProcessEnv, progress: Progress): Promise<string> {
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

type Filled = Required<Omit<AssetOptions, 'arch'>> & { readonly goArch: string };

function withDefaults(options: AssetOptions): Filled {
  return {
    env: options.env ?? process.env,
    fetch: options.fetch ?? fetch,
    run: options.run ?? run,
    progress: options.progress ?? terminalProgress(),
    goArch: goArch(options.arch ?? process.arch),
  };
}

function goWay(options: Filled, name: string, build: (build: GoBuild) => Promise<unknown>): Way {
  return {
    name: `build ${name} with Go through the module proxy`,
    fill: async (outDirectory, workDirectory, step) => {
      step.update(`go ${await goVersion(options.run, options.env)}`);
      await build({ run: options.run, env: options.env, workDirectory, outDirectory, step });
    },
  };
}

function archiveWay(
  options: Filled,
  name: string,
  binaries: readonly string[],
  fetchArchive: (download: Download) => Promise<ReadonlyMap<string, string>>,
): Way {
  return {
    name: `download ${name}`,
    fill: async (outDirectory, workDirectory, step) => {
      const found = await fetchArchive({ fetch: options.fetch, run: options.run, workDirectory, step });
      await copyBinaries(found, binaries, outDirectory);
    },
  };
}

/**
 * kube-apiserver, etcd and kubectl.
 * @throws AssetsError that lists every way that was tried and why it failed.
 */
export async function resolveAssets(options: AssetOptions = {}): Promise<ControlPlaneAssets> {
  const filled = withDefaults(options);
  const directory = await resolveSet(
    {
      name: `Kubernetes ${KUBERNETES_VERSION} control plane`,
      cacheName: `controlplane-${KUBERNETES_VERSION}-etcd-${ETCD_VERSION}-linux-${filled.goArch}`,
      binaries: CONTROL_PLANE_BINARIES,
      variable: 'KUBEBUILDER_ASSETS',
      ways: [
        archiveWay(filled, 'the envtest archive', CONTROL_PLANE_BINARIES, (download) =>
          downloadEnvtest(download, KUBERNETES_VERSION, filled.goArch),
        ),
        // Both at once: the long builds have stretches, such as linking, that keep only one core busy.
        goWay(filled, 'kube-apiserver, kubectl and etcd (minutes)', (build) =>
          settleAll([buildKubernetes(build), buildEtcd(build)]),
        ),
      ],
    },
    filled.env,
    filled.progress,
  );
  return {
    kubeApiserver: join(directory, 'kube-apiserver'),
    etcd: join(directory, 'etcd'),
    kubectl: join(directory, 'kubectl'),
  };
}

/**
 * The reference CNI plugins and cnitool, which no archive contains and which is always built. The variable
 * CNI_BIN names a directory that has them all.
 * @throws AssetsError that lists every way that was tried and why it failed.
 */
export async function resolveCniPlugins(options: AssetOptions = {}): Promise<CniAssets> {
  const filled = withDefaults(options);
  const plugins = await resolveSet(
    {
      name: `CNI plugins ${CNI_PLUGINS_VERSION}`,
      cacheName: `cni-plugins-${CNI_PLUGINS_VERSION}-linux-${filled.goArch}`,
      binaries: CNI_PLUGINS,
      variable: 'CNI_BIN',
      ways: [
        archiveWay(filled, 'the release archive', CNI_PLUGINS, (download) =>
          downloadCniPlugins(download, CNI_PLUGINS_VERSION, filled.goArch),
        ),
        goWay(filled, CNI_PLUGINS.join(', '), buildCniPlugins),
      ],
    },
    filled.env,
    filled.progress,
  );
  const tool = await resolveSet(
    {
      name: `cnitool ${CNI_VERSION}`,
      cacheName: `cnitool-${CNI_VERSION}-linux-${filled.goArch}`,
      binaries: ['cnitool'],
      variable: 'CNI_BIN',
      ways: [goWay(filled, 'cnitool', buildCnitool)],
    },
    filled.env,
    filled.progress,
  );
  return { directory: plugins, cnitool: join(tool, 'cnitool') };
}

/** Everything at once, for callers that need it all: the builds share the cores. */
export async function resolveAll(
  options: AssetOptions = {},
): Promise<{ readonly controlPlane: ControlPlaneAssets; readonly cni: CniAssets }> {
  const progress = options.progress ?? terminalProgress();
  const controlPlane = resolveAssets({ ...options, progress });
  const cni = resolveCniPlugins({ ...options, progress });
  await settleAll([controlPlane, cni]);
  return { controlPlane: await controlPlane, cni: await cni };
}

/** Waits for all to end, also where one fails: nothing goes on in the background. @throws the first failure */
async function settleAll(promises: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(promises);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
