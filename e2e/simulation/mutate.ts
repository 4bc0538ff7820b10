/** A copy of the source with one mutation in it, and the simulation run from that copy. */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import type { Mutation } from './mutations.ts';

const ROOT: string = path.resolve(import.meta.dirname, '../..');
/** What agent, operator, binary and simulation are made of. */
const SOURCES = ['ipam', 'kube', 'crds', 'process', 'plugin', 'operator', 'e2e/simulation', 'package.json'];
const MAIN = 'e2e/simulation/main.ts';

export interface Finding {
  /** What the simulation said. */
  readonly output: string;
  readonly isFound: boolean;
}

/**
 * Runs the mutation's own seed, and all of them if that does not find it (any more).
 * @throws Error if the mutation fits its file not exactly once, or its source does not run
 */
export async function search(mutation: Mutation, seeds: number): Promise<Finding> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'berth-mutation-'));
  try {
    for (const source of SOURCES) {
      fs.cpSync(path.join(ROOT, source), path.join(directory, source), { recursive: true });
    }
    fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(directory, 'node_modules'));
    mutate(path.join(directory, mutation.file), mutation);
    const tries = [
      ['--seeds', '1', '--from', String(mutation.seed)],
      ['--seeds', String(seeds)],
    ];
    const onlyWith = mutation.onlyWith === undefined ? [] : ['--only-with', mutation.onlyWith.join()];
    let said = '';
    for (const args of tries) {
      const { status, output } = await node(directory, [MAIN, '--brief', ...onlyWith, ...args]);
      said = output;
      if (status === 0) continue;
      if (!/^seed \d+: (?!the simulation failed)/m.test(output)) {
        throw new Error(`"${mutation.name}" does not run: ${output}`);
      }
      return { output, isFound: true };
    }
    return { output: said, isFound: false };
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

function mutate(file: string, { name, find, replace }: Mutation): void {
  const [before, after, ...more] = fs.readFileSync(file, 'utf8').split(find);
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(`"${name}" must fit ${file} once, and does ${more.length === 0 ? 'not' : 'more often'}`);
  }
  fs.writeFileSync(file, before + replace + after);
}

function node(cwd: string, args: readonly string[]): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const collect = (text: string): void => {
      output += text;
    };
    child.stdout.setEncoding('utf8').on('data', collect);
    child.stderr.setEncoding('utf8').on('data', collect);
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, output }));
  });
}
