import builtin, * as fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { JOURNAL_FILE, type Journal, type JournalOptions, openJournal } from './journal.ts';
import { type Attachment, emptyState, type JournalRecord } from './state.ts';

let stateDir = '';
let file = '';
let damage: string[] = [];
let failures: unknown[] = [];
const open: Journal[] = [];

beforeEach(() => {
  stateDir = fs.mkdtempSync(path.join(os.tmpdir(), 'berth-journal-'));
  file = path.join(stateDir, JOURNAL_FILE);
  damage = [];
  failures = [];
});

afterEach(() => {
  for (const journal of open.splice(0)) journal.close();
  fs.rmSync(stateDir, { recursive: true });
});

function reopen(options: Partial<JournalOptions> = {}): Journal {
  const journal = openJournal({
    stateDir,
    now: 1234,
    onDamage: (setAside, reason) => damage.push(`${path.basename(setAside)}: ${reason}`),
    onCompactionFailed: (error) => failures.push(error),
    ...options,
  });
  open.push(journal);
  return journal;
}

function bound(containerID: string): JournalRecord {
  const attachment: Attachment = {
    owner: { kind: 'Node', node: 'n', containerID, ifname: 'eth0' },
    claims: [],
    addedAt: 1,
  };
  return { t: 'bound', attachment };
}

function keys(journal: Journal): string[] {
  return [...journal.state.attachments.keys()];
}

test('what append wrote is there after a new open, and is complete only when that was said', () => {
  const journal = reopen();
  expect(journal.state).toEqual(emptyState());
  journal.append(bound('a'));
  expect(fs.statSync(file).mode & 0o777).toBe(0o600);
  expect(reopen().state).toMatchObject({ isComplete: false });
  journal.append({ t: 'complete' });
  expect(reopen().state).toMatchObject({ isComplete: true });
  expect(keys(reopen())).toEqual(['a/eth0']);
  expect(damage).toEqual([]);
});

describe('a torn last line', () => {
  test.each(['{"t":"bou', '{"t":"complete"}', '\0\0\0', '\u00e4'])(
    '%j is dropped, and the next record is whole',
    (torn) => {
      reopen().append(bound('a'));
      fs.appendFileSync(file, torn);
      const journal = reopen();
      expect(keys(journal)).toEqual(['a/eth0']);
      expect(journal.state.isComplete).toBe(false);
      journal.append(bound('b'));
      expect(keys(reopen())).toEqual(['a/eth0', 'b/eth0']);
      expect(damage).toEqual([]);
    },
  );

  test('half a character is no obstacle', () => {
    reopen().append(bound('a'));
    fs.appendFileSync(file, Buffer.from([0x7b, 0xc3]));
    const journal = reopen();
    journal.append(bound('b'));
    expect(keys(reopen())).toEqual(['a/eth0', 'b/eth0']);
  });
});

describe('a damaged line elsewhere', () => {
  test.each([
    ['that is no JSON', Buffer.from('{"t":"bound"\n')],
    ['of zeros, as after a power loss', Buffer.from('\0\0\0\0\n')],
    ['that is empty', Buffer.from('\n')],
    ['of another version', Buffer.from('{"t":"future"}\n')],
    [
      'that is not UTF-8',
      Buffer.concat([Buffer.from('{"t":"dropped","key":"'), Buffer.from([0xff]), Buffer.from('"}\n')]),
    ],
  ])('%s sets the file aside and begins a new one', (_what, line) => {
    reopen().append(bound('a'));
    reopen().append({ t: 'complete' });
    fs.appendFileSync(file, line);
    const before = fs.readFileSync(file);
    const journal = reopen();
    expect(journal.state).toEqual(emptyState());
    expect(damage).toEqual([expect.stringMatching(/^journal\.jsonl\.damaged-1234: line 3 is damaged: /)]);
    expect(fs.readFileSync(`${file}.damaged-1234`)).toEqual(before);
    journal.append(bound('b'));
    expect(keys(reopen())).toEqual(['b/eth0']);
  });
});

