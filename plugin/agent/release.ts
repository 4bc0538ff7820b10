/**
 * Ends attachments: from the moment that `begin` returns the release is in the journal and will happen, however
 * often the agent dies or the API is away meanwhile.
 */
import type { Clock } from '../../kube/clock.ts';
import { done, type Outcome, runController } from '../../kube/controller.ts';
import type { Log } from '../../kube/log.ts';
import { RateLimitingQueue } from '../../kube/workqueue.ts';
import type { GiveBack } from './giveback.ts';
import type { Journal } from './journal.ts';
import type { KeyedLock } from './lock.ts';

/** Milliseconds between tries while the API is away: first and longest. */
const FIRST_RETRY_MS = 200;
const LONGEST_RETRY_MS = 15_000;
/** Releases under way at the same time after the API was away. */
const WORKERS = 8;

export interface ReleaserOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly journal: Journal;
  readonly lock: KeyedLock;
  readonly giveBack: GiveBack;
}

export class Releaser {
  readonly #options: ReleaserOptions;
  readonly #queue: RateLimitingQueue;

  constructor(options: ReleaserOptions) {
    this.#options = options;
    this.#queue = new RateLimitingQueue({
      clock: options.clock,
      baseDelayMs: FIRST_RETRY_MS,
      maxDelayMs: LONGEST_RETRY_MS,
    });
  }

  /**
   * Accepts the end of an attachment, and tries it once. The caller holds the attachment's lock.
   * Does nothing for an attachment that is not known.
   * @throws Error if the journal cannot be written; nothing is then changed.
   */
  async begin(key: string): Promise<void> {
    const { journal } = this.#options;
    if (!journal.state.attachments.has(key)) {
      return;
    }
    journal.append({ t: 'release', key });
    if (!(await this.finish(key))) {
      this.#queue.addAfter(key, FIRST_RETRY_MS);
    }
  }

  /**
   * Tries a release that was accepted. The caller holds the attachment's lock.
   * @returns true if nothing is left to release
   */
  async finish(key: string): Promise<boolean> {
    const { journal, giveBack } = this.#options;
    const attachment = journal.state.releasing.get(key);
    if (attachment === undefined) {
      return true;
    }
    const released = await Promise.all(
      attachment.claims.map((claim) => giveBack.release(claim, attachment.owner)),
    );
    if (released.includes(false)) {
      return false;
    }
    journal.append({ t: 'released', key });
    return true;
  }

  /** Works off what the journal has of releases, and what `begin` could not finish, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { journal, lock, log, clock } = this.#options;
    for (const key of journal.state.releasing.keys()) {
      this.#queue.add(key);
    }
    const reconcile = async (key: string): Promise<Outcome> => {
      if (!(await lock.run(key, () => this.finish(key)))) {
        throw new Error(`the API has not got the release of ${key} yet`);
      }
      return done;
    };
    await runController(
      { name: 'releases', queue: this.#queue, workers: WORKERS, reconcile, log, clock },
      signal,
    );
  }
}
