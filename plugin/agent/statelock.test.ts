import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { systemClock } from '../../kube/clock.ts';
import { recordingLog } from '../../kube/testing/recordinglog.ts';
import { LOCK_FILE, lockStateDir, type StateLock } from './statelock.ts';

let stateDir = '';
let children: ChildProcess[] = [];
let locks: StateLock[] = [];

beforeEach(() => {
  stateDir = fs.mkdtempSync(path.join(os.tmpdir(), 'berth-lock-'));
  children = [];
  locks = [];
});

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  for (const lock of locks) lock.release();
  fs.rmSync(stateDir, { recursive: true });
});

const running = new AbortController().signal;

async function lock(
  signal: AbortSignal = running,
): Promise<{ got: Promise<void>; log: ReturnType<typeof recordingLog> }> {
  const log = recordingLog();
  const got = lockStateDir({ stateDir, clock: systemClock, log }, signal).then(
    (each) => void locks.push(each),
  );
  // A rejection is awaited by the test.
  got.catch(() => undefined);
  return { got, log };
}

/** Another process that has the lock. */
async function holder(): Promise<ChildProcess> {
  const program = `
    import { lockStateDir } from ${JSON.stringify(new URL('statelock.ts', import.meta.url).href)};
    import { systemClock } from ${JSON.stringify(new URL('../../kube/clock.ts', import.meta.url).href)};
    import { silentLog } from ${JSON.stringify(new URL('../../kube/log.ts', import.meta.url).href)};
    const options = { stateDir: ${JSON.stringify(stateDir)}, clock: systemClock, log: silentLog };
    globalThis.lock = await lockStateDir(options, new AbortController().signal);
    console.log('locked');
    setInterval(() => globalThis.lock, 60_000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await once(child.stdout, 'data');
  return child;
}

test('a second process waits, says so, and has it when the first is killed', async () => {
  const first = await holder();
  const { got, log } = await lock();
  await vi.waitFor(() => expect(log.lines).toHaveLength(1));
  expect(log.lines[0]).toMatchObject({
    level: 'warn',
    message: expect.stringContaining('another agent has the state directory'),
  });
  expect(locks).toHaveLength(0);
  first.kill('SIGKILL');
  await got;
  expect(locks).toHaveLength(1);
});

test('a stop ends the waiting', async () => {
  await holder();
  const stop = new AbortController();
  const { got, log } = await lock(stop.signal);
  await vi.waitFor(() => expect(log.lines).toHaveLength(1));
  stop.abort(new Error('stopped'));
  await expect(got).rejects.toThrow('stopped');
});

test('one that was released is free at once', async () => {
  await (await lock()).got;
  locks.pop()?.release();
  const { got, log } = await lock();
  await got;
  expect(log.lines).toEqual([]);
});

test('the file is for its owner only, and stays empty', async () => {
  await (await lock()).got;
  const stat = fs.statSync(path.join(stateDir, LOCK_FILE));
  expect({ mode: stat.mode & 0o777, size: stat.size }).toEqual({ mode: 0o600, size: 0 });
  expect(fs.readdirSync(stateDir)).toEqual([LOCK_FILE]);
});

test('what somebody wrote into the file does no harm', async () => {
  fs.writeFileSync(path.join(stateDir, LOCK_FILE), 'no database');
  await (await lock()).got;
  expect(locks).toHaveLength(1);
});

test('a symbolic link in its place is not followed', async () => {
  const precious = path.join(stateDir, 'precious');
  fs.writeFileSync(precious, 'data');
  fs.symlinkSync(precious, path.join(stateDir, LOCK_FILE));
  await expect((await lock()).got).rejects.toThrow(/ELOOP.*agent\.lock/);
  expect(fs.readFileSync(precious, 'utf8')).toBe('data');
});
