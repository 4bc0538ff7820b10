/**
 * `make image`: the image of agent, operator, installer and remover as `dist/image-<architecture>.tar`, without a registry
 * and without a container engine. `docker load`, `ctr images import` and `kind load image-archive` take the file.
 *
 *   node hack/image.ts                  for this machine
 *   node hack/image.ts amd64 arm64      for these
 *
 * - BERTH_IMAGE is the image's name, with the tag; default `docker.io/library/berth:<version>`.
 * - BERTH_SOURCE and BERTH_REVISION, where they are set, become the labels of the same meaning.
 * - The same sources and the same Debian packages make the same bytes.
 *
 * The Dockerfile in the root makes the same image from a registry's base. Exits 2 on a usage error.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { terminalProgress } from '../e2e/controlplane/progress.ts';
import { archiveOf } from './image/archive.ts';
import { baseLayer, PLATFORMS, type Platform } from './image/base.ts';
import { APPLICATION, IMAGE_CONFIG, labelsOf } from './image/contents.ts';
import { layerOf, type TarEntry } from './image/tar.ts';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');

// This repository's own file, in npm's format.
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

function applicationEntries(platform: Platform): TarEntry[] {
  return APPLICATION.map(({ from, to, mode }) => {
    const source = join(root, from.replace('${TARGETARCH}', platform.name));
    return { path: to.slice(1), kind: 'file', mode, content: readFileSync(source) };
  });
}

async function build(platform: Platform): Promise<void> {
  const step = terminalProgress().step(`image for ${platform.name}`);
  try {
    const base = await baseLayer(platform, step);
    step.update('packing');
    const archive = archiveOf({
      reference: process.env['BERTH_IMAGE'] || `docker.io/library/berth:${version}`,
      architecture: platform.name,
      layers: [
        { ...base, createdBy: 'node and its libraries' },
        { ...layerOf(applicationEntries(platform)), createdBy: `berth ${version}` },
      ],
      labels: labelsOf(version, process.env),
      ...IMAGE_CONFIG,
    });
    const output = join(dist, `image-${platform.name}.tar`);
    writeFileSync(`${output}.new`, archive.file);
    renameSync(`${output}.new`, output);
    const megabytes = (archive.compressedBytes / 1e6).toFixed(1);
    step.done(`dist/image-${platform.name}.tar: ${megabytes} MB compressed, ${archive.digest}`);
  } catch (error) {
    step.failed(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const host = process.arch === 'x64' ? 'amd64' : process.arch;
  const wanted = argv.length === 0 ? [host] : argv;
  const platforms = wanted.map((name) => PLATFORMS.find((each) => each.name === name));
  const known = platforms.filter((platform) => platform !== undefined);
  if (known.length < platforms.length) {
    console.error(`image: no such architecture in "${wanted.join(' ')}": use amd64, arm64 or both`);
    return 2;
  }
  for (const platform of known) await build(platform);
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
