/**
 * Comparing this node's attachments with its reservations in the API: at start, now and then, and after a restore.
 *
 * - An attachment whose reservation is missing gets it again if a live GET shows the owner here, else it is dropped.
 * - After a restore the API server does not know the pods that were made since the snapshot, while their sandboxes have
 *   their addresses until somebody ends them. Such an attachment gets its reservation again too, once: its DEL gives it
 *   back, or the operator, after its grace.
 * - A reservation that now is somebody else's is reported (`conflicts.ts`), never fought over.
 * - A reservation of this node that no attachment has is adopted or released (`leftovers.ts`).
 * - One Table list, and live reads only for what differs. After a restore everything is read live: an API server that was
 *   not restarted with its etcd answers lists from before.
 */

import { ipReservations } from '../../crds/resources.ts';
import { type ReservationRow, reservationRowDecoder } from '../../crds/row.ts';
import type { IPReservation } from '../../crds/types.ts';
import { isOwnedBy } from '../../ipam/reservation.ts';
import type { Api } from '../../kube/api.ts';
import { isApiError } from '../../kube/errors.ts';
import type { Log } from '../../kube/log.ts';
import type { Conflicts, FoundConflict } from './conflicts.ts';
import type { EndedPods } from './endedpods.ts';
import { changed } from './intents.ts';
import type { Journal } from './journal.ts';
import type { Leftovers } from './leftovers.ts';
import type { KeyedLock } from './lock.ts';
import type { OwnerResolver } from './owners.ts';
import type { Reasserter } from './reassert.ts';
import { attachmentKey } from './request.ts';
import type { Settler } from './settle.ts';
import { type Attachment, type AttachmentOwner, birdsOf, type Claim, intentKey } from './state.ts';
import { claimOf } from './writer.ts';

export interface NodeSyncOptions {
  readonly api: Api;
  readonly log: Log;
  readonly node: string;
  readonly journal: Journal;
  readonly lock: KeyedLock;
  readonly owners: OwnerResolver;
  readonly settler: Settler;
  readonly reasserter: Reasserter;
  /** Told of each address that an attachment has and somebody else's reservation names. */
  readonly conflicts: Pick<Conflicts, 'set' | 'forget'>;
  /** Told of each reservation that may be nobody's. */
  readonly leftovers: Pick<Leftovers, 'look'>;
  readonly ended: Pick<EndedPods, 'complete'>;
}

/** How a comparison is made. */
export interface CompareOptions {
  /** Nobody was there to see whether the API server was restored: it was if it has lost the newest reservation. */
  readonly isFirst?: boolean;
  /** The API server has lost what it had: nothing that it says of the time before is a reason to drop an attachment. */
  readonly isRestored?: boolean;
}

/** An answer that another try of the same would get again. */
function isRefusal(error: unknown): boolean {
  return isApiError(error) && !isApiError(error, 'Unreachable', 'OutcomeUnknown', 'Throttled');
}

export class NodeSync {
  readonly #options: NodeSyncOptions;

  constructor(options: NodeSyncOptions) {
    this.#options = options;
  }

  /**
   * Compares once and mends what differs. What the API server refuses for one attachment is logged and does not keep the
   * others from being mended.
   * @throws ApiError or CniError 11 if the API does not answer; what was mended until then stays
   */
  async compare(options: CompareOptions = {}): Promise<void> {
    const { api, journal, node, leftovers, ended } = this.#options;
    const known = [...journal.state.attachments];
    const { columns, rows } = await api.listTable(ipReservations, {
      fieldSelector: `spec.owner.node=${node}`,
    });
    const byName = new Map(rows.map(reservationRowDecoder(columns)).map((row) => [row.name, row]));
    const [newest] = options.isFirst === true ? birdsOf(journal.state) : [];
    const isRestored =
      options.isRestored === true ||
      (newest !== undefined && !this.#isOurs(byName.get(newest.claim.name), newest.owner));
    if (newest !== undefined && !isRestored) {
      ended.complete();
    }
    for (const [key, attachment] of known) {
      const differs = attachment.claims.some((claim) => !isBoundTo(byName.get(claim.name), attachment.owner));
      if (differs || isRestored) {
        await this.#exclusively(key, () => this.#mend(key, { isRestored, keepsContested: false }));
      }
    }
    for (const row of byName.values()) {
      const owner = rowOwner(row, node);
      if (owner !== undefined && row.state === 'Bound') {
        await this.#exclusively(attachmentKey(owner), () => leftovers.look(row.name, owner));
      }
    }
    if (!journal.state.isComplete) {
      journal.append({ t: 'complete' });
    }
  }

  /** True also for what this node has given to another sandbox, without having come to know that it has. */
  #isOurs(row: ReservationRow | undefined, owner: AttachmentOwner): boolean {
    if (row?.state !== 'Bound') return false;
    const { journal, node } = this.#options;
    const now = rowOwner(row, node);
    const isIntended = now !== undefined && journal.state.intents.has(intentKey(now, row.name));
    return isIntended || isBoundTo(row, owner);
  }

  /**
   * Looks at one attachment, live, and mends what differs.
   * @throws as `compare`
   */
  async lookAgain(key: string): Promise<void> {
    await this.#exclusively(key, () => this.#mend(key, { isRestored: false, keepsContested: true }));
  }

