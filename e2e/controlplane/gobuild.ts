/** Builds clusters' programs, etcd's tools, the reference CNI plugins and Multus through the Go module proxy. */
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Step } from './progress.ts';
import { type Run, RunError } from './run.ts';
import {
  CNI_PLUGINS,
  CNI_PLUGINS_VERSION,
  CNI_VERSION,
  CONTAINERD_BINARIES,
  CONTAINERD_VERSION,
  COREDNS_VERSION,
  ETCD_TOOLS,
  ETCD_VERSION,
  GO_MINIMUM,
  HELM_VERSION,
  KIND_VERSION,
  KUBERNETES_VERSION,
  MULTUS_VERSION,
  WHEREABOUTS_VERSION,
} from './versions.ts';

/** What a build needs from outside. */
export interface GoBuild {
  readonly run: Run;
  readonly env: NodeJS.ProcessEnv;
  /** An empty directory to work in; the caller removes it. */
  readonly workDirectory: string;
  /** Where the binaries go. */
  readonly outDirectory: string;
  readonly step: Step;
}

/**
 * The Go release on the PATH, as in "1.26.8".
 * @throws Error that names the cure if there is none or it is too old.
 */
export async function goVersion(run: Run, env: NodeJS.ProcessEnv): Promise<string> {
  const cure = `install Go ${GO_MINIMUM} or later (https://go.dev/dl/) and put it on the PATH`;
  let text: string;
  try {
    text = await run('go', ['env', 'GOVERSION'], { env });
  } catch (error) {
    if (error instanceof RunError && error.code === 'ENOENT') {
      throw new Error(`there is no go on the PATH; ${cure}`, { cause: error });
    }
    throw error;
  }
  const version = text.trim().replace(/^go/, '');
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  const [wantMajor = 0, wantMinor = 0] = GO_MINIMUM.split('.').map(Number);
  if (!(major > wantMajor || (major === wantMajor && minor >= wantMinor))) {
    throw new Error(`go on the PATH is ${version}, too old; ${cure}`);
  }
  return version;
}

class GoModule {
  readonly #build: GoBuild;
  readonly #directory: string;
  readonly #env: NodeJS.ProcessEnv;
  #compiled = 0;

  private constructor(build: GoBuild, directory: string) {
    this.#build = build;
    this.#directory = directory;
    this.#env = {
      ...build.env,
      CGO_ENABLED: '0',
      GOWORK: 'off',
      GOFLAGS: '-buildvcs=false -trimpath -mod=mod',
    };
  }

  static async create(build: GoBuild, name: string): Promise<GoModule> {
    const directory = join(build.workDirectory, name);
    await mkdir(directory, { recursive: true });
    const module = new GoModule(build, directory);
    await module.go('mod', 'init', `berth.dev/build/${name}`);
    return module;
  }

  go(...args: readonly string[]): Promise<string> {
    return this.#build.run('go', args, {
      cwd: this.#directory,
      env: this.#env,
      onLine: (line) => this.#saw(line),
    });
  }

  /** The directory of a module's files, read-only. @param module `path@version` */
  async sourceOf(module: string): Promise<string> {
    // The answer is the go command's own, documented JSON (`go help mod download`).
    const { Dir } = JSON.parse(await this.go('mod', 'download', '-json', module)) as { readonly Dir: string };
    return Dir;
  }

  /** Puts a source file into the module's root. */
  write(name: string, source: string): Promise<void> {
    return writeFile(join(this.#directory, name), source);
  }

  async compile(ldflags: string, packages: readonly string[], tags: readonly string[] = []): Promise<void> {
    const flags = ['-v', '-tags', tags.join(','), '-ldflags', ldflags];
    await this.go('build', ...flags, '-o', `${this.#build.outDirectory}/`, ...packages);
  }

  #saw(line: string): void {
    const download = /^go: downloading (\S+)/.exec(line)?.[1];
    if (download !== undefined) {
      this.#build.step.update(`downloading ${download}`);
      return;
    }
    // `go build -v` names each package as it is compiled.
    if (/^[\w.\-/]+$/.test(line)) {
      this.#compiled += 1;
      this.#build.step.update(`${this.#compiled} packages compiled, now ${line}`);
    }
  }
}

interface GoModFile {
  readonly Replace?: readonly {
    readonly Old: { readonly Path: string };
    readonly New: { readonly Path: string };
  }[];
}

/**
 * Programs of Kubernetes, such as kube-apiserver and kubectl. Kubernetes' module replaces its staging modules by directories of its own tree,
 * which a module that requires it cannot do: each is replaced by its published release instead.
 */
