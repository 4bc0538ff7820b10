/**
 * `make test`: runs vitest and says in one plain line what came out.
 *
 * A skipped or unfinished test is a failure here: a test that does not run proves nothing, and nobody notices.
 * Arguments are handed to vitest: `node hack/test.ts --project unit`. Without a project all run that need no cluster.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { summarize } from './testsummary.ts';
import { ROOT, tool, toolEnvironment } from './tools.ts';

/** `make e2e` runs the project `kind`, on a cluster that it has made. */
const WITHOUT_CLUSTER = ['--project=unit', '--project=integration'];

function runVitest(args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    // CI makes vitest refuse `.only`.
    const env = toolEnvironment({ CI: 'true' });
    const child = spawn(tool('vitest'), args, { cwd: ROOT, env, stdio: 'inherit' });
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
  });
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-tests-'));
  const report = join(directory, 'report.json');
  try {
    const given = process.argv.slice(2);
    const projects = given.some((arg) => arg.startsWith('--project')) ? [] : WITHOUT_CLUSTER;
    // Scenarios of minutes are told one by one.
    const reporter = given.includes('kind') ? 'verbose' : 'default';
    const args = ['run', `--reporter=${reporter}`, '--reporter=json', `--outputFile.json=${report}`];
    const code = await runVitest([...args, ...projects, ...given]);
    if (!existsSync(report))
      throw new Error(`vitest ended with status ${code} and left no report: see above`);
    const summary = summarize(readFileSync(report, 'utf8'), code);
    for (const complaint of summary.complaints) console.log(complaint);
    console.log(summary.line);
    process.exitCode = summary.ok ? 0 : 1;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

await main();