  async #exclusively(key: string, work: () => Promise<void>): Promise<void> {
    try {
      await this.#options.lock.run(key, work);
    } catch (error) {
      if (!isRefusal(error)) {
        throw error;
      }
      this.#options.log.error(
        { attachment: key, error },
        'the API server refuses to mend what differs; it is tried again at the next comparison',
      );
    }
  }

  /**
   * Everything of the attachment is looked at again, live, and mended.
   * @param keepsContested whether a pod that the API server does not know keeps what somebody else has: a static pod's
   *   mirror may be away for a moment, and a look every few seconds would meet that moment
   */
  async #mend(
    key: string,
    { isRestored, keepsContested }: { readonly isRestored: boolean; readonly keepsContested: boolean },
  ): Promise<void> {
    const { journal, settler, log, conflicts } = this.#options;
    const attachment = journal.state.attachments.get(key);
    if (attachment === undefined) {
      conflicts.forget(key);
      return;
    }
    const { owner, isEnded: wasEnded = false } = attachment;
    const lives = await Promise.all(
      attachment.claims.map(async (claim) => ({ claim, live: await settler.look(claim.name) })),
    );
    const isWhole = lives.every((life) => isItsOwn(life, owner));
    const isContested = lives.some((life) => life.live?.spec.state === 'Bound' && !isItsOwn(life, owner));
    const liveness = isWhole ? 'alive' : await this.#options.owners.liveness(owner);
    if (keepsContested && isContested && liveness === 'unknown') {
      return;
    }
    const isTrusted = liveness === 'unknown' && isRestored && !wasEnded;
    if (isTrusted) {
      log.warn(
        { attachment: key, owner },
        'the restored API server does not know this pod, which has its addresses until its DEL comes',
      );
    }
    // What was somebody else's when it was trusted has not been written again yet, and can be once it is free.
    const isOverdue = ({ claim, live }: Life): boolean =>
      liveness === 'unknown' && wasEnded && claim.isOwed === true && live?.spec.state !== 'Bound';
    const mayAssert = (life: Life): boolean => liveness === 'alive' || isTrusted || isOverdue(life);
    const isOwed = liveness !== 'alive';
    const { claims, found } = await this.#claims(lives, owner, { mayAssert, isOwed });
    if (claims.length === 0) {
      log.info({ attachment: key }, 'dropped an attachment whose owner and reservations are gone');
      conflicts.forget(key);
      journal.append({ t: 'dropped', key });
      return;
    }
    conflicts.set(key, owner, found);
    // Of one that is whole nobody has asked for the pod.
    const isStillEnded = wasEnded && (isWhole || liveness !== 'alive');
    this.#keep(attachment, claims, isTrusted || isStillEnded);
  }

  /** What the attachment has: what is its own, and what it had and may be written again. */
  async #claims(
    lives: readonly Life[],
    owner: AttachmentOwner,
    { mayAssert, isOwed }: { readonly mayAssert: (life: Life) => boolean; readonly isOwed: boolean },
  ): Promise<{ readonly claims: Claim[]; readonly found: FoundConflict[] }> {
    const claims: Claim[] = [];
    const found: FoundConflict[] = [];
    for (const life of lives) {
      const { claim, live } = life;
      if (live !== undefined && isOwnedBy(live.spec, owner)) {
        claims.push(claimOf(live));
      } else if (mayAssert(life)) {
        const outcome = await this.#options.reasserter.reassert(claim, owner, live);
        claims.push(outcome?.written === undefined ? unwritten(claim, isOwed) : claimOf(outcome.written));
        if (outcome?.theirs !== undefined) {
          found.push({ claim, live: outcome.theirs });
        }
      }
    }
    return { claims, found };
  }

  /** Writes down what has changed. */
  #keep(present: Attachment, claims: readonly Claim[], isEnded: boolean): void {
    const { journal } = this.#options;
    const { isEnded: wasEnded = false, ...rest } = present;
    if (!isSame(claims, present.claims) || isEnded !== wasEnded) {
      journal.append(changed(journal.state, { ...rest, claims, ...(isEnded && { isEnded }) }));
    }
  }
}

/** A claim, and its reservation as it is now. */
interface Life {
  readonly claim: Claim;
  readonly live: IPReservation | undefined;
}

function isItsOwn({ live }: Life, owner: AttachmentOwner): boolean {
  return live !== undefined && isOwnedBy(live.spec, owner);
}

/** What is known of a version is not of the reservation that is there now: a release must look first. */
function unwritten({ name, network, address, pool, holder, since }: Claim, isOwed: boolean): Claim {
  const what = { name, network, address, pool, since };
  return { ...what, ...(holder !== undefined && { holder }), ...(isOwed && { isOwed }) };
}

function isSame(a: readonly Claim[], b: readonly Claim[]): boolean {
  return (
    a.length === b.length &&
    a.every(
      ({ uid, resourceVersion, isOwed }, i) =>
        uid === b[i]?.uid && resourceVersion === b[i]?.resourceVersion && isOwed === b[i]?.isOwed,
    )
  );
}

function isBoundTo(row: ReservationRow | undefined, owner: AttachmentOwner): boolean {
  return (
    row !== undefined &&
    row.state === 'Bound' &&
    row.owner.containerID === owner.containerID &&
    row.owner.ifname === owner.ifname
  );
}

/** The attachment that a row names; undefined for an owner without one. A row does not say the owner's kind. */
function rowOwner(row: ReservationRow, node: string): AttachmentOwner | undefined {
  const { containerID, ifname, namespace, name, uid } = row.owner;
  if (containerID === undefined || ifname === undefined) {
    return undefined;
  }
  if (namespace === undefined || name === undefined || uid === undefined) {
    return { kind: 'Node', node, containerID, ifname };
  }
  return { kind: 'Pod', namespace, name, uid, node, containerID, ifname };
}
