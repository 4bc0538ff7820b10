/**
 * The queue of DELs that the binary wrote while no agent answered, and the marker that tells it that one lives here.
 *
 * - Entries are worked off in the order of their times; one leaves the directory only when its release is durable.
 * - An entry that is older than the attachment's present ADD is ignored: it meant an earlier one.
 * - A file that cannot be understood is set aside under another name, and logged.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import * as z from 'zod';
import type { Clock } from '../../kube/clock.ts';
import type { Log } from '../../kube/log.ts';
import {
  BINARY_DEADLINE_MS,
  type CniRequest,
  deletesDir,
  MARKER_FILE,
  MARKER_TOUCH_MS,
  parseDeleteEntryName,
} from '../protocol.ts';
import { CniError } from './errors.ts';
import { attachmentKey, type ParsedRequest, parseRequest } from './request.ts';

/** Milliseconds between looks at the directory, should the file system's own notice be lost. */
const LOOK_EVERY_MS = 2_000;

export const cniRequestSchema: z.ZodType<CniRequest> = z.object({
  command: z.string(),
  env: z.record(z.string(), z.string()),
  config: z.string(),
});

export interface DeletesOptions {
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Milliseconds since the Unix epoch of the attachment's ADD; undefined if it is not known. */
  readonly addedAt: (key: string) => number | undefined;
  /** Accepts the DEL durably. */
  readonly del: (request: ParsedRequest) => Promise<void>;
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

  /** Drains at every notice of the file system and every few seconds, and keeps the marker fresh. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    let wake: () => void = () => undefined;
    const watcher = fs.watch(this.#directory, () => wake());
    watcher.on('error', (error) =>
      log.warn({ error }, 'the deletes directory can not be watched; it is polled'),
    );
    const stop = (): void => wake();
    signal.addEventListener('abort', stop, { once: true });
    let touched = Number.NEGATIVE_INFINITY;
    try {
      while (!signal.aborted) {
        // Made before the look, so that what comes during it is not missed.
        const notice = Promise.withResolvers<void>();
        wake = notice.resolve;
        try {
          if (clock.monotonic() - touched >= MARKER_TOUCH_MS) {
            this.touchMarker();
            touched = clock.monotonic();
          }
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
      watcher.close();
    }
  }

  /** Says that an agent lives here: the binary queues DELs and answers STATUS by it. */
  touchMarker(): void {
    const marker = path.join(this.#directory, MARKER_FILE);
    const now = new Date(this.#options.clock.now());
    fs.closeSync(fs.openSync(marker, 'a', 0o600));
    fs.utimesSync(marker, now, now);
  }

  async #entry(name: string, time: number): Promise<void> {
    const { log, addedAt, del } = this.#options;
    const file = path.join(this.#directory, name);
    let request: ParsedRequest;
    try {
      request = parseRequest(cniRequestSchema.parse(JSON.parse(fs.readFileSync(file, 'utf8'))));
    } catch (error) {
      if (!(error instanceof CniError || error instanceof SyntaxError || error instanceof z.ZodError)) {
        throw error;
      }
      const aside = `${file}.invalid`;
      log.error({ error, file: aside }, 'a queued DEL can not be understood; it is set aside');
      fs.renameSync(file, aside);
      return;
    }
    const key = attachmentKey(request.id);
    const added = addedAt(key);
    if (added !== undefined && added > time) {
      log.info({ attachment: key }, 'ignored a queued DEL that is older than the attachment');
    } else {
      await del(request);
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
