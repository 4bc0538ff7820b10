/**
 * The marker file: it tells the binary that an agent lives here, so that it may queue a DEL and answer STATUS with
 * success.
 *
 * - Made after this node's first comparison with the API, never before.
 * - A later agent keeps it fresh from its very start: STATUS must not fail because the API is away meanwhile.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { Clock } from '../../kube/clock.ts';
import type { Log } from '../../kube/log.ts';
import { deletesDir, MARKER_FILE, MARKER_TOUCH_MS } from '../protocol.ts';
import { openPlain } from './plainfile.ts';

export interface MarkerOptions {
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Log;
}

export class Marker {
  readonly #options: MarkerOptions;
  readonly #file: string;

  constructor(options: MarkerOptions) {
    this.#options = options;
    this.#file = path.join(deletesDir(options.stateDir), MARKER_FILE);
  }

  /**
   * Makes it, or says that it is still true.
   * @throws Error if it cannot be written
   */
  make(): void {
    fs.mkdirSync(path.dirname(this.#file), { recursive: true, mode: 0o700 });
    fs.closeSync(openPlain(this.#file, fs.constants.O_WRONLY | fs.constants.O_CREAT));
    this.#touch();
  }

  /** Keeps it fresh where it is, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    while (!signal.aborted) {
      try {
        if (fs.existsSync(this.#file)) {
          this.#touch();
        }
      } catch (error) {
        log.error({ error, file: this.#file }, 'the marker can not be kept fresh; trying again');
      }
      await pause(clock, MARKER_TOUCH_MS, signal);
    }
  }

  #touch(): void {
    const now = new Date(this.#options.clock.now());
    fs.lutimesSync(this.#file, now, now);
  }
}

/** Waits; ends early without an error when the signal aborts. */
async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, signal);
  } catch (error) {
    if (!signal.aborted) {
      throw error;
    }
  }
}
