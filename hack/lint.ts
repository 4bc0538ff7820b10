/** `make lint`: every check of the sources, all of them even where one fails. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkTree } from './imports.ts';
import { ROOT, tool, toolEnvironment } from './tools.ts';

/** What a check has to say: its output, and whether it is content. */
interface Verdict {
  readonly name: string;
  readonly ok: boolean;
  readonly output: string;
}

function runCheck(name: string, command: string, args: readonly string[]): Promise<Verdict> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: ROOT,
      env: toolEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const collect = (text: string): void => {
      output += text;
    };
    child.stdout.setEncoding('utf8').on('data', collect);
    child.stderr.setEncoding('utf8').on('data', collect);
    child.on('error', (error) => reject(new Error(`${name}: ${error.message}`, { cause: error })));
    child.on('close', (code) => resolve({ name, ok: code === 0, output: output.trim() }));
  });
}

function checkImports(): Verdict {
  const violations = checkTree(ROOT);
  return {
    name: 'import directions',
    ok: violations.length === 0,
    output: violations.map((v) => `${v.file}:${v.line}: ${v.message}`).join('\n'),
  };
}

const CHECKS: readonly (() => Verdict | Promise<Verdict>)[] = [
  () => runCheck('types', tool('tsc'), ['-p', '.']),
  () => runCheck('types of ipam (without Node)', tool('tsc'), ['-p', 'ipam']),
  () => runCheck('oxlint', tool('oxlint'), []),
  () => runCheck('format', tool('biome'), ['check', '--error-on-warnings', '.']),
  checkImports,
];

const generator: string = join(import.meta.dirname, 'generate.ts');

async function main(): Promise<void> {
  const checks = [...CHECKS];
  if (existsSync(generator)) {
    checks.push(() => runCheck('generated files', process.execPath, [generator, '--check']));
  }
  let failed = 0;
  for (const check of checks) {
    const verdict = await check();
    console.log(`${verdict.ok ? '✓' : '✗'} ${verdict.name}`);
    if (verdict.ok) continue;
    failed += 1;
    console.log(verdict.output);
  }
  if (failed > 0) {
    console.log(`lint: ${failed} of ${checks.length} checks failed`);
    process.exitCode = 1;
  }
}

await main();
