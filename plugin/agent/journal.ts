/**
 * The agent's journal: one JSON record a line, appended before the thing that it announces is done.
 *
 * - `append` has reached the kernel when it returns: what it wrote survives SIGKILL. There is no fsync: it may
 *   not survive a power loss, after which no container lives either.
 * - A record that could not be written whole (disk full) is cut off again, and changes nothing.
 * - A torn last line (the process died while writing) is dropped. A damaged line elsewhere is not guessed at:
 *   the file is set aside and the journal starts as a new one, which adopts what the API says of this node.
 * - Compaction is housekeeping: where it fails, the journal only stays long.
 * - No symbolic link is followed: one in the place of a file is an error.
 * - One process at a time may have it open: `statelock.ts` sees to that.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { messageOf } from './errors.ts';
import { openPlain, readPlain } from './plainfile.ts';
import { applyRecord, emptyState, type JournalRecord, parseRecord, recordsOf, type State } from './state.ts';

export const JOURNAL_FILE = 'journal.jsonl';

/** Below this size, in bytes, a journal is not worth compacting. */
const COMPACT_FROM = 1 << 20;

export interface Journal {
  readonly state: State;
  /**
   * Writes the record, then changes the state by it.
   * @throws Error if it cannot be written (disk full, read-only): the state is then unchanged.
   */
  append(record: JournalRecord): void;
  close(): void;
}

export interface JournalOptions {
  /** A directory, which must exist. */
  readonly stateDir: string;
  /** Milliseconds since the Unix epoch: part of the name of a journal that is set aside. */
  readonly now: number;
  /** Told of a journal that was set aside, with the place where it lies now. */
  readonly onDamage: (setAside: string, reason: string) => void;
  /** Told of a compaction that failed; the journal goes on as it is. */
  readonly onCompactionFailed: (error: unknown) => void;
  /** Bytes from which on it is compacted. Defaults to 1 MiB. */
  readonly compactFrom?: number;
  /** How bytes reach the file. Defaults to `fs.writeSync`. */
  readonly write?: (fd: number, data: Buffer, offset: number) => number;
}

interface Loaded {
  readonly state: State;
  /** Bytes of whole, good lines. */
  readonly goodBytes: number;
}

const NEWLINE = 0x0a;
const APPEND = fs.constants.O_WRONLY | fs.constants.O_APPEND | fs.constants.O_CREAT;

function load(data: Buffer): Loaded {
  const state = emptyState();
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let start = 0;
  for (let number = 1; ; number += 1) {
    const end = data.indexOf(NEWLINE, start);
    if (end === -1) {
      return { state, goodBytes: start };
    }
    try {
      applyRecord(state, parseRecord(decoder.decode(data.subarray(start, end))));
    } catch (error) {
      throw new Error(`line ${number} is damaged: ${messageOf(error)}`, { cause: error });
    }
    start = end + 1;
  }
}

class FileJournal implements Journal {
  readonly state: State;
  readonly #options: JournalOptions;
  readonly #file: string;
  readonly #compactFrom: number;
  #fd: number;
  /** Bytes of whole records. */
  #bytes: number;
  /** Half a record lies behind them. */
  #isTorn = true;
  #compactAt: number;

  constructor(file: string, loaded: Loaded, options: JournalOptions) {
    this.#options = options;
    this.#file = file;
    this.state = loaded.state;
    this.#fd = openPlain(file, APPEND);
    this.#bytes = loaded.goodBytes;
    this.#cutOff();
    this.#compactFrom = options.compactFrom ?? COMPACT_FROM;
    this.#compactAt = Math.max(this.#compactFrom, loaded.goodBytes);
  }

  append(record: JournalRecord): void {
    this.#write(Buffer.from(`${JSON.stringify(record)}\n`));
    applyRecord(this.state, record);
    if (this.#bytes > this.#compactAt) {
      this.#compact();
    }
  }

  close(): void {
    fs.closeSync(this.#fd);
  }

  /** Half a line must not stay: the next record would be glued to it and both be lost. */
  #cutOff(): void {
    if (this.#isTorn) {
      fs.ftruncateSync(this.#fd, this.#bytes);
      this.#isTorn = false;
    }
  }

  #write(data: Buffer): void {
    const { write = fs.writeSync } = this.#options;
    // What the last write left behind, if it could not be cut off then.
    this.#cutOff();
    this.#isTorn = true;
    let written = 0;
    try {
      while (written < data.length) {
        written += write(this.#fd, data, written);
      }
      this.#bytes += data.length;
      this.#isTorn = false;
    } finally {
      this.#cutOff();
    }
  }

  /** The record that led here is written: whatever fails now must not look as if it were not. */
  #compact(): void {
    const temporary = `${this.#file}.new`;
    try {
      const text = recordsOf(this.state)
        .map((record) => `${JSON.stringify(record)}\n`)
        .join('');
      // What a crash left of an earlier one, or whatever else lies there.
      fs.rmSync(temporary, { force: true });
      const fd = openPlain(temporary, APPEND | fs.constants.O_EXCL);
      try {
        fs.writeFileSync(fd, text);
        fs.renameSync(temporary, this.#file);
      } catch (error) {
        fs.closeSync(fd);
        // Half a journal takes room that the next record needs where the disk is full.
        fs.rmSync(temporary, { force: true });
        throw error;
      }
      fs.closeSync(this.#fd);
      this.#fd = fd;
      this.#bytes = Buffer.byteLength(text);
    } catch (error) {
      this.#options.onCompactionFailed(error);
    }
    this.#compactAt = Math.max(this.#compactFrom, this.#bytes * 4);
  }
}

/**
 * Opens the journal in `stateDir`, or begins one.
 * @throws Error if the directory cannot be read or written, or something else than a file lies in the journal's place.
 */
export function openJournal(options: JournalOptions): Journal {
  const file = path.join(options.stateDir, JOURNAL_FILE);
  const empty = { state: emptyState(), goodBytes: 0 };
  if (fs.lstatSync(file, { throwIfNoEntry: false }) === undefined) {
    return new FileJournal(file, empty, options);
  }
  const data = readPlain(file);
  let loaded: Loaded;
  try {
    loaded = load(data);
  } catch (error) {
    const setAside = `${file}.damaged-${options.now}`;
    fs.renameSync(file, setAside);
    options.onDamage(setAside, messageOf(error));
    return new FileJournal(file, empty, options);
  }
  return new FileJournal(file, loaded, options);
}
