/**
 * Writes what follows from the CRDs: `crds/types.ts` and the field tables under `docs/reference/`; and what the chart has
 * from elsewhere: copies of the kinds, roles and policy, and the values and their reference from its schema.
 *
 *   node hack/generate.ts           writes the files that differ
 *   node hack/generate.ts --check   writes nothing, names the files that differ, and exits 1 if there are any
 *
 * Exits 2 on a usage error.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CHART_COPIES, type ValuesSchema, valuesFile, valuesReference } from './generate/chart.ts';
import { kindFromCrd } from './generate/kind.ts';
import { generateReference } from './generate/reference.ts';
import { generateTypes } from './generate/types.ts';

const root = join(import.meta.dirname, '..');
const sources = ['crds/ippool.yaml', 'crds/ipreservation.yaml'];

/** Every generated file: its path from the repository's root, and what it should contain. */
async function generateAll(): Promise<ReadonlyMap<string, string>> {
  const kinds = await Promise.all(
    sources.map(async (path) => kindFromCrd(path, await readFile(join(root, path), 'utf8'))),
  );
  const files = new Map<string, string>([['crds/types.ts', await generateTypes(kinds)]]);
  for (const kind of kinds) {
    files.set(`docs/reference/${kind.names.kind.toLowerCase()}.md`, generateReference(kind));
  }
  for (const [copy, source] of Object.entries(CHART_COPIES)) {
    files.set(`charts/berth/files/${copy}`, await readFile(join(root, source), 'utf8'));
  }
  const schema = await readFile(join(root, 'charts/berth/values.schema.json'), 'utf8');
  // A JSON schema; Helm refuses it if it is none.
  const values = JSON.parse(schema) as ValuesSchema;
  files.set('charts/berth/values.yaml', valuesFile(values));
  files.set('docs/reference/values.md', valuesReference(values));
  return files;
}

/** The content of a file, or undefined if there is none. */
async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const unknown = argv.find((argument) => argument !== '--check');
  if (unknown !== undefined) {
    process.stderr.write(`generate: unknown argument "${unknown}": use --check or nothing\n`);
    return 2;
  }
  const check = argv.includes('--check');
  let different = 0;
  for (const [path, content] of await generateAll()) {
    const target = join(root, path);
    if ((await readIfPresent(target)) === content) continue;
    different += 1;
    if (check) {
      process.stderr.write(
        `${path} does not follow from its source: run "npm run generate" and commit the result\n`,
      );
    } else {
      await writeFile(target, content);
      process.stdout.write(`wrote ${path}\n`);
    }
  }
  return check && different > 0 ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
