import { type ChildProcess, spawn } from 'node:child_process';
import { afterEach, expect, test } from 'vitest';

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
  }
});

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Starts the test program; `onOutput` sees all of stdout so far after each piece. */
function run(
  argv: string[],
  onOutput: (child: ChildProcess, stdout: string) => void = () => undefined,
): Promise<Ended> {
  const child = spawn(process.execPath, [new URL('testing/program.ts', import.meta.url).pathname, ...argv]);
  children.push(child);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (piece: Buffer) => {
    stdout += piece.toString();
    onOutput(child, stdout);
  });
  child.stderr.on('data', (piece: Buffer) => {
    stderr += piece.toString();
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

test('a body that returns ends the process with 0, even with timers left', async () => {
  const ended = await run(['--does=return']);
  expect(ended.code).toBe(0);
  const lines = ended.stdout
    .trim()
    .split('\n')
    // Every line of the log is an object.
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines.map((line) => line['msg'])).toEqual(['starting', 'running', 'stopped']);
  expect(lines[1]).toMatchObject({ level: 'info', name: 'berth-test' });
  expect(lines[1]?.['time']).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
});

test('a body that throws ends the process with 1 and its error is logged with the stack', async () => {
  const ended = await run(['--does=throw']);
  expect(ended.code).toBe(1);
  expect(ended.stdout).toMatch(/"level":"error".*thrown by the body.*program\.ts/);
});

test('an unhandled rejection is logged and ends the process with 1', async () => {
  const ended = await run(['--does=reject']);
  expect(ended.code).toBe(1);
  expect(ended.stdout).toMatch(/"event":"unhandledRejection".*/);
  expect(ended.stdout).toContain('left alone');
});

test.each(['SIGTERM', 'SIGINT'] as const)(
  '%s aborts the signal, and the process ends with 0',
  async (name) => {
    let sent = false;
    const ended = await run(['--does=wait'], (child, stdout) => {
      if (!sent && stdout.includes('running')) {
        sent = true;
        child.kill(name);
      }
    });
    expect(ended.code).toBe(0);
  },
);

test('a second signal ends a body that does not return', async () => {
  let sent = 0;
  const ended = await run(['--does=hang'], (child, stdout) => {
    const want = stdout.includes('stopping') ? 2 : stdout.includes('running') ? 1 : 0;
    while (sent < want) {
      sent += 1;
      child.kill('SIGTERM');
    }
  });
  expect(ended.code).toBe(1);
});

test('a usage error is one line on stderr and status 2', async () => {
  const ended = await run(['--does=dance']);
  expect(ended).toMatchObject({ code: 2, stdout: '' });
  expect(ended.stderr).toMatch(/^berth-test: --does is "dance": .*\n$/);
});

test('--help is on stdout with status 0', async () => {
  const ended = await run(['--help']);
  expect(ended).toMatchObject({ code: 0, stderr: '' });
  expect(ended.stdout).toContain('--does <string>');
});
