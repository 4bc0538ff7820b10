import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as net from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { NotPlainError, openPlain, readPlain } from './plainfile.ts';

let directory = '';
let file = '';

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'berth-plain-'));
  file = path.join(directory, 'file');
});

afterEach(() => fs.rmSync(directory, { recursive: true }));

test('a plain file is read, up to the size that is allowed', () => {
  fs.writeFileSync(file, 'data');
  expect(readPlain(file, 4).toString()).toBe('data');
  expect(() => readPlain(file, 3)).toThrow(/file has 4 bytes, more than 3/);
});

test('a new one is for its owner only', () => {
  fs.closeSync(openPlain(file, fs.constants.O_WRONLY | fs.constants.O_CREAT));
  expect(fs.statSync(file).mode & 0o777).toBe(0o600);
});

test("one that is not there is the system's error", () => {
  expect(() => readPlain(file)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
});

const OTHERS: readonly [string, () => void][] = [
  [
    'a link to a file',
    (): void => {
      fs.writeFileSync(path.join(directory, 'precious'), 'data');
      fs.symlinkSync(path.join(directory, 'precious'), file);
    },
  ],
  ['a link to nothing', (): void => fs.symlinkSync(path.join(directory, 'nothing'), file)],
  ['a directory', (): void => fs.mkdirSync(file)],
  ['a pipe that nobody writes', (): void => void execFileSync('mkfifo', [file])],
  ['a link to a device', (): void => fs.symlinkSync('/dev/zero', file)],
];

test.each(OTHERS)('%s is neither read nor written', (_what, make) => {
  make();
  expect(() => readPlain(file)).toThrow(NotPlainError);
  const flags = fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_APPEND;
  expect(() => openPlain(file, flags)).toThrow(NotPlainError);
  expect(fs.readdirSync(directory).filter((name) => name === 'nothing')).toEqual([]);
});

test('neither is a socket', async () => {
  const server = net.createServer();
  await new Promise<void>((resolve) => {
    server.listen(file, resolve);
  });
  expect(() => readPlain(file)).toThrow(NotPlainError);
  server.close();
});
