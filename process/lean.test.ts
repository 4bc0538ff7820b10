import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';

const directory = mkdtempSync(join(tmpdir(), 'berth-lean-'));
afterAll(() => rmSync(directory, { recursive: true }));

interface Seen {
  pid: number;
  execArgv: string[];
  argv: string[];
  arenas: string | undefined;
}

/** A program that says how it was started, and how often: each start adds a letter to a file. */
function run(environment: Record<string, string>): { seen: Seen; starts: number } {
  const counter = join(directory, `starts-${Object.keys(environment).join('-')}`);
  const program = join(directory, 'program.mjs');
  const lean = new URL('lean.ts', import.meta.url).href;
  writeFileSync(
    join(directory, 'count.mjs'),
    `import { appendFileSync } from 'node:fs'; appendFileSync(${JSON.stringify(counter)}, 'x');`,
  );
  writeFileSync(
    program,
    `import './count.mjs';
     import ${JSON.stringify(lean)};
     const { pid, execArgv, argv, env } = process;
     console.log(JSON.stringify({ pid, execArgv, argv: argv.slice(2), arenas: env.MALLOC_ARENA_MAX }));`,
  );
  writeFileSync(counter, '');
  const output = execFileSync(process.execPath, [program, '--a', 'b c'], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'] ?? '', ...environment },
  });
  // What the program above prints.
  const seen = JSON.parse(output) as Seen;
  return { seen, starts: execFileSync('cat', [counter], { encoding: 'utf8' }).length };
}

test('the program runs with the small settings, with its own arguments, after one more start', () => {
  const { seen, starts } = run({});
  expect(starts).toBe(2);
  expect(seen.execArgv).toContain('--max-semi-space-size=8');
  expect(seen.arenas).toBe('1');
  expect(seen.argv).toEqual(['--a', 'b c']);
});

test("the caller's own MALLOC_ARENA_MAX wins", () => {
  expect(run({ MALLOC_ARENA_MAX: '4' }).seen.arenas).toBe('4');
});
