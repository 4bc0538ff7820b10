/**
 * The queue of DELs that the binary wrote while no agent answered.
 *
 * - Entries are worked off in the order of their times; one leaves the directory only when its release is durable.
 * - An entry that is older than the attachment's present ADD is ignored: it meant an earlier one.
 * - What cannot be understood, or is no plain file of bounded size, is set aside under another name, and logged. No
 *   symbolic link is followed, and no entry keeps the others waiting.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { Clock } from '../../kube/clock.ts';
import type { Log } from '../../kube/log.ts';
import {
  BINARY_DEADLINE_MS,
  deletesDir,
  ErrorCode,
  MAX_REQUEST_BYTES,
  parseDeleteEntryName,
  requestOf,
} from '../protocol.ts';
import { CniError } from './errors.ts';
import { NotPlainError, readPlain } from './plainfile.ts';
import { type AttachmentId, attachmentKey, parseAttachment } from './request.ts';

/** Milliseconds between looks at the directory, should the file system's own notice be lost. */
const LOOK_EVERY_MS = 2_000;

/** Calls `onChange` for changes in the directory until closed. */
export type WatchDirectory = (directory: string, onChange: () => void) => Pick<fs.FSWatcher, 'on' | 'close'>;

export interface DeletesOptions {
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Milliseconds since the Unix epoch when the attachment's ADD came in; undefined if it is not known. */
  readonly addedAt: (key: string) => number | undefined;
  /** Accepts the DEL durably. */
  readonly del: (id: AttachmentId) => Promise<void>;
  /** Defaults to `fs.watch`. */
  readonly watchDirectory?: WatchDirectory;
}

/**
 * The attachment of a queued DEL. Its configuration does not matter: what was given is in the journal, and a DEL that
 * was acknowledged must not fail for a key that today's version does not know.
 * @throws SyntaxError or CniError for a file that is none
 */
function parseEntry(text: string): AttachmentId {
  const request = requestOf(JSON.parse(text));
  if (request?.command !== 'DEL') {
    throw new CniError(
      ErrorCode.decodingFailure,
      'it is not {"command": "DEL", "env": {…}, "config": "…"}, as the binary writes it',
    );
  }
  return parseAttachment(request);
}

export class DeleteQueue {
  readonly #options: DeletesOptions;
  readonly #directory: string;

  /** Makes the directory if it is not there. */
  constructor(options: DeletesOptions) {
    this.#options = options;
    this.#directory = deletesDir(options.stateDir);
    fs.mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
  }

  /**
   * Works off every entry that is there.
   * @throws Error if the directory cannot be read or the journal not be written; entries not worked off stay
   */
  async drain(): Promise<void> {
    const names = fs.readdirSync(this.#directory).toSorted();
    for (const name of names) {
      const parsed = parseDeleteEntryName(name);
      if (parsed !== undefined) {
        await this.#entry(name, parsed.time);
      } else if (name.endsWith('.tmp')) {
        this.#removeStale(name);
      }
    }
  }

  /** Drains at every notice of the file system and every few seconds, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    let wake: () => void = () => undefined;
    const watcher = this.#watch(() => wake());
    const stop = (): void => wake();
    signal.addEventListener('abort', stop, { once: true });
    try {
      while (!signal.aborted) {
        // Made before the look, so that what comes during it is not missed.
        const notice = Promise.withResolvers<void>();
        wake = notice.resolve;
        try {
          await this.drain();
        } catch (error) {
          log.error({ error }, 'queued DELs can not be worked off; trying again');
        }
        const cancel = clock.after(LOOK_EVERY_MS, notice.resolve);
        if (!signal.aborted) {
          await notice.promise;
        }
        cancel();
      }
    } finally {
      signal.removeEventListener('abort', stop);
      watcher?.close();
    }
  }

  /** undefined where the system has no watch to give: then it is polled. */
  #watch(onChange: () => void): Pick<fs.FSWatcher, 'close'> | undefined {
    const { log, watchDirectory = fs.watch } = this.#options;
    const polled = (error: unknown): void =>
      log.warn({ error }, 'the deletes directory can not be watched; it is polled');
    try {
      const watcher = watchDirectory(this.#directory, onChange);
      watcher.on('error', polled);
      return watcher;
    } catch (error) {
      polled(error);
      return undefined;
    }
  }

  async #entry(name: string, time: number): Promise<void> {
    const { log, addedAt, del } = this.#options;
    const file = path.join(this.#directory, name);
    let id: AttachmentId;
    try {
      id = parseEntry(readPlain(file, MAX_REQUEST_BYTES).toString('utf8'));
    } catch (error) {
      const isNone = [CniError, SyntaxError, NotPlainError].some((kind) => error instanceof kind);
      if (!isNone) {
        throw error;
      }
      const aside = `${file}.invalid`;
      log.error({ error, file: aside }, 'a queued DEL can not be understood; it is set aside');
      fs.renameSync(file, aside);
      return;
    }
    const key = attachmentKey(id);
    const added = addedAt(key);
    if (added !== undefined && added > time) {
      log.info({ attachment: key }, 'ignored a queued DEL that is older than the attachment');
    } else {
      await del(id);
      log.info({ attachment: key }, 'worked off a queued DEL');
    }
    fs.rmSync(file);
  }

  /** What a binary that died left behind; it never acknowledged it. */
  #removeStale(name: string): void {
    const file = path.join(this.#directory, name);
    const { mtimeMs } = fs.statSync(file, { throwIfNoEntry: false }) ?? {};
    if (mtimeMs !== undefined && this.#options.clock.now() - mtimeMs > BINARY_DEADLINE_MS) {
      fs.rmSync(file, { force: true });
    }
  }
}
