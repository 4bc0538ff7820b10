/**
 * An image as one file that every tool loads: an OCI image layout, and beside it the `manifest.json` by which older
 * `docker load` finds the same blobs.
 */
import { createHash } from 'node:crypto';
import { type Layer, type TarEntry, tar } from './tar.ts';

export interface Image {
  /** With registry and tag, as in `docker.io/library/berth:0.1.0`. */
  readonly reference: string;
  readonly architecture: 'amd64' | 'arm64';
  /** From the lowest up. */
  readonly layers: readonly (Layer & { readonly createdBy: string })[];
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** `uid:gid` */
  readonly user: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** The same for every build: an image's digest must follow from what is in it. */
const CREATED = '1970-01-01T00:00:00Z';

const MEDIA = {
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
} as const;

function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

/** What is made of an image. */
export interface Archive {
  readonly file: Buffer;
  /** Of the manifest, as `sha256:…`: what a registry would call the image. */
  readonly digest: string;
  /** Bytes of the compressed layers: what a node downloads. */
  readonly compressedBytes: number;
}

/** @returns the archive; the same bytes for the same image */
export function archiveOf(image: Image): Archive {
  const blobs = new Map<string, Buffer>();
  const add = (mediaType: string, data: Buffer): { mediaType: string; digest: string; size: number } => {
    blobs.set(sha256(data), data);
    return { mediaType, digest: `sha256:${sha256(data)}`, size: data.length };
  };
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  const layers = image.layers.map((layer) => add(MEDIA.layer, layer.compressed));
  const config = add(
    MEDIA.config,
    json({
      created: CREATED,
      architecture: image.architecture,
      os: 'linux',
      config: {
        User: image.user,
        Env: Object.entries(image.environment).map(([name, value]) => `${name}=${value}`),
        Entrypoint: image.entrypoint,
        Cmd: image.command,
        WorkingDir: '/',
        Labels: image.labels,
      },
      rootfs: { type: 'layers', diff_ids: image.layers.map(({ diffId }) => diffId) },
      history: image.layers.map(({ createdBy }) => ({ created: CREATED, created_by: createdBy })),
    }),
  );
  const manifest = add(
    MEDIA.manifest,
    json({ schemaVersion: 2, mediaType: MEDIA.manifest, config, layers, annotations: image.labels }),
  );
  const platform = { architecture: image.architecture, os: 'linux' };
  const annotations = {
    // containerd takes the whole name from the first, other tools the tag from the second.
    'io.containerd.image.name': image.reference,
    'org.opencontainers.image.ref.name': image.reference.slice(image.reference.lastIndexOf(':') + 1),
  };
  const index = {
    schemaVersion: 2,
    mediaType: MEDIA.index,
    manifests: [{ ...manifest, annotations, platform }],
  };
  const path = ({ digest }: { digest: string }): string => `blobs/sha256/${digest.replace('sha256:', '')}`;
  const docker = [{ Config: path(config), RepoTags: [image.reference], Layers: layers.map(path) }];
  const file = (name: string, content: Buffer): TarEntry => ({
    path: name,
    kind: 'file',
    mode: 0o644,
    content,
  });
  return {
    file: tar([
      file('oci-layout', json({ imageLayoutVersion: '1.0.0' })),
      file('index.json', json(index)),
      file('manifest.json', json(docker)),
      ...[...blobs].map(([digest, data]) => file(`blobs/sha256/${digest}`, data)),
    ]),
    digest: manifest.digest,
    compressedBytes: layers.reduce((total, { size }) => total + size, 0),
  };
}