describe('a record that can not be written whole', () => {
  function full(bytes: number): { write: NonNullable<JournalOptions['write']>; isFull: boolean } {
    const disk = {
      isFull: true,
      write: (fd: number, data: Buffer, offset: number): number => {
        if (!disk.isFull) return fs.writeSync(fd, data, offset);
        if (offset > 0) throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
        return fs.writeSync(fd, data, 0, bytes);
      },
    };
    return disk;
  }

  test('throws, changes nothing, and leaves nothing of itself in the file', () => {
    reopen().append(bound('a'));
    const disk = full(7);
    const journal = reopen({ write: (...args) => disk.write(...args) });
    expect(() => journal.append(bound('b'))).toThrow('ENOSPC');
    expect(keys(journal)).toEqual(['a/eth0']);
    expect(keys(reopen())).toEqual(['a/eth0']);
    disk.isFull = false;
    journal.append(bound('c'));
    expect(keys(reopen())).toEqual(['a/eth0', 'c/eth0']);
    expect(damage).toEqual([]);
  });

  test('and not be cut off either, is cut off before the next one', () => {
    const disk = full(7);
    const journal = reopen({ write: (...args) => disk.write(...args) });
    const { ftruncateSync } = builtin;
    builtin.ftruncateSync = () => {
      throw new Error('EIO: i/o error');
    };
    syncBuiltinESMExports();
    try {
      expect(() => journal.append(bound('a'))).toThrow('EIO');
    } finally {
      builtin.ftruncateSync = ftruncateSync;
      syncBuiltinESMExports();
    }
    expect(fs.statSync(file).size).toBe(7);
    disk.isFull = false;
    journal.append(bound('b'));
    expect(keys(reopen())).toEqual(['b/eth0']);
    expect(damage).toEqual([]);
  });

  test('a write that takes a few bytes at a time is finished', () => {
    const journal = reopen({
      write: (fd, data, offset) => fs.writeSync(fd, data, offset, Math.min(5, data.length - offset)),
    });
    journal.append(bound('a'));
    journal.append(bound('b'));
    expect(keys(reopen())).toEqual(['a/eth0', 'b/eth0']);
  });
});

describe('compaction', () => {
  test('keeps the state and makes the file small', () => {
    const journal = reopen({ compactFrom: 4096 });
    journal.append({ t: 'complete' });
    journal.append(bound('keep'));
    for (let i = 0; i < 500; i += 1) {
      journal.append(bound(`c${i}`));
      journal.append({ t: 'dropped', key: `c${i}/eth0` });
    }
    expect(fs.statSync(file).size).toBeLessThan(8192);
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
    expect(reopen().state).toEqual(journal.state);
    expect(keys(journal)).toEqual(['keep/eth0']);
    journal.append(bound('after'));
    expect(keys(reopen())).toEqual(['keep/eth0', 'after/eth0']);
  });

  test('that fails is told, and the record that led to it counts as written', () => {
    fs.mkdirSync(`${file}.new`);
    const journal = reopen({ compactFrom: 10 });
    journal.append(bound('a'));
    expect(failures).toHaveLength(1);
    expect(keys(journal)).toEqual(['a/eth0']);
    journal.append(bound('b'));
    expect(keys(reopen())).toEqual(['a/eth0', 'b/eth0']);
  });

  test('what a crash left of it is overwritten', () => {
    fs.writeFileSync(`${file}.new`, 'x'.repeat(10_000));
    const journal = reopen({ compactFrom: 10 });
    journal.append(bound('a'));
    expect(keys(reopen())).toEqual(['a/eth0']);
    expect(failures).toEqual([]);
  });
});

test.each(['its own', 'the compacted one'])('a link in the place of %s is not followed', (which) => {
  const precious = path.join(stateDir, 'precious');
  fs.writeFileSync(precious, 'data');
  fs.symlinkSync(precious, which === 'its own' ? file : `${file}.new`);
  if (which === 'its own') {
    expect(() => reopen()).toThrow(/journal\.jsonl is no plain file/);
  } else {
    const journal = reopen({ compactFrom: 10 });
    journal.append(bound('a'));
    expect(fs.lstatSync(file).isFile()).toBe(true);
    expect(keys(reopen())).toEqual(['a/eth0']);
  }
  expect(fs.readFileSync(precious, 'utf8')).toBe('data');
});

test('a directory that is not there is an error, not an empty journal', () => {
  expect(() => reopen({ stateDir: path.join(stateDir, 'no') })).toThrow('ENOENT');
});
