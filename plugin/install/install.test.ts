import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { installBinary, removeBinary, removeRun, removeState } from './install.ts';

let root: string;
let source: string;
let directory: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'berth-install-'));
  source = join(root, 'new');
  directory = join(root, 'bin');
  await mkdir(directory);
  await writeFile(source, 'new binary');
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

const install = (unique = 'a'): Promise<string> => installBinary({ source, directory, unique });
const installed = (): Promise<string> => readFile(join(directory, 'berth'), 'utf8');
const mode = async (): Promise<number> => (await stat(join(directory, 'berth'))).mode & 0o777;

describe('installBinary', () => {
  test('puts an executable file there and nothing else', async () => {
    expect(await install()).toBe('installed');
    expect(await installed()).toBe('new binary');
    expect(await mode()).toBe(0o755);
    expect(await readdir(directory)).toEqual(['berth']);
  });

  test('replaces an older one by another file: whoever has the old one open reads it to its end', async () => {
    await writeFile(join(directory, 'berth'), 'old binary');
    const old = await open(join(directory, 'berth'));
    try {
      expect(await install()).toBe('replaced');
      expect(await old.readFile('utf8')).toBe('old binary');
      expect(await installed()).toBe('new binary');
    } finally {
      await old.close();
    }
  });

  test('leaves the same content alone', async () => {
    await install();
    const before = await stat(join(directory, 'berth'));
    expect(await install('b')).toBe('unchanged');
    expect((await stat(join(directory, 'berth'))).ino).toBe(before.ino);
  });

  test('puts the same content there again if it can not be executed', async () => {
    await writeFile(join(directory, 'berth'), 'new binary', { mode: 0o644 });
    expect(await install()).toBe('replaced');
    expect(await mode()).toBe(0o755);
  });

  test('replaces a link, not what it points to', async () => {
    const elsewhere = join(root, 'elsewhere');
    await writeFile(elsewhere, 'old binary');
    await symlink(elsewhere, join(directory, 'berth'));
    expect(await install()).toBe('replaced');
    expect(await readFile(elsewhere, 'utf8')).toBe('old binary');
  });

  test('removes what an installer that was killed has left, and no other file', async () => {
    await writeFile(join(directory, '.berth-new-killed'), 'new b');
    await writeFile(join(directory, 'bridge'), 'other');
    await install();
    expect((await readdir(directory)).toSorted()).toEqual(['berth', 'bridge']);
  });

  test('a place that can not be taken stays as it is, and nothing is left behind', async () => {
    await mkdir(join(directory, 'berth'));
    await expect(install()).rejects.toThrow('EISDIR');
    expect(await readdir(directory)).toEqual(['berth']);
  });

  test('a directory that is not there is named, with the cure', async () => {
    directory = join(root, 'missing');
    await expect(install()).rejects.toThrow(`--bin-dir is "${directory}": there is no such directory; mount`);
  });
});

describe('removeBinary', () => {
  test('takes away the binary and leftovers, and nothing else', async () => {
    await install();
    await writeFile(join(directory, '.berth-new-killed'), 'new b');
    await writeFile(join(directory, 'bridge'), 'other');
    expect(await removeBinary(directory)).toBe(true);
    expect(await readdir(directory)).toEqual(['bridge']);
  });

  test('says so where there is none', async () => {
    expect(await removeBinary(directory)).toBe(false);
    expect(await removeBinary(join(root, 'missing'))).toBe(false);
  });
});

describe('the agent’s directories', () => {
  test('go with what the agent made', async () => {
    const state = join(root, 'state');
    const run = join(root, 'run');
    await mkdir(join(state, 'deletes'), { recursive: true });
    await mkdir(run);
    const made = [
      'state/journal.jsonl',
      'state/journal.jsonl.damaged-1',
      'state/agent.lock',
      'state/deletes/.berth-agent',
      'run/agent.sock',
    ];
    for (const file of made) await writeFile(join(root, file), '');
    expect([await removeState(state), await removeRun(run)]).toEqual([[], []]);
    expect((await readdir(root)).toSorted()).toEqual(['bin', 'new']);
  });

  test('stay with what somebody else has put there', async () => {
    const state = join(root, 'state');
    await mkdir(state);
    await writeFile(join(state, 'journal.jsonl'), '');
    await writeFile(join(state, 'notes.txt'), '');
    expect(await removeState(state)).toEqual(['notes.txt']);
    expect(await readdir(state)).toEqual(['notes.txt']);
  });

  test('need not be there', async () => {
    expect(await removeState(join(root, 'missing'))).toEqual([]);
  });
});
