/**
 * Comparing this node's attachments with its reservations in the API: at start, and now and then.
 *
 * - An attachment whose reservation is missing gets it again if a live GET shows the owner here, else it is dropped.
 * - A reservation that now is somebody else's is reported, never fought over.
 * - A reservation of this node that no attachment has is adopted where nothing says that it is left over (the journal
 *   is new, or its pod is here without another sandbox), else released once it is older than `SURPLUS_AGE_MS`.
 * - One Table list, and live reads only for what differs.
 */

import { ipReservations } from '../../crds/resources.ts';
import { type ReservationRow, reservationRowDecoder } from '../../crds/row.ts';
import type { IPReservation } from '../../crds/types.ts';
import { parseAddress } from '../../ipam/address.ts';
import { bindNew, isOwnedBy, sinceMs, takeReleased } from '../../ipam/reservation.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { isApiError } from '../../kube/errors.ts';
import type { Log } from '../../kube/log.ts';
import type { GiveBack } from './giveback.ts';
import type { Journal } from './journal.ts';
import type { KeyedLock } from './lock.ts';
import { type OwnerResolver, podMatches } from './owners.ts';
import { attachmentKey } from './request.ts';
import type { Settler } from './settle.ts';
import { type Attachment, type AttachmentOwner, type Claim, intentKey, interfaceKey } from './state.ts';
import { claimOf } from './writer.ts';

/** Milliseconds before a reservation that no attachment has is taken for left over. */
export const SURPLUS_AGE_MS = 600_000;

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
  readonly onConflict: (address: string) => void;
}

export class NodeSync {
  readonly #options: NodeSyncOptions;
  #adoptAll: boolean;

  constructor(options: NodeSyncOptions) {
    this.#options = options;
    this.#adoptAll = options.journal.isNew;
  }

