/**
 * Comparing this node's attachments with its reservations in the API: at start, and now and then.
 *
 * - An attachment whose reservation is missing gets it again if a live GET shows the owner here, else it is dropped.
 * - A reservation that now is somebody else's is reported, never fought over.
 * - A reservation of this node that no attachment has is adopted where nothing says that it is left over (the journal
 *   is new, or its pod is here without another sandbox), else released once it is older than `SURPLUS_AGE_MS`.
 * - One Table list, and live reads only for what differs.
 */

import { API_VERSION, ipReservations } from '../../crds/resources.ts';
import { type ReservationRow, reservationRowDecoder } from '../../crds/row.ts';
import type { IPReservation } from '../../crds/types.ts';
import { parseAddress } from '../../ipam/address.ts';
import {
  bindNew,
  isOwnedBy,
  rebind,
  sinceMs,
  type Transition,
  takeHeld,
  takeReleased,
} from '../../ipam/reservation.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { isApiError } from '../../kube/errors.ts';
import type { Log } from '../../kube/log.ts';
import { whose } from './exact.ts';
import type { GiveBack } from './giveback.ts';
import type { Journal } from './journal.ts';
import type { KeyedLock } from './lock.ts';
import { type OwnerResolver, podMatches } from './owners.ts';
import { attachmentKey } from './request.ts';
import type { Settler } from './settle.ts';
import {
  type AttachmentOwner,
  type Claim,
  hasClaim,
  intentKey,
  intentsOf,
  interruptedRebinds,
  otherSandbox,
} from './state.ts';
import { claimOf } from './writer.ts';

/** Milliseconds before a reservation that no attachment has is taken for left over. */
export const SURPLUS_AGE_MS = 600_000;
/** Milliseconds after which a conflict that is still there is reported again. */
const REPORT_AGAIN_MS = 600_000;

export interface NodeSyncOptions {
  readonly api: Api;
  readonly clock: Clock;
  readonly log: Log;
  readonly node: string;
  readonly journal: Journal;
  readonly lock: KeyedLock;
  readonly owners: OwnerResolver;
  readonly settler: Settler;
  readonly giveBack: GiveBack;
  /** Told of each address that an attachment has and somebody else's reservation names. */
  readonly onConflict: (owner: AttachmentOwner, message: string) => void;
}

/** An answer that another try of the same would get again. */
function isRefusal(error: unknown): boolean {
  return isApiError(error) && !isApiError(error, 'Unreachable', 'OutcomeUnknown', 'Throttled');
}

export class NodeSync {
  readonly #options: NodeSyncOptions;
  /** Addresses of attachments that the last comparison could not have back, and when that was last reported (monotonic). */
  #conflicts = new Map<string, number>();

  constructor(options: NodeSyncOptions) {
    this.#options = options;
  }

  /** The last comparison left an address to somebody else: as soon as that one is gone, it must be written again. */
  get hasConflicts(): boolean {
    return this.#conflicts.size > 0;
  }