export async function buildKubernetes(build: GoBuild, programs: readonly string[]): Promise<void> {
  const version = `v${KUBERNETES_VERSION}`;
  const staging = version.replace(/^v1\./, 'v0.');
  const module = await GoModule.create(build, 'kubernetes');
  // The answers are the go command's own, documented JSON (`go help mod download`, `go help mod edit`).
  const download = JSON.parse(
    await module.go('mod', 'download', '-json', `k8s.io/kubernetes@${version}`),
  ) as {
    readonly GoMod: string;
  };
  const goMod = JSON.parse(await module.go('mod', 'edit', '-json', download.GoMod)) as GoModFile;
  const replaced = (goMod.Replace ?? [])
    .filter((r) => r.New.Path.startsWith('./staging/'))
    .map((r) => `-replace=${r.Old.Path}=${r.Old.Path}@${staging}`);
  await module.go('mod', 'edit', `-require=k8s.io/kubernetes@${version}`, ...replaced);
  const [major, minor] = KUBERNETES_VERSION.split('.');
  const component = 'k8s.io/component-base/version';
  const variables = {
    [`${component}.gitVersion`]: version,
    [`${component}.gitMajor`]: major,
    [`${component}.gitMinor`]: minor,
    [`${component}.gitTreeState`]: 'clean',
    'k8s.io/client-go/pkg/version.gitVersion': version,
  };
  const flags = Object.entries(variables).map(([name, value]) => `-X ${name}=${value}`);
  await module.compile(
    ['-s -w', ...flags].join(' '),
    programs.map((name) => `k8s.io/kubernetes/cmd/${name}`),
  );
}

/** etcd. Its main package is the module's root, so the binary is named after the module's last element. */
export async function buildEtcd(build: GoBuild): Promise<void> {
  const module = await GoModule.create(build, 'etcd');
  await module.go('mod', 'edit', `-require=go.etcd.io/etcd/server/v3@v${ETCD_VERSION}`);
  await module.go(
    'build',
    '-v',
    '-ldflags',
    '-s -w',
    '-o',
    join(build.outDirectory, 'etcd'),
    'go.etcd.io/etcd/server/v3',
  );
}

/** etcdctl and etcdutl: modules of their own, whose roots are their main packages. */
export async function buildEtcdTools(build: GoBuild): Promise<void> {
  const modules = ETCD_TOOLS.map((name) => `go.etcd.io/etcd/${name}/v3`);
  const module = await GoModule.create(build, 'etcdtools');
  await module.go('mod', 'edit', ...modules.map((path) => `-require=${path}@v${ETCD_VERSION}`));
  await module.compile('-s -w', modules);
}

const PLUGIN_FOLDERS: Readonly<Record<(typeof CNI_PLUGINS)[number], string>> = {
  bridge: 'main/bridge',
  macvlan: 'main/macvlan',
  loopback: 'main/loopback',
  ptp: 'main/ptp',
  'host-local': 'ipam/host-local',
  static: 'ipam/static',
};

/** The reference plugins. */
export async function buildCniPlugins(build: GoBuild): Promise<void> {
  const module = await GoModule.create(build, 'cni-plugins');
  await module.go('mod', 'edit', `-require=github.com/containernetworking/plugins@v${CNI_PLUGINS_VERSION}`);
  const packages = CNI_PLUGINS.map(
    (name) => `github.com/containernetworking/plugins/plugins/${PLUGIN_FOLDERS[name]}`,
  );
  await module.compile('-s -w', packages);
}

/** cnitool, which no release archive contains. */
export async function buildCnitool(build: GoBuild): Promise<void> {
  const module = await GoModule.create(build, 'cnitool');
  await module.go('mod', 'edit', `-require=github.com/containernetworking/cni@v${CNI_VERSION}`);
  await module.compile('-s -w', ['github.com/containernetworking/cni/cnitool']);
}

/** The container runtime as kind builds it, but for the snapshotters that need a C library. */
export async function buildContainerd(build: GoBuild): Promise<void> {
  const path = 'github.com/containerd/containerd/v2';
  const module = await GoModule.create(build, 'containerd');
  await module.go('mod', 'edit', `-require=${path}@v${CONTAINERD_VERSION}`);
  await module.compile(
    '-s -w',
    CONTAINERD_BINARIES.map((name) => `${path}/cmd/${name}`),
    ['no_aufs', 'no_zfs', 'no_btrfs', 'no_devmapper'],
  );
}

/** Plugins of the Corefile that kubeadm writes. The others, such as those for cloud providers, take minutes more. */
const COREDNS_PLUGINS = [
  'reload',
  'ready',
  'health',
  'errors',
  'cache',
  'loop',
  'loadbalance',
  'kubernetes',
  'forward',
  'metrics',
] as const;

