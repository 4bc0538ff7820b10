/**
 * Notices an API server that was restored from an older snapshot: nothing in the watch protocol tells of one, and
 * addresses given out since the snapshot look free there.
 *
 * - Every watch that breaks or begins again makes the API suspect; the next ADD, or the watch's return, looks at the newest
 *   reservation that this node had made when nothing was lost, and at what it has made since: a restore loses the newest first,
 *   but more may have been made after it. If all are there as they were last written, nothing older is lost either. If not,
 *   everything is compared before an ADD is served.
 * - So does an answer to a write of this node that is not newer than one before it (`writer.ts`): where etcd is replaced under an API
 *   server that goes on, nothing need break.
 * - While nothing breaks it costs nothing: no ADD reads for it.
 * - Does NOT see what other nodes lost: each node asserts its own.
 */
import { ipReservations } from '../../crds/resources.ts';
import type { IPReservation } from '../../crds/types.ts';
import { isOwnedBy } from '../../ipam/reservation.ts';
import { pause } from '../../kube/abort.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { isOlderVersion } from '../../kube/core.ts';
import { isApiError, retryAfterOf } from '../../kube/errors.ts';
import type { Log } from '../../kube/log.ts';
import { ErrorCode } from '../protocol.ts';
import type { EndedPods } from './endedpods.ts';
import { CniError, messageOf } from './errors.ts';
import type { Journal } from './journal.ts';
import { attachmentKey } from './request.ts';
import { type AttachmentOwner, birdsOf, type VersionedClaim } from './state.ts';

/** Milliseconds for one look. */
const LOOK_TIMEOUT_MS = 5_000;
/** Milliseconds after which an ADD does not wait any longer for a comparison; the comparison goes on. */
const ADD_WAITS_MS = 15_000;
/** Milliseconds between tries while the API server answers watches and nothing else. */
const RETRY_MS = 1_000;
/** Older than any. */
const NO_VERSION = '0';

export interface CanaryOptions {
  readonly api: Pick<Api, 'get'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly journal: Journal;
  readonly ended: Pick<EndedPods, 'look'>;
  /** Compares this node's attachments with the API and mends what differs. */
  readonly compare: () => Promise<void>;
}

export class Canary {
  readonly #options: CanaryOptions;
  /** The newest version that this node had written when the API server was seen to have all; undefined: not yet. */
  #sureOf: string | undefined;
  /** Counts suspicions: a look answers only those that it began after. */
  #suspicions = 0;
  #answered = 0;
  #looking: Promise<void> | undefined;
  #wake: (() => void) | undefined;

  constructor(options: CanaryOptions) {
    this.#options = options;
  }

  /** A watch broke: whatever answers next may have lost its memory. */
  suspect(): void {
    this.#suspicions += 1;
  }

  /** A watch begins again, or a write is answered: the API server can be asked. */
  reconnected(): void {
    this.suspect();
    this.#wake?.();
  }

  /** Everything was just compared: the API server has all that this node has. */
  sure(): void {
    this.#sureOf = birdsOf(this.#options.journal.state)[0]?.version ?? NO_VERSION;
  }

  /**
   * Resolves when the API is known to have what this node wrote, at once where nothing has happened.
   * @throws CniError 11 if that cannot be found out now
   */
  async assure(): Promise<void> {
    if (this.#answered === this.#suspicions) return;
    const { clock } = this.#options;
    const { promise: late, reject } = Promise.withResolvers<never>();
    const cancel = clock.after(ADD_WAITS_MS, () => reject(new Error(`no end after ${ADD_WAITS_MS} ms`)));
    try {
      while (this.#answered !== this.#suspicions) await Promise.race([this.#look(), late]);
    } catch (error) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `the connection to the API server was lost, and what it has cannot be compared yet: ${messageOf(error)}`,
        'no address is given meanwhile, as an API server that was restored from a backup may have lost some; the runtime will try again',
        error,
      );
    } finally {
      cancel();
    }
  }

  /** Looks after every reconnect, also when no ADD comes, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const onAbort = (): void => this.#wake?.();
    signal.addEventListener('abort', onAbort, { once: true });
    while (!signal.aborted) {
      if (this.#answered === this.#suspicions) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      try {
        await this.#look();
      } catch (error) {
        log.warn({ error }, 'looking for what the API server may have lost failed; trying again');
        await pause(clock, RETRY_MS + retryAfterOf(error), signal);
      }
    }
    signal.removeEventListener('abort', onAbort);
  }

  /** One look for all who wait for it. */
  #look(): Promise<void> {
    this.#looking ??= this.#lookNow().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookNow(): Promise<void> {
    const { compare, ended, journal, log } = this.#options;
    const suspicions = this.#suspicions;
    await ended.look();
    const { there, lost, isTelling } = await this.#lookAt(birdsOf(journal.state, this.#sureOf));
    if (!isTelling) return;
    if (lost === undefined) {
      this.#sureOf = there?.version ?? NO_VERSION;
    } else {
      log.error(
        { reservation: lost.claim.name },
        'the API server has lost a reservation that this node has made; was it restored from a backup? Comparing everything',
      );
      await compare();
      this.sure();
    }
    this.#answered = suspicions;
  }

  /** Newest first: one that is there, one that is lost; and whether that tells anything, or all have changed meanwhile. */
  async #lookAt(
    birds: readonly VersionedClaim[],
  ): Promise<{ there?: VersionedClaim | undefined; lost?: VersionedClaim | undefined; isTelling: boolean }> {
    const found = await Promise.all(birds.map((bird) => this.#find(bird)));
    const [there, lost] = (['there', 'lost'] as const).map((what) =>
      birds.find((_bird, index) => found[index] === what),
    );
    return { there, lost, isTelling: birds.length === 0 || there !== undefined || lost !== undefined };
  }

  /** `changed`: this node has given it back or to another sandbox while it was looked at. */
  async #find(bird: VersionedClaim): Promise<'there' | 'lost' | 'changed'> {
    const { api, journal } = this.#options;
    const { claim, owner, version } = bird;
    const live = await api
      .get(ipReservations, { name: claim.name }, { timeoutMs: LOOK_TIMEOUT_MS })
      .catch((error: unknown) => {
        if (isApiError(error, 'NotFound')) return undefined;
        throw error;
      });
    const { uid, resourceVersion = '' } = live?.metadata ?? {};
    const isAsWritten = uid === claim.uid && !isOlderVersion(resourceVersion, version);
    if (isAsWritten && live !== undefined && this.#isOurs(live, owner)) return 'there';
    const present = journal.state.attachments.get(attachmentKey(owner))?.claims;
    const isStillIts = present?.some((each) => each.name === claim.name && each.resourceVersion === version);
    return isStillIts === true ? 'lost' : 'changed';
  }

  /** True also for what this node is about to give to another sandbox. */
  #isOurs({ metadata, spec }: IPReservation, owner: AttachmentOwner): boolean {
    const { intents } = this.#options.journal.state;
    return (
      isOwnedBy(spec, owner) ||
      [...intents.values()].some((intent) => intent.name === metadata.name && isOwnedBy(spec, intent.owner))
    );
  }
}
