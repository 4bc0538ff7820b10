/** The Debian root of a node image: packages, kind's own files, and our programs. */
import { createHash } from 'node:crypto';
import { chmod, copyFile, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { resolveSet } from '../../controlplane/assetset.ts';
import type { Progress, Step } from '../../controlplane/progress.ts';
import { type Run, run } from '../../controlplane/run.ts';
import { CONTAINERD_BINARIES, KUBERNETES_VERSION } from '../../controlplane/versions.ts';
import type { NodePrograms } from '../programs.ts';
import { LAZY_GARBAGE } from './images.ts';

/** Its systemd is the last one at ease with cgroup v1. */
const SUITE = 'bookworm';
const DEFAULT_MIRROR = 'http://deb.debian.org/debian';

/** What kind's Dockerfile installs, without storage clients; crun for runc, of which no Go module has all. */
const PACKAGES = [
  'systemd',
  'systemd-sysv',
  'dbus',
  'conntrack',
  'iptables',
  'nftables',
  'iproute2',
  'ethtool',
  'kmod',
  'libseccomp2',
  'pigz',
  'e2fsprogs',
  'ca-certificates',
  'curl',
  'jq',
  'procps',
  'crun',
] as const;

/**
 * What containerd starts as its runtime. Debian's crun knows the OCI runtime specification 1.0 and refuses a bundle that says it
 * is of a later one, as containerd's does whatever is in it; nothing of a later one is used here.
 */
const CRUN = `#!/bin/sh
set -eu
previous=
for word in "$@"; do
  [ "$previous" != --bundle ] || sed -i 's/"ociVersion":"[^"]*"/"ociVersion":"1.0.2"/' "$word/config.json"
  previous=$word
done
exec /usr/bin/crun "$@"
`;
const CRUN_PLACE = 'usr/local/bin/crun-1.0';

/** In a root, what no node needs. */
const GARBAGE =
  'var/cache/apt/archives/*.deb var/lib/apt/lists/* usr/share/doc usr/share/man usr/share/locale';
const ARCHIVE = 'root.tar';

/** What a node image is made in and of. */
export interface RootfsOptions {
  /** Where the root is made; not there yet. */
  readonly root: string;
  /** The root with packages alone, of `resolveRoot`. */
  readonly archive: string;
  /** kind's base files. */
  readonly baseFiles: string;
  readonly programs: NodePrograms;
  /** Directory of the reference CNI plugins. */
  readonly plugins: string;
  /** The image that pods' namespaces are kept by. */
  readonly pauseImage: string;
}

/** The Debian mirror that apt uses here, else Debian's own. E2E_DEBIAN_MIRROR names another. */
export async function debianMirror(runProgram: Run = run): Promise<string> {
  const given = process.env['E2E_DEBIAN_MIRROR'];
  if (given !== undefined && given !== '') return given;
  const format = '$(ORIGIN) $(REPO_URI)';
  const lines = await runProgram('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']);
  const debian = /^Debian (\S+?)\/?$/m.exec(lines)?.[1];
  return debian ?? DEFAULT_MIRROR;
}

/** Fills a directory with `root.tar`, the root with its packages and nothing else. */
async function debootstrap(outDirectory: string, workDirectory: string, step: Step): Promise<void> {
  const mirror = await debianMirror();
  const root = join(workDirectory, 'root');
  const args = ['--variant=minbase', `--include=${PACKAGES.join(',')}`, SUITE, root, mirror];
  // It says on stdout what it does, and why it failed.
  await run('sh', ['-c', 'exec debootstrap "$@" >&2', 'sh', ...args], {
    onLine: (line) => step.update(line.replace(/^I: /, '')),
  });
  await run('sh', ['-ec', `rm -rf ${GARBAGE}`], { cwd: root });
  const archive = join(outDirectory, ARCHIVE);
  const left = ['proc', 'sys', 'dev', 'run'].map((name) => `--exclude=./${name}/*`);
  await run('tar', ['--directory', root, ...left, '--create', '--file', archive, '.']);
  // The cache takes a file for whole if it is a program.
  await chmod(archive, 0o755);
}

/** The path of the root as an archive, cached by its packages. @throws AssetsError that says what was tried */
export async function resolveRoot(progress: Progress): Promise<string> {
  const hash = createHash('sha256')
    .update([SUITE, GARBAGE, ...PACKAGES].join(' '))
    .digest('hex');
  const directory = await resolveSet(
    {
      name: `Debian ${SUITE} root`,
      cacheName: `debian-${SUITE}-${process.arch}-${hash.slice(0, 12)}`,
      binaries: [ARCHIVE],
      variable: 'KIND_ROOT',
      ways: [{ name: 'debootstrap', fill: debootstrap }],
    },
    process.env,
    progress,
  );
  return join(directory, ARCHIVE);
}

async function copyBaseFiles({ root, baseFiles }: RootfsOptions): Promise<void> {
  await cp(baseFiles, root, { recursive: true, force: true });
  await rm(join(root, 'LICENSES'), { recursive: true, force: true });
  await run('chmod', ['-R', 'u=rwX,go=rX', join(root, 'kind'), join(root, 'etc/systemd/system')]);
  for (const directory of ['kind/bin', 'usr/local/bin']) {
    for (const name of await readdir(join(root, directory))) await chmod(join(root, directory, name), 0o755);
  }
}

