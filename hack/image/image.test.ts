import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Archive, archiveOf, type Image } from './archive.ts';
import { APPLICATION, IMAGE_CONFIG, labelsOf } from './contents.ts';
import { layerOf, type TarEntry, tar } from './tar.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'berth-image-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

const file = (path: string, content: string, mode = 0o644): TarEntry => ({
  path,
  kind: 'file',
  mode,
  content: Buffer.from(content),
});

/** As the OCI image format has it. */
interface Descriptor {
  readonly digest: string;
  readonly size: number;
}

const parsed = <T>(data: Buffer): T => JSON.parse(data.toString()) as T;

const ENTRIES: readonly TarEntry[] = [
  file('usr/bin/tool', 'x'.repeat(513), 0o755),
  file('etc/empty', ''),
  { path: 'tmp', kind: 'directory', mode: 0o1777 },
  { path: 'bin', kind: 'link', target: 'usr/bin' },
];

describe('tar', () => {
  test('is read by the system’s tar: modes, owner, times, content, links, the directories above', () => {
    const path = join(directory, 'a.tar');
    writeFileSync(path, tar(ENTRIES));
    const lines = execFileSync('tar', ['--numeric-owner', '--utc', '-tvf', path], { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map((line) => line.replace(/ +/g, ' '));
    expect(lines).toEqual([
      'lrwxrwxrwx 0/0 0 1970-01-01 00:00 bin -> usr/bin',
      'drwxr-xr-x 0/0 0 1970-01-01 00:00 etc/',
      '-rw-r--r-- 0/0 0 1970-01-01 00:00 etc/empty',
      'drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/',
      'drwxr-xr-x 0/0 0 1970-01-01 00:00 usr/',
      'drwxr-xr-x 0/0 0 1970-01-01 00:00 usr/bin/',
      '-rwxr-xr-x 0/0 513 1970-01-01 00:00 usr/bin/tool',
    ]);
    expect(execFileSync('tar', ['-xOf', path, 'usr/bin/tool'], { encoding: 'utf8' })).toBe('x'.repeat(513));
  });

  test('is the same bytes whatever the order of the entries', () => {
    expect(tar(ENTRIES.toReversed()).equals(tar(ENTRIES))).toBe(true);
  });

  test('refuses what it can not hold', () => {
    expect(() => tar([file('a', '1'), file('a', '2')])).toThrow('a is in the archive twice');
    expect(() => tar([file('x'.repeat(101), '')])).toThrow('longer than the 100 bytes');
  });
});

describe('the archive', () => {
  const image: Image = {
    reference: 'docker.io/library/berth:1.2.3',
    architecture: 'arm64',
    layers: [
      { ...layerOf(ENTRIES), createdBy: 'one' },
      { ...layerOf([file('berth/x', 'x')]), createdBy: 'two' },
    ],
    labels: labelsOf('1.2.3', {}),
    ...IMAGE_CONFIG,
  };

  /** The archive's files, as the system's tar unpacks them. */
  function unpack({ file: content }: Archive): (path: string) => Buffer {
    writeFileSync(join(directory, 'image.tar'), content);
    execFileSync('tar', ['-xf', 'image.tar'], { cwd: directory });
    return (path) => readFileSync(join(directory, path));
  }

  const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex');

  test('is an OCI layout whose digests and sizes are those of its blobs, down to the uncompressed layers', () => {
    const archive = archiveOf(image);
    const read = unpack(archive);
    expect(JSON.parse(read('oci-layout').toString())).toEqual({ imageLayoutVersion: '1.0.0' });
    const blob = ({ digest, size }: Descriptor): Buffer => {
      const data = read(`blobs/sha256/${digest.replace('sha256:', '')}`);
      expect([`sha256:${sha256(data)}`, data.length]).toEqual([digest, size]);
      return data;
    };
    const { manifests } = parsed<{ manifests: [Descriptor] }>(read('index.json'));
    expect(manifests).toMatchObject([
      {
        digest: archive.digest,
        platform: { architecture: 'arm64', os: 'linux' },
        annotations: { 'io.containerd.image.name': image.reference },
      },
    ]);
    const manifest = parsed<{ config: Descriptor; layers: Descriptor[] }>(blob(manifests[0]));
    const config = parsed<{ rootfs: { diff_ids: string[] } }>(blob(manifest.config));
    const layers = manifest.layers.map(blob);
    expect(config.rootfs.diff_ids).toEqual(layers.map((layer) => `sha256:${sha256(gunzipSync(layer))}`));
    expect(layers.reduce((total, { length }) => total + length, 0)).toBe(archive.compressedBytes);
    expect(config).toMatchObject({
      architecture: 'arm64',
      os: 'linux',
      config: { User: '65532:65532', Entrypoint: ['/usr/local/bin/node'], Labels: image.labels },
    });
  });

  test('names the same blobs for docker load', () => {
    const read = unpack(archiveOf(image));
    interface Entry {
      readonly Config: string;
      readonly RepoTags: readonly string[];
      readonly Layers: readonly string[];
    }
    const [docker] = parsed<[Entry]>(read('manifest.json'));
    expect(docker.RepoTags).toEqual(['docker.io/library/berth:1.2.3']);
    expect(docker.Layers).toHaveLength(2);
    for (const path of [docker.Config, ...docker.Layers]) expect(read(path).length).toBeGreaterThan(0);
  });

  test('is the same bytes for the same content, and another digest for other content', () => {
    expect(archiveOf(image).file.equals(archiveOf(image).file)).toBe(true);
    const other = { ...image, labels: labelsOf('1.2.4', {}) };
    expect(archiveOf(other).digest).not.toBe(archiveOf(image).digest);
  });
});

describe('the Dockerfile', () => {
  const root = join(import.meta.dirname, '../..');
  const lines = readFileSync(join(root, 'Dockerfile'), 'utf8').replaceAll('\\\n', ' ').split('\n');
  const argumentOf = (instruction: string): string =>
    (lines.find((line) => line.startsWith(`${instruction} `)) ?? '').slice(instruction.length + 1);

  test('copies the files that make image puts in, with their modes', () => {
    const copied = lines
      .map((line) => /^COPY --chmod=(\d+) (\S+) (\S+)$/.exec(line))
      .filter((match) => match !== null)
      .map(([, mode, from, to]) => ({ from, to, mode: Number.parseInt(mode ?? '', 8) }));
    expect(copied).toEqual(APPLICATION);
  });

  test('starts the same program as the same user', () => {
    expect(argumentOf('USER')).toBe(IMAGE_CONFIG.user);
    expect(JSON.parse(argumentOf('ENTRYPOINT'))).toEqual(IMAGE_CONFIG.entrypoint);
    expect(JSON.parse(argumentOf('CMD'))).toEqual(IMAGE_CONFIG.command);
    const environment = Object.entries(IMAGE_CONFIG.environment).map(([name, value]) => `${name}=${value}`);
    expect(argumentOf('ENV')).toBe(environment.join(' '));
  });

  test('has the same labels', () => {
    const labels = labelsOf('1.2.3', { BERTH_SOURCE: 'https://example.org/berth', BERTH_REVISION: 'abc' });
    const written = [...argumentOf('LABEL').matchAll(/([a-z.]+)="([^"]*)"/g)];
    expect(written.map(([, name]) => name)).toEqual(Object.keys(labels));
    for (const [, name, value] of written) {
      if (value?.startsWith('$') === false) expect(labels[name ?? '']).toBe(value);
    }
  });
});
