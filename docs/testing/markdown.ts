/** Just enough Markdown for the tests of the documents: files, fenced code, tables, links. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Repository root. */
export const ROOT: string = join(import.meta.dirname, '../..');

/** Every Markdown file that is part of the repository, relative to the root. */
export function documents(): string[] {
  return globSync('**/*.md', {
    cwd: ROOT,
    exclude: (name) => ['node_modules', 'dist', 'coverage', 'out'].includes(name),
  }).toSorted();
}

/** @param path relative to the root */
export function readDocument(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** One fenced code block. */
export interface Snippet {
  readonly file: string;
  readonly line: number;
  readonly language: string;
  readonly text: string;
  /** What a comment `<!-- step: … -->` in the line before names. */
  readonly step: string | undefined;
  /** The `text` block in the line after it: what a command prints. */
  readonly output: string | undefined;
}

/** The fenced code blocks of a document, in order; one that is another's output is not one of its own. */
export function snippets(file: string, source: string = readDocument(file)): Snippet[] {
  const block = /^(?:<!-- step: (.+) -->\n)?```([\w-]*)\n([\s\S]*?)^```$(?:\n```text\n([\s\S]*?)^```$)?/gm;
  return [...source.matchAll(block)].map(([, step, language = '', text = '', output], i, all) => ({
    file,
    line: source.slice(0, all[i]?.index).split('\n').length,
    language,
    text,
    step,
    output,
  }));
}

/** Rows of the first table after a heading, without its head; cells are trimmed, escaped bars are whole. */
export function tableAfter(source: string, heading: string): string[][] {
  const [, after] = `\n${source}`.split(`\n${heading}\n`);
  if (after === undefined) throw new Error(`there is no heading "${heading}"`);
  const table = /(?:^\|.*\|\n)+/m.exec(after)?.[0] ?? '';
  return table
    .trimEnd()
    .split('\n')
    .slice(2)
    .map((row) =>
      row
        .slice(1, -1)
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim()),
    );
}

/** The text inside a cell's first pair of backticks; undefined if it has none. */
export function code(cell: string | undefined): string | undefined {
  return /`([^`]+)`/.exec(cell ?? '')?.[1];
}

/** Targets of inline links and pictures, without those inside of code. */
export function links(source: string): string[] {
  const prose = source.replaceAll(/^```[\s\S]*?^```$/gm, '').replaceAll(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? '');
}

/** The anchors that headings make, as GitHub makes them. */
export function anchors(source: string): string[] {
  return [...source.matchAll(/^#{1,6} (.+)$/gm)].map((match) =>
    (match[1] ?? '')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}