  /**
   * Compares once and mends what differs. What the API server refuses for one attachment is logged and does not keep the
   * others from being mended.
   * @throws ApiError or CniError 11 if the API does not answer; what was mended until then stays
   */
  async compare(): Promise<void> {
    const { api, journal, node } = this.#options;
    const known = [...journal.state.attachments];
    const { columns, rows } = await api.listTable(ipReservations, {
      fieldSelector: `spec.owner.node=${node}`,
    });
    const conflicts = new Map<string, number>();
    const byName = new Map(rows.map(reservationRowDecoder(columns)).map((row) => [row.name, row]));
    for (const [key, attachment] of known) {
      if (attachment.claims.some((claim) => !isBoundTo(byName.get(claim.name), attachment.owner))) {
        await this.#exclusively(key, () => this.#mend(key, conflicts));
      }
    }
    this.#conflicts = conflicts;
    for (const row of byName.values()) {
      const owner = rowOwner(row, node);
      if (owner !== undefined && row.state === 'Bound') {
        await this.#exclusively(attachmentKey(owner), () => this.#surplus(row, owner));
      }
    }
    if (!journal.state.isComplete) {
      journal.append({ t: 'complete' });
    }
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

  /** The attachment's reservations are not all as the journal has them. Everything is looked at again, live. */
  async #mend(key: string, conflicts: Map<string, number>): Promise<void> {
    const { journal, settler, log } = this.#options;
    const attachment = journal.state.attachments.get(key);
    if (attachment === undefined) {
      return;
    }
    const { owner } = attachment;
    const lives = await Promise.all(
      attachment.claims.map(async (claim) => ({ claim, live: await settler.look(claim.name) })),
    );
    const isAlive = await this.#isAlive(owner);
    const claims: Claim[] = [];
    for (const { claim, live } of lives) {
      if (live !== undefined && isOwnedBy(live.spec, owner)) {
        claims.push(claimOf(live));
      } else if (isAlive) {
        claims.push((await this.#assert(claim, owner, live, conflicts)) ?? unversioned(claim));
      }
    }
    if (claims.length === 0) {
      log.info({ attachment: key }, 'dropped an attachment whose owner and reservations are gone');
      journal.append({ t: 'dropped', key });
      return;
    }
    if (JSON.stringify(claims) !== JSON.stringify(attachment.claims)) {
      journal.append({ t: 'bound', attachment: { ...attachment, claims }, doubts: this.#doubtsOf(key) });
    }
  }

  /** Writes a live attachment's reservation again; undefined if it is somebody else's now. */
  async #assert(
    claim: Claim,
    owner: AttachmentOwner,
    live: IPReservation | undefined,
    conflicts: Map<string, number>,
  ): Promise<Claim | undefined> {
    const { journal, log, onConflict, clock } = this.#options;
    const fields = { address: claim.address, owner };
    const isOurs = interruptedRebinds(journal.state, claim.name, owner).some(
      (other) => live !== undefined && isOwnedBy(live.spec, other),
    );
    if (isOurs) {
      // A new sandbox of this pod was about to take it over when the agent died: its ADD or the doubt list decides.
      return undefined;
    }
    const written = await this.#writeAgain(claim, owner, live);
    if (written !== undefined) {
      log.warn(fields, 'a live attachment had lost its reservation; it is written again');
      return claimOf(written);
    }
    const conflict = `${attachmentKey(owner)} ${claim.name}`;
    const now = clock.monotonic();
    const reportedAt = this.#conflicts.get(conflict) ?? Number.NEGATIVE_INFINITY;
    const isDue = now - reportedAt >= REPORT_AGAIN_MS;
    conflicts.set(conflict, isDue ? now : reportedAt);
    if (!isDue) {
      return undefined;
    }
    log.error(
      { ...fields, other: live?.spec.owner ?? live?.spec.holder },
      'a live attachment has an address that is reserved for somebody else; delete one of the two pods',
    );
    onConflict(
      owner,
      `address ${claim.address} of interface ${owner.ifname} is in use by this pod, but reserved for somebody else${live === undefined ? '' : ` (${whose(live.spec)})`}: delete one of the two pods`,
    );
    return undefined;
  }

  /** As `#write`; an address matters more than a holder that the agent may not write. */
  async #writeAgain(
    claim: Claim,
    owner: AttachmentOwner,
    live: IPReservation | undefined,
  ): Promise<IPReservation | undefined> {
    try {
      return await this.#write(claim, owner, live);
    } catch (error) {
      if (!isApiError(error, 'Forbidden') || claim.holder === undefined) {
        throw error;
      }
      const { holder, ...withoutHolder } = claim;
      const written = await this.#write(withoutHolder, owner, live);
      this.#options.log.warn(
        { address: claim.address, holder, error },
        'the API server forbids to write the holder again that a person gave to this reservation; it has none now',
      );
      return written;
    }
  }

  /** From what an older state of the API may show back to what the attachment has; undefined where it is not ours. */
  async #write(
    claim: Claim,
    owner: AttachmentOwner,
    live: IPReservation | undefined,
  ): Promise<IPReservation | undefined> {
    const { api, clock } = this.#options;
    const { pool, holder, name, network } = claim;
    const now = clock.now();
    const binding = { pool, owner, ...(holder !== undefined && { holder }), now };
    try {
      if (live === undefined) {
        const spec = bindNew({ ...binding, network, address: parseAddress(claim.address) });
        const object: IPReservation = {
          apiVersion: API_VERSION,
          kind: 'IPReservation',
          metadata: { name },
          spec,
        };
        return await api.create(ipReservations, object);
      }
      const { spec } = live;
      let step: Transition | undefined;
      if (spec.state === 'Released') {
        step = takeReleased(claim, binding);
      } else if (spec.state === 'Held' && holder !== undefined && spec.holder === holder) {
        step = takeHeld(claim, { ...binding, holder });
      } else if (spec.state === 'Bound' && isSameInterface(spec.owner, owner)) {
        step = rebind(spec, owner, now);
      }
      return step === undefined ? undefined : await api.patch(ipReservations, { name }, step.patch);
    } catch (error) {
      if (isApiError(error, 'AlreadyExists', 'TestFailed', 'NotFound')) {
        // Somebody moved it since we looked: the next comparison sees how it ended.
        return undefined;
      }
      throw error;
    }
  }