async function replaceIn(path: string, replacements: Readonly<Record<string, string>>): Promise<void> {
  let text = await readFile(path, 'utf8');
  for (const [from, to] of Object.entries(replacements)) {
    if (!text.includes(from)) throw new Error(`${path} has no ${JSON.stringify(from)}: kind has changed it`);
    text = text.replace(from, to);
  }
  await writeFile(path, text);
}

async function configure({ root, pauseImage, programs }: RootfsOptions): Promise<void> {
  await replaceIn(join(root, 'etc/containerd/config.toml'), {
    'registry.k8s.io/pause:3.10': pauseImage,
    // Without CAP_SYS_RESOURCE no process may be protected from the memory killer more than its parent is.
    'restrict_oom_score_adj = false': 'restrict_oom_score_adj = true',
    // systemd would make a scope for each container, in every hierarchy of cgroup v1; crun starts one in a fraction of runc's time.
    'SystemdCgroup = true': `SystemdCgroup = false\n    BinaryName = "/${CRUN_PLACE}"`,
    '[proxy_plugins]': [
      '[plugins."io.containerd.cri.v1.runtime"]',
      // Nobody asks for them here. Once a second, as it is unless told, they take half of the time of containerd and its shims:
      // dozens of files for each container where the host has cgroup v1.
      '  stats_collect_period = "1m"',
      '[plugins."io.containerd.cri.v1.runtime".cni]',
      // A process less for each pod, and for each that goes.
      '  use_internal_loopback = true',
      '[plugins."io.containerd.metadata.v1.bolt"]',
      // Nothing outlives the machine.
      '  no_sync = true',
      '',
      '[proxy_plugins]',
    ].join('\n'),
  });
  await writeFile(join(root, CRUN_PLACE), CRUN, { mode: 0o755 });
  // Also for what they start: shims, and CNI plugins, which end before they would collect anything.
  const variables = Object.entries(LAZY_GARBAGE).map(([name, value]) => `Environment=${name}=${value}\n`);
  for (const unit of ['containerd', 'kubelet']) {
    const directory = join(root, `etc/systemd/system/${unit}.service.d`);
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, '20-garbage.conf'), `[Service]\n${variables.join('')}`);
  }
  const manifests = join(root, 'kind/manifests');
  await mkdir(manifests, { recursive: true });
  // kind applies it; no test needs volumes.
  const storageClass = {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: 'standard' },
    provisioner: 'kubernetes.io/no-provisioner',
  };
  await writeFile(join(manifests, 'default-storage.yaml'), JSON.stringify(storageClass));
  await writeFile(join(root, 'kind/version'), `v${KUBERNETES_VERSION}`);
  // As kind's Dockerfile makes it, but for a hook that mounts files of the machine's identity, which nothing here reads.
  const spec = JSON.parse(await run(join(programs.containerd, 'ctr'), ['oci', 'spec'])) as {
    process: { rlimits?: unknown };
  };
  delete spec.process.rlimits;
  await writeFile(join(root, 'etc/containerd/cri-base.json'), JSON.stringify(spec));
}

async function copyPrograms({ root, programs, plugins }: RootfsOptions): Promise<void> {
  const wanted = [
    ...CONTAINERD_BINARIES.map((name) => [programs.containerd, name, 'usr/local/bin']),
    ...['kubelet', 'kubeadm'].map((name) => [programs.node, name, 'usr/bin']),
    ['', programs.controlPlane.kubectl, 'usr/bin'],
    // The runtime itself needs it for every pod.
    [plugins, 'loopback', 'opt/cni/bin'],
  ] as const;
  for (const directory of ['opt/cni/bin', 'etc/cni/net.d', 'etc/kubernetes/manifests']) {
    await mkdir(join(root, directory), { recursive: true });
  }
  for (const [from, name, to] of wanted) {
    const target = join(root, to, name.split('/').at(-1) ?? name);
    await copyFile(join(from, name), target);
    await chmod(target, 0o755);
  }
}

/** From kind's Dockerfile: units that make no sense in a container go, those of a node start. */
const SERVICES = `
find /lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete
rm -f /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/* \\
  /lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/basic.target.wants/* \\
  /lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl*
echo ReadKMsg=no >>/etc/systemd/journald.conf
ln -sf /lib/systemd/systemd /sbin/init
systemctl enable kubelet.service containerd.service undo-mount-hacks.service
systemctl mask systemd-binfmt.service
`;

/** Makes the root. @throws Error if kind's files are not what they were */
export async function makeRootfs(options: RootfsOptions): Promise<void> {
  const { root, archive } = options;
  await mkdir(root);
  await run('tar', ['--directory', root, '--extract', '--file', archive]);
  await copyBaseFiles(options);
  await configure(options);
  await copyPrograms(options);
  await run('chroot', [root, 'sh', '-ec', SERVICES]);
}
