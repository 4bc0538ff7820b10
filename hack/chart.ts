/**
 * `make chart`: packs the chart into `dist/berth-<version>.tgz`, with the version of package.json.
 *
 *   node hack/chart.ts [repository]     the image's repository, which becomes the chart's default
 *
 * Exits 2 on a usage error.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveHelm } from '../e2e/controlplane/assets.ts';
import { run } from '../e2e/controlplane/run.ts';
import { type ValuesSchema, valuesFile } from './generate/chart.ts';

const root = join(import.meta.dirname, '..');

/** The schema with another default of `image.repository`. */
function withRepository(schema: string, repository: string): string {
  const old = '"default": "berth"';
  if (schema.split(old).length !== 2) throw new Error(`values.schema.json has not exactly one ${old}`);
  return schema.replace(old, `"default": ${JSON.stringify(repository)}`);
}

async function main(argv: readonly string[]): Promise<number> {
  const [repository, ...more] = argv;
  if (more.length > 0) {
    console.error(`chart: one argument at most, the image's repository, not "${argv.join(' ')}"`);
    return 2;
  }
  // This repository's own file, in npm's format.
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const helm = await resolveHelm();
  const work = mkdtempSync(join(tmpdir(), 'berth-chart-'));
  try {
    const chart = join(work, 'berth');
    cpSync(join(root, 'charts/berth'), chart, { recursive: true });
    const path = join(chart, 'values.schema.json');
    const schema = readFileSync(path, 'utf8');
    if (repository !== undefined) writeFileSync(path, withRepository(schema, repository));
    writeFileSync(
      join(chart, 'values.yaml'),
      // A JSON schema; helm package refuses it if it is none.
      valuesFile(JSON.parse(readFileSync(path, 'utf8')) as ValuesSchema),
    );
    const dist = join(root, 'dist');
    mkdirSync(dist, { recursive: true });
    await run(helm, [
      'package',
      chart,
      '--version',
      version,
      '--app-version',
      version,
      '--destination',
      dist,
    ]);
    console.log(`dist/berth-${version}.tgz`);
    return 0;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

process.exitCode = await main(process.argv.slice(2));
