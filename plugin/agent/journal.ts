/**
 * The agent's journal: one JSON record a line, appended before the thing that it announces is done.
 *
 * - `append` has reached the kernel when it returns: what it wrote survives SIGKILL. There is no fsync: it may
 *   not survive a power loss, after which no container lives either.
 * - A torn last line (the process died while writing) is dropped. A damaged line elsewhere is not guessed at:
 *   the file is set aside and the journal starts as a new one, which adopts what the API says of this node.
 * - One process at a time may have it open; nothing here checks that.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { applyRecord, emptyState, type JournalRecord, recordsOf, type State } from './state.ts';

export const JOURNAL_FILE = 'journal.jsonl';

/** Below this size, in bytes, a journal is not worth compacting. */
const COMPACT_FROM = 1 << 20;

export interface Journal {
  readonly state: State;
  /** True if there was no journal: nothing is known of earlier attachments. */
  readonly isNew: boolean;
  /**
   * Writes the record, then changes the state by it.
   * @throws Error if it cannot be written (disk full, read-only): the state is then unchanged.
   */
  append(record: JournalRecord): void;
  close(): void;
}

interface Loaded {
  readonly state: State;
  /** Bytes of whole, good lines. */
  readonly goodBytes: number;
}

function load(text: string): Loaded {
  const state = emptyState();
  const lines = text.split('\n');
  const torn = lines.pop() ?? '';
  for (const [index, line] of lines.entries()) {
    try {
      // The journal is written by this module alone; a line that parses is a record.
      applyRecord(state, JSON.parse(line) as JournalRecord);
    } catch (error) {
      throw new Error(`line ${index + 1} is damaged`, { cause: error });
    }
  }
  return { state, goodBytes: Buffer.byteLength(text) - Buffer.byteLength(torn) };
}

class FileJournal implements Journal {
  readonly state: State;
  readonly isNew: boolean;
  readonly #file: string;
  #fd: number;
  #bytes: number;
  #compactAt: number;

  constructor(file: string, loaded: Loaded, isNew: boolean) {
    this.#file = file;
    this.state = loaded.state;
    this.isNew = isNew;
    this.#fd = fs.openSync(file, 'a', 0o600);
    this.#bytes = loaded.goodBytes;
    fs.ftruncateSync(this.#fd, loaded.goodBytes);
    this.#compactAt = Math.max(COMPACT_FROM, loaded.goodBytes);
  }

  append(record: JournalRecord): void {
    const line = `${JSON.stringify(record)}\n`;
    this.#write(line);
    applyRecord(this.state, record);
    if (this.#bytes > this.#compactAt) {
      this.#compact();
    }
  }

  close(): void {
    fs.closeSync(this.#fd);
  }

  #write(line: string): void {
    const data = Buffer.from(line);
    let written = 0;
    try {
      while (written < data.length) {
        written += fs.writeSync(this.#fd, data, written);
      }
    } catch (error) {
      // Half a line must not stay: the next record would be glued to it and both be lost.
      fs.ftruncateSync(this.#fd, this.#bytes);
      throw error;
    }
    this.#bytes += data.length;
  }

  #compact(): void {
    const temporary = `${this.#file}.new`;
    const text = recordsOf(this.state)
      .map((record) => `${JSON.stringify(record)}\n`)
      .join('');
    fs.writeFileSync(temporary, text, { mode: 0o600 });
    const fd = fs.openSync(temporary, 'a');
    fs.renameSync(temporary, this.#file);
    fs.closeSync(this.#fd);
    this.#fd = fd;
    this.#bytes = Buffer.byteLength(text);
    this.#compactAt = Math.max(COMPACT_FROM, this.#bytes * 4);
  }
}

/**
 * Opens the journal in `stateDir`, which must exist.
 * @param onDamage is told of a journal that was set aside, with the place where it lies now.
 * @throws Error if the directory cannot be read or written.
 */
export function openJournal(
  stateDir: string,
  now: number,
  onDamage: (setAside: string, reason: string) => void,
): Journal {
  const file = path.join(stateDir, JOURNAL_FILE);
  if (!fs.existsSync(file)) {
    return new FileJournal(file, { state: emptyState(), goodBytes: 0 }, true);
  }
  const text = fs.readFileSync(file, 'utf8');
  try {
    return new FileJournal(file, load(text), false);
  } catch (error) {
    const setAside = `${file}.damaged-${now}`;
    fs.renameSync(file, setAside);
    onDamage(setAside, error instanceof Error ? error.message : String(error));
    return new FileJournal(file, { state: emptyState(), goodBytes: 0 }, true);
  }
}
