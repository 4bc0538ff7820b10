/**
 * Reservations of this node that no attachment has (docs/adr/0007).
 *
 * - One is adopted where nothing says that it is left over: the journal is new, or its pod is here without another sandbox.
 * - Else it is released as soon as it is older than `SURPLUS_AGE_MS`, or was seen that long ago: `since` is of a clock that may
 *   have been wrong. A younger one is looked at again at that time, live; it waits for no comparison.
 * - Does NOT look for them (`sync.ts` does), and does NOT survive the process: the comparison at the next start finds them.
 */
import type { IPReservation } from '../../crds/types.ts';
import { isOwnedBy, sinceMs } from '../../ipam/reservation.ts';
import type { Clock } from '../../kube/clock.ts';
import { done, type Outcome, runController } from '../../kube/controller.ts';
import type { Log } from '../../kube/log.ts';
import { RateLimitingQueue } from '../../kube/workqueue.ts';
import type { GiveBack } from './giveback.ts';
import { changed } from './intents.ts';
import type { Journal } from './journal.ts';
import type { KeyedLock } from './lock.ts';
import type { OwnerResolver } from './owners.ts';
import { attachmentKey } from './request.ts';
import type { Settler } from './settle.ts';
import { type AttachmentOwner, attachmentOf, hasClaim, intentKey, otherSandbox } from './state.ts';
import { claimOf } from './writer.ts';

/** Milliseconds before a reservation that no attachment has is taken for left over. */
export const SURPLUS_AGE_MS = 600_000;
/** Milliseconds until a release that the API has not got, or refuses, is tried again. */
const RETRY_MS = 15_000;

export interface LeftoversOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly journal: Journal;
  readonly lock: KeyedLock;
  readonly owners: Pick<OwnerResolver, 'liveness'>;
  readonly settler: Settler;
  readonly giveBack: GiveBack;
}

/** One that was too young when it was seen. */
interface Young {
  readonly owner: AttachmentOwner;
  /** `uid` and `since` of the reservation: another one begins anew. */
  readonly identity: string;
  /** Monotonic time from which it is left over. */
  readonly until: number;
}

export class Leftovers {
  readonly #options: LeftoversOptions;
  readonly #queue: RateLimitingQueue;
  /** By name. Each has its time in the queue. */
  readonly #young = new Map<string, Young>();

  constructor(options: LeftoversOptions) {
    this.#options = options;
    this.#queue = new RateLimitingQueue({
      clock: options.clock,
      baseDelayMs: RETRY_MS,
      maxDelayMs: RETRY_MS,
    });
  }

  /**
   * Looks at a reservation that is Bound to `seen`, and does about it what can be done now. The caller holds the lock of that
   * attachment.
   * @throws ApiError or CniError 11 if the API does not answer
   */
  async look(name: string, seen: AttachmentOwner): Promise<void> {
    const ms = await this.#judge(name, seen);
    if (ms !== undefined) {
      this.#queue.addAfter(name, ms);
    }
  }

  /** Looks again at what was too young, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { log, clock, lock } = this.#options;
    const reconcile = async (name: string): Promise<Outcome> => {
      const young = this.#young.get(name);
      if (young === undefined) {
        return done;
      }
      const ms = await lock.run(attachmentKey(young.owner), () => this.#judge(name, young.owner));
      return ms === undefined ? done : { type: 'requeueAfter', ms };
    };
    await runController({ name: 'leftovers', queue: this.#queue, reconcile, log, clock }, signal);
  }

  /** @returns milliseconds until it is to be looked at again; undefined: there is nothing left to do */
  async #judge(name: string, seen: AttachmentOwner): Promise<number | undefined> {
    const { journal, clock, log, giveBack, owners } = this.#options;
    const live = await this.#leftOver(name, seen);
    if (live === undefined) {
      this.#young.delete(name);
      return undefined;
    }
    // A row does not say all of its owner.
    const owner: AttachmentOwner = { ...seen, ...live.spec.owner, kind: live.spec.owner?.kind ?? seen.kind };
    const { state } = journal;
    // After a restore it may name a sandbox of before, while another pod of this node has the address.
    const user = attachmentOf(state, name);
    const hasOther = user !== undefined || otherSandbox(state, owner) !== undefined;
    if (user !== undefined && !state.isComplete) {
      return undefined;
    }
    if (!state.isComplete || (!hasOther && (await owners.liveness(owner)) === 'alive')) {
      this.#young.delete(name);
      this.#adopt(live, owner);
      return undefined;
    }
    const rest = this.#until(name, live, owner) - clock.monotonic();
    if (rest > 0) {
      return rest;
    }
    log.warn(
      { reservation: name, attachment: attachmentKey(owner) },
      'releasing a reservation that no attachment has',
    );
    if (!(await giveBack.release(claimOf(live), owner))) {
      return RETRY_MS;
    }
    this.#young.delete(name);
    return undefined;
  }

  /** The reservation, if it is there, is still the attachment's, and the journal knows nothing of it. */
  async #leftOver(name: string, seen: AttachmentOwner): Promise<IPReservation | undefined> {
    const { journal, settler } = this.#options;
    const { state } = journal;
    if (hasClaim(state, attachmentKey(seen), name) || state.intents.has(intentKey(seen, name))) {
      return undefined;
    }
    const live = await settler.look(name);
    return live !== undefined && isOwnedBy(live.spec, seen) ? live : undefined;
  }

  /** The monotonic time from which it is left over. */
  #until(name: string, { metadata, spec }: IPReservation, owner: AttachmentOwner): number {
    const { clock } = this.#options;
    const identity = `${metadata.uid} ${spec.since}`;
    const known = this.#young.get(name);
    if (known?.identity === identity) {
      return known.until;
    }
    const age = Math.max(clock.now() - (sinceMs(spec) ?? 0), 0);
    const until = clock.monotonic() + SURPLUS_AGE_MS - age;
    this.#young.set(name, { owner, identity, until });
    return until;
  }

  #adopt(live: IPReservation, owner: AttachmentOwner): void {
    const { journal, log } = this.#options;
    const key = attachmentKey(owner);
    // Its answer was made for fewer addresses.
    const { result: _incomplete, ...present } = journal.state.attachments.get(key) ?? {
      owner,
      claims: [],
      addedAt: sinceMs(live.spec) ?? 0,
    };
    const claim = claimOf(live);
    log.info({ reservation: claim.name, attachment: key }, 'adopted a reservation of this node');
    journal.append(changed(journal.state, { ...present, claims: [...present.claims, claim] }));
  }
}
