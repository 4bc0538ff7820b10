/**
 * The doubt list: names that an ADD which has failed may have written, or may yet write.
 *
 * - Each is looked up with backoff for `WATCH_MS`; if it shows up as the failed ADD's own it is given back, guarded.
 * - What the attachment has got under that name after all, or is giving back, is left alone: then the doubt waits for
 *   an earlier write of that name, which may commit once the name is free again.
 * - What a rebind has moved goes back to the old sandbox, if that still is an attachment. Not before the end, as the
 *   next ADD of the pod takes it on from wherever it is.
 * - What another attachment of this node has by now is left to it. That the API server shows a former one's is a restore, of
 *   which nothing else may have told yet.
 * - A doubt ends only after an answered look at the end of that time: an API server that is away extends it.
 */

import type { IPReservation } from '../../crds/types.ts';
import { isOwnedBy } from '../../ipam/reservation.ts';
import type { Clock } from '../../kube/clock.ts';
import { done, type Outcome, runController } from '../../kube/controller.ts';
import type { Log } from '../../kube/log.ts';
import { RateLimitingQueue } from '../../kube/workqueue.ts';
import type { GiveBack } from './giveback.ts';
import { givingBack, undoneTo } from './intents.ts';
import type { Journal } from './journal.ts';
import type { KeyedLock } from './lock.ts';
import { attachmentKey } from './request.ts';
import type { Settler } from './settle.ts';
import { type AttachmentOwner, attachmentOf, hasClaim, type Intent, intentKey } from './state.ts';
import { claimOf } from './writer.ts';

/** The API server's request time-out (60 s) and a margin: after it no write of ours can commit any more. */
export const WATCH_MS = 75_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 16_000;

export interface DoubtListOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly journal: Journal;
  readonly lock: KeyedLock;
  readonly settler: Settler;
  readonly giveBack: GiveBack;
  /** The API server shows what this node has written over. */
  readonly onOlderState: () => void;
}

interface Watched {
  until: number;
  pauseMs: number;
}

export class DoubtList {
  readonly #options: DoubtListOptions;
  readonly #queue: RateLimitingQueue;
  readonly #watched = new Map<string, Watched>();

  constructor(options: DoubtListOptions) {
    this.#options = options;
    this.#queue = new RateLimitingQueue({
      clock: options.clock,
      baseDelayMs: FIRST_PAUSE_MS,
      maxDelayMs: LONGEST_PAUSE_MS,
    });
  }

  /** An ADD has given up on these intents (by `intentKey`), which the journal has. */
  add(intents: Iterable<string>): void {
    const until = this.#options.clock.monotonic() + WATCH_MS;
    for (const id of intents) {
      this.#watched.set(id, { until, pauseMs: FIRST_PAUSE_MS });
      this.#queue.add(id);
    }
  }

  /** Works until the signal aborts, beginning with the intents that the last process left behind. */
  async run(signal: AbortSignal): Promise<void> {
    const { journal, log, clock } = this.#options;
    this.add(journal.state.intents.keys());
    await runController(
      { name: 'doubts', queue: this.#queue, workers: 2, reconcile: (id) => this.#resolve(id), log, clock },
      signal,
    );
  }

  async #resolve(id: string): Promise<Outcome> {
    const { journal, lock } = this.#options;
    const intent = journal.state.intents.get(id);
    const watched = this.#watched.get(id);
    if (intent === undefined || watched === undefined) {
      this.#watched.delete(id);
      return done;
    }
    return lock.run(attachmentKey(intent.owner), () => this.#look(id, watched));
  }

  async #look(id: string, watched: Watched): Promise<Outcome> {
    const { journal, clock } = this.#options;
    // Read again: an ADD of the same attachment may have taken the name up while we waited for its lock.
    const intent = journal.state.intents.get(id);
    if (intent === undefined) {
      this.#watched.delete(id);
      return done;
    }
    const isAtItsEnd = clock.monotonic() >= watched.until;
    const isWaiting = !isAtItsEnd && undoneTo(journal.state, intent) !== undefined;
    if (!isWaiting && !hasClaim(journal.state, attachmentKey(intent.owner), intent.name)) {
      await this.#alsoLocking(intent.from, () => this.#undo(intent, watched));
    }
    // Also after an undo: of several writes of one name, a later one may find it free again.
    if (clock.monotonic() >= watched.until) {
      journal.append({ t: 'resolved', intent: id });
      this.#watched.delete(id);
      return done;
    }
    const ms = watched.pauseMs;
    watched.pauseMs = Math.min(LONGEST_PAUSE_MS, ms * 2);
    return { type: 'requeueAfter', ms };
  }

  /** @throws Error if the other attachment is busy: whoever waits for both locks would wait for ever */
  async #alsoLocking(other: AttachmentOwner | undefined, work: () => Promise<void>): Promise<void> {
    const { lock } = this.#options;
    const key = other && attachmentKey(other);
    if (key === undefined) {
      return work();
    }
    if (lock.isHeld(key)) {
      throw new Error(`${key} is busy`);
    }
    return lock.run(key, work);
  }

  /** @throws Error if the API does not answer */
  async #undo(intent: Intent, watched: Watched): Promise<void> {
    const { settler, giveBack, journal, log } = this.#options;
    const { name, owner, origin, from } = intent;
    const found = await settler.look(name);
    const backTo = undoneTo(journal.state, intent);
    let isDone = true;
    if (found !== undefined && isOwnedBy(found.spec, owner)) {
      this.#requireUnused(intent, watched, backTo);
      givingBack(journal.state, owner, name).forEach((record) => journal.append(record));
      isDone = await giveBack.undo(claimOf(found), owner, origin, backTo);
    } else if (found !== undefined && from !== undefined && this.#cameBackTooLate(intent, from, found)) {
      this.#requireUnused(intent, watched, undefined);
      isDone = await giveBack.release(claimOf(found), from);
    } else {
      return;
    }
    if (!isDone) {
      // It may happen late: until then the attachment must not claim the name again.
      this.#extend(watched);
      throw giveBack.refusal ?? new Error(`the API has not got the undo of ${name} yet`);
    }
    log.info({ reservation: name }, 'gave back what a failed ADD had written');
  }

  #extend(watched: Watched): void {
    watched.until = Math.max(watched.until, this.#options.clock.monotonic() + WATCH_MS);
  }

  /** @throws Error if an attachment other than the one that the address goes back to has it */
  #requireUnused({ name }: Intent, watched: Watched, backTo: AttachmentOwner | undefined): void {
    const user = attachmentOf(this.#options.journal.state, name)?.owner;
    if (user === undefined || (backTo !== undefined && attachmentKey(user) === attachmentKey(backTo))) {
      return;
    }
    this.#extend(watched);
    this.#options.onOlderState();
    throw new Error(
      `${name} belongs to ${attachmentKey(user)}, and the API server shows who had it before: was it restored?`,
    );
  }

  /** An undo of a rebind happened when the old sandbox had been released already. */
  #cameBackTooLate({ name, isGivenBack }: Intent, from: AttachmentOwner, found: IPReservation): boolean {
    const { state } = this.#options.journal;
    const isWanted = hasClaim(state, attachmentKey(from), name) || state.intents.has(intentKey(from, name));
    return isGivenBack === true && !isWanted && isOwnedBy(found.spec, from);
  }
}