function coreDnsMain(): string {
  // The order is the one in which plugins see a request (CoreDNS' plugin.cfg).
  const order = ['reload', 'ready', 'health', 'prometheus', 'errors', 'cache', 'loadbalance', 'kubernetes'];
  const directives = [...order, 'loop', 'forward'].map((name) => `"${name}"`).join(', ');
  return [
    'package main',
    'import (',
    '"github.com/coredns/coredns/core/dnsserver"',
    '"github.com/coredns/coredns/coremain"',
    ...COREDNS_PLUGINS.map((name) => `_ "github.com/coredns/coredns/plugin/${name}"`),
    ')',
    `func init() { dnsserver.Directives = []string{${directives}} }`,
    'func main() { coremain.Run() }',
    '',
  ].join('\n');
}

/** The cluster's DNS server, with the plugins that kubeadm's configuration names. */
export async function buildCoreDns(build: GoBuild): Promise<void> {
  const module = await GoModule.create(build, 'coredns');
  await module.go('mod', 'edit', `-require=github.com/coredns/coredns@v${COREDNS_VERSION}`);
  await module.write('main.go', coreDnsMain());
  await module.compile('-s -w', ['.']);
}

/** kind, and beside it, in `base-files`, what its node images have besides programs. */
export async function buildKind(build: GoBuild): Promise<void> {
  const module = await GoModule.create(build, 'kind');
  await module.go('mod', 'edit', `-require=sigs.k8s.io/kind@v${KIND_VERSION}`);
  await module.compile('-s -w', ['sigs.k8s.io/kind']);
  const source = await module.sourceOf(`sigs.k8s.io/kind@v${KIND_VERSION}`);
  const files = join(build.outDirectory, 'base-files');
  await cp(join(source, 'images/base/files'), files, { recursive: true });
  // The module cache is read-only, which a copy inherits and could then not be removed.
  await build.run('chmod', ['-R', 'u+w', files]);
}

/** What Multus' own image starts on each node: it writes Multus' configuration and copies the thin plugin. */
export async function buildMultusEntrypoint(build: GoBuild): Promise<void> {
  const path = 'gopkg.in/k8snetworkplumbingwg/multus-cni.v4';
  const module = await GoModule.create(build, 'multus-entrypoint');
  await module.go('mod', 'edit', `-require=${path}@v${MULTUS_VERSION}`);
  await module.compile('-s -w', [`${path}/cmd/thin_entrypoint`]);
}

/** Multus' thin plugin, which the runtime starts for each call. */
export async function buildMultus(build: GoBuild): Promise<void> {
  const path = 'gopkg.in/k8snetworkplumbingwg/multus-cni.v4';
  const module = await GoModule.create(build, 'multus');
  await module.go('mod', 'edit', `-require=${path}@v${MULTUS_VERSION}`);
  // What `multus --version` says, as its own release build sets it.
  await module.compile(`-s -w -X ${path}/pkg/multus.version=v${MULTUS_VERSION}`, [`${path}/cmd/multus`]);
}

/** Whereabouts' plugin, and its kinds in the directory `crds`. Its main package is called cmd. */
export async function buildWhereabouts(build: GoBuild): Promise<void> {
  const path = 'github.com/k8snetworkplumbingwg/whereabouts';
  const module = await GoModule.create(build, 'whereabouts');
  await module.go('mod', 'edit', `-require=${path}@v${WHEREABOUTS_VERSION}`);
  const out = join(build.outDirectory, 'whereabouts');
  await module.go('build', '-v', '-ldflags', '-s -w', '-o', out, `${path}/cmd`);
  const files = join(await module.sourceOf(`${path}@v${WHEREABOUTS_VERSION}`), 'doc/crds');
  for (const kind of ['ippools', 'overlappingrangeipreservations']) {
    const file = `whereabouts.cni.cncf.io_${kind}.yaml`;
    await cp(join(files, file), join(build.outDirectory, 'crds', file));
  }
  await build.run('chmod', ['-R', 'u+w', join(build.outDirectory, 'crds')]);
}

/** Helm. */
export async function buildHelm(build: GoBuild): Promise<void> {
  const module = await GoModule.create(build, 'helm');
  await module.go('mod', 'edit', `-require=helm.sh/helm/v4@v${HELM_VERSION}`);
  // What `helm version` says, as its own release build sets it; charts ask for it.
  const variable = 'helm.sh/helm/v4/internal/version.version';
  await module.compile(`-s -w -X ${variable}=v${HELM_VERSION}`, ['helm.sh/helm/v4/cmd/helm']);
}
