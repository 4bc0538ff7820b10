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
   * Accepts the end of an attachment; the background gives its addresses back. The caller holds the attachment's lock.
   * @returns false if the attachment is not known: there is nothing to do
   * @throws Error if the journal cannot be written; nothing is then changed.
   */
  accept(key: string): boolean {
    const { journal } = this.#options;
    if (!journal.state.attachments.has(key)) {
      return false;
    }
    journal.append({ t: 'release', key });
    this.#queue.add(key);
    return true;
  }

  /**
   * Accepts the end of an attachment, and tries it once: what fails after it is accepted, the background tries again.
   * The caller holds the attachment's lock.
   * @returns false if the API has not got it yet
   * @throws Error if the journal cannot be written; nothing is then changed.
   */
  async begin(key: string): Promise<boolean> {
    const { journal, log } = this.#options;
    if (!journal.state.attachments.has(key)) {
      return true;
    }
    journal.append({ t: 'release', key });
    let finished = false;
    try {
      finished = await this.finish(key);
    } catch (error) {
      log.error({ attachment: key, error }, 'a release that was accepted failed; trying again');
    }
    if (!finished) {
      this.#queue.addAfter(key, FIRST_RETRY_MS);
    }
    return finished;
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
    const { journal, lock, log, clock, giveBack } = this.#options;
    for (const key of journal.state.releasing.keys()) {
      this.#queue.add(key);
    }
    const reconcile = async (key: string): Promise<Outcome> => {
      if (!(await lock.run(key, () => this.finish(key)))) {
        throw giveBack.refusal ?? new Error(`the API has not got the release of ${key} yet`);
      }
      return done;
    };
    await runController(
      { name: 'releases', queue: this.#queue, workers: WORKERS, reconcile, log, clock },
      signal,
    );
  }
}