  /**
   * Compares once and mends what differs.
   * @throws ApiError or CniError 11 if the API does not answer; what was mended until then stays
   */
  async compare(): Promise<void> {
    const { api, journal, lock, node } = this.#options;
    const known = [...journal.state.attachments];
    const { columns, rows } = await api.listTable(ipReservations, {
      fieldSelector: `spec.owner.node=${node}`,
    });
    const byName = new Map(rows.map(reservationRowDecoder(columns)).map((row) => [row.name, row]));
    for (const [key, attachment] of known) {
      if (attachment.claims.some((claim) => !isBoundTo(byName.get(claim.name), attachment.owner))) {
        await lock.run(key, () => this.#mend(key));
      }
    }
    for (const row of byName.values()) {
      const owner = rowOwner(row, node);
      if (owner !== undefined && row.state === 'Bound') {
        await lock.run(attachmentKey(owner), () => this.#surplus(row, owner));
      }
    }
    this.#adoptAll = false;
  }

  /** The attachment's reservations are not all as the journal has them. Everything is looked at again, live. */
  async #mend(key: string): Promise<void> {
    const { journal, settler, log } = this.#options;
    const attachment = journal.state.attachments.get(key);
    if (attachment === undefined) {
      return;
    }
    const { owner } = attachment;
    const claims: Claim[] = [];
    for (const claim of attachment.claims) {
      const live = await settler.look(claim.name);
      if (live !== undefined && isOwnedBy(live.spec, owner)) {
        claims.push(claimOf(live));
      } else if (!(await this.#isAlive(owner))) {
        log.info(
          { attachment: key, address: claim.address },
          'dropped an attachment whose owner and reservation are gone',
        );
        journal.append({ t: 'dropped', key });
        return;
      } else {
        claims.push((await this.#assert(claim, attachment, live)) ?? claim);
      }
    }
    journal.append({ t: 'bound', attachment: { ...attachment, claims }, doubts: this.#doubtsOf(owner) });
  }

  /** Writes a live attachment's reservation again; undefined if it is somebody else's now. */
  async #assert(
    claim: Claim,
    { owner }: Attachment,
    live: IPReservation | undefined,
  ): Promise<Claim | undefined> {
    const { api, clock, log, onConflict } = this.#options;
    const address = parseAddress(claim.address);
    const binding = {
      pool: claim.pool,
      owner,
      ...(claim.holder !== undefined && { holder: claim.holder }),
      now: clock.now(),
    };
    try {
      let object: IPReservation | undefined;
      if (live === undefined) {
        const spec = bindNew({ ...binding, network: claim.network, address });
        object = await api.create(ipReservations, {
          apiVersion: 'ipam.berth.dev/v1alpha1',
          kind: 'IPReservation',
          metadata: { name: claim.name },
          spec,
        });
      } else if (live.spec.state === 'Released') {
        const { patch } = takeReleased(claim, binding);
        object = await api.patch(ipReservations, { name: claim.name }, patch);
      }
      if (object !== undefined) {
        log.warn(
          { address: claim.address, pod: `${owner.namespace}/${owner.name}` },
          'a live attachment had lost its reservation; it is written again',
        );
        return claimOf(object);
      }
    } catch (error) {
      if (!isApiError(error, 'AlreadyExists', 'TestFailed', 'NotFound')) {
        throw error;
      }
    }
    log.error(
      {
        address: claim.address,
        pod: `${owner.namespace}/${owner.name}`,
        interface: owner.ifname,
        other: live?.spec.owner ?? live?.spec.holder,
      },
      'a live attachment has an address that is reserved for somebody else; delete one of the two pods',
    );
    onConflict(claim.address);
    return undefined;
  }

  async #surplus(row: ReservationRow, owner: AttachmentOwner): Promise<void> {
    const { journal, clock, log, settler, giveBack } = this.#options;
    const { attachments, releasing, intents } = journal.state;
    const key = attachmentKey(owner);
    const isKnown = (attachment: Attachment | undefined): boolean =>
      attachment?.claims.some((claim) => claim.name === row.name) ?? false;
    if (
      isKnown(attachments.get(key)) ||
      isKnown(releasing.get(key)) ||
      intents.has(intentKey(owner, row.name))
    ) {
      return;
    }
    const byInterface = interfaceKey(owner);
    const other = byInterface === undefined ? undefined : journal.state.byInterface.get(byInterface);
    if (this.#adoptAll || (other === undefined && (await this.#isAlive(owner)))) {
      await this.#adopt(row, owner);
      return;
    }
    if (clock.now() - (sinceMs(row) ?? 0) < SURPLUS_AGE_MS) {
      return;
    }
    const live = await settler.look(row.name);
    if (live !== undefined && isOwnedBy(live.spec, owner)) {
      log.warn({ reservation: row.name, attachment: key }, 'releasing a reservation that no attachment has');
      await giveBack.release(claimOf(live), owner);
    }
  }

  async #adopt(row: ReservationRow, owner: AttachmentOwner): Promise<void> {
    const { journal, settler, log, clock } = this.#options;
    const live = await settler.look(row.name);
    if (live === undefined || !isOwnedBy(live.spec, owner)) {
      return;
    }
    const present = journal.state.attachments.get(attachmentKey(owner));
    const cniNetwork = live.spec.owner?.cniNetwork;
    const { result: _incomplete, ...kept } = present ?? {
      owner: { ...owner, ...(cniNetwork !== undefined && { cniNetwork }) },
      claims: [],
      addedAt: sinceMs(row) ?? clock.now(),
    };
    log.info(
      { reservation: row.name, attachment: attachmentKey(owner) },
      'adopted a reservation of this node',
    );
    journal.append({
      t: 'bound',
      attachment: { ...kept, claims: [...kept.claims, claimOf(live)] },
      doubts: this.#doubtsOf(owner),
    });
  }

  #doubtsOf(owner: AttachmentOwner): string[] {
    const key = attachmentKey(owner);
    return [...this.#options.journal.state.intents.values()]
      .filter((intent) => attachmentKey(intent.owner) === key)
      .map((intent) => intent.name);
  }

  /** True if a live GET shows the owner on this node. The node itself is alive: we run on it. */
  async #isAlive(owner: AttachmentOwner): Promise<boolean> {
    if (owner.kind !== 'Pod' || owner.namespace === undefined || owner.name === undefined) {
      return owner.kind === 'Node';
    }
    const pod = await this.#options.owners.livePod(owner.namespace, owner.name);
    return pod !== undefined && owner.uid !== undefined && podMatches(pod, owner.uid, this.#options.node);
  }
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
