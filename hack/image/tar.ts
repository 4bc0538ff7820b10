/**
 * Layers of an image, and tar archives that are the same bytes for the same content: entries sorted by path, times 0, owner root.
 * Format: POSIX.1-1988 (ustar), as every container runtime reads it.
 */
import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';

/** One entry. Paths are relative and without a leading "./". */
export type TarEntry = { readonly path: string } & (
  | { readonly kind: 'directory'; readonly mode: number }
  | { readonly kind: 'file'; readonly mode: number; readonly content: Buffer }
  | { readonly kind: 'link'; readonly target: string }
);

const BLOCK = 512;
const TYPE_FLAGS = { file: '0', link: '2', directory: '5' } as const;

/** Every directory above the entries that is not among them, with mode 0755. */
function parentsOf(entries: readonly TarEntry[]): TarEntry[] {
  const known = new Set(entries.map(({ path }) => path));
  const missing = new Set<string>();
  for (const { path } of entries) {
    const parts = path.split('/');
    for (let end = 1; end < parts.length; end += 1) {
      const parent = parts.slice(0, end).join('/');
      if (!known.has(parent)) missing.add(parent);
    }
  }
  return [...missing].map((path) => ({ path, kind: 'directory', mode: 0o755 }));
}

/** The archive of `entries` and of the directories that they are in. @throws Error for a path that is twice there or too long */
export function tar(entries: readonly TarEntry[]): Buffer {
  const all = [...entries, ...parentsOf(entries)].toSorted((a, b) => Number(a.path > b.path) * 2 - 1);
  const blocks: Buffer[] = [];
  let previous = '';
  for (const entry of all) {
    if (entry.path === previous) throw new Error(`${entry.path} is in the archive twice`);
    previous = entry.path;
    const content = entry.kind === 'file' ? entry.content : Buffer.alloc(0);
    blocks.push(header(entry, content.length), content, Buffer.alloc(padding(content.length)));
  }
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

function padding(length: number): number {
  return (BLOCK - (length % BLOCK)) % BLOCK;
}

function header(entry: TarEntry, size: number): Buffer {
  const name = entry.kind === 'directory' ? `${entry.path}/` : entry.path;
  const target = entry.kind === 'link' ? entry.target : '';
  for (const text of [name, target]) {
    if (Buffer.byteLength(text) > 100)
      throw new Error(`${text} is longer than the 100 bytes of a tar header`);
  }
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, length: number): void => {
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1');
  };
  block.write(name, 0);
  octal(entry.kind === 'link' ? 0o777 : entry.mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  block.write(TYPE_FLAGS[entry.kind], 156);
  block.write(target, 157);
  block.write('ustar\x0000', 257, 'latin1');
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** A layer of an image. */
export interface Layer {
  /** The archive, compressed by gzip. */
  readonly compressed: Buffer;
  /** `sha256:…` of the archive before it was compressed. */
  readonly diffId: string;
}

/** A layer of these entries; the same bytes for the same entries. */
export function layerOf(entries: readonly TarEntry[]): Layer {
  return compressedLayer(gzipSync(tar(entries)));
}

/** The layer that was compressed before. @throws Error if it is no gzip file */
export function compressedLayer(compressed: Buffer): Layer {
  return {
    compressed,
    diffId: `sha256:${createHash('sha256').update(gunzipSync(compressed)).digest('hex')}`,
  };
}