  async #surplus(row: ReservationRow, seen: AttachmentOwner): Promise<void> {
    const { journal, clock, log, settler, giveBack } = this.#options;
    const { state } = journal;
    const key = attachmentKey(seen);
    if (hasClaim(state, key, row.name) || state.intents.has(intentKey(seen, row.name))) {
      return;
    }
    const live = await settler.look(row.name);
    if (live === undefined || !isOwnedBy(live.spec, seen)) {
      return;
    }
    // A row does not say all of its owner.
    const owner: AttachmentOwner = { ...seen, ...live.spec.owner, kind: live.spec.owner?.kind ?? seen.kind };
    const hasOther = otherSandbox(state, owner) !== undefined;
    if (!state.isComplete || (!hasOther && (await this.#isAlive(owner)))) {
      this.#adopt(live, owner);
    } else if (clock.now() - (sinceMs(live.spec) ?? 0) >= SURPLUS_AGE_MS) {
      log.warn({ reservation: row.name, attachment: key }, 'releasing a reservation that no attachment has');
      await giveBack.release(claimOf(live), owner);
    }
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
    journal.append({
      t: 'bound',
      attachment: { ...present, claims: [...present.claims, claim] },
      doubts: this.#doubtsOf(key),
    });
  }

  #doubtsOf(key: string): string[] {
    return intentsOf(this.#options.journal.state, key).map((intent) => intent.name);
  }

  /** True if a live GET shows the owner on this node. The node itself is alive: we run on it. */
  async #isAlive(owner: AttachmentOwner): Promise<boolean> {
    if (owner.kind !== 'Pod' || owner.namespace === undefined || owner.name === undefined) {
      return owner.kind === 'Node';
    }
    const pod = await this.#options.owners.livePod(owner.namespace, owner.name);
    return (
      pod !== undefined &&
      !pod.isTerminal &&
      owner.uid !== undefined &&
      podMatches(pod, owner.uid, this.#options.node)
    );
  }
}

/** What is known of a version is not of the reservation that is there now: a release must look first. */
function unversioned({ uid: _uid, resourceVersion: _version, ...claim }: Claim): Claim {
  return claim;
}

/** The same pod's same interface, in whatever sandbox. */
function isSameInterface(a: IPReservation['spec']['owner'], b: AttachmentOwner): boolean {
  return b.uid !== undefined && a?.uid === b.uid && a.ifname === b.ifname && a.node === b.node;
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
