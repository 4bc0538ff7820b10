/** One reservation written for an attachment: the intent in the journal first, then one guarded write. */
import { API_VERSION, ipReservations } from '../../crds/resources.ts';
import type { IPReservation } from '../../crds/types.ts';
import { type Address, formatAddress } from '../../ipam/address.ts';
import { reservationName } from '../../ipam/name.ts';
import { bindNew, type Transition, takeHeld, takeReleased } from '../../ipam/reservation.ts';
import type { Api } from '../../kube/api.ts';
import type { Clock } from '../../kube/clock.ts';
import { isOlderVersion } from '../../kube/core.ts';
import type { Journal } from './journal.ts';
import { attachmentKey } from './request.ts';
import type { UsablePool } from './select.ts';
import type { AddContext, Settler } from './settle.ts';
import { type AttachmentOwner, attachmentOf, type Claim, type Intent, type Origin } from './state.ts';

/** An address that an ADD has got so far. */
export interface Claimed {
  readonly claim: Claim;
  readonly pool: UsablePool;
  readonly origin: Origin;
}

export interface ClaimContext extends AddContext {
  readonly owner: AttachmentOwner;
  /** The identities under which addresses may be held for this pod. */
  readonly holders: readonly string[];
  /** Intents of an earlier try of this very ADD whose outcome is unknown: they are taken up first. */
  readonly resumable: readonly Intent[];
  /** Names that this attachment gives back: a late undo must not find them claimed anew. */
  readonly avoided?: ReadonlySet<string>;
}

export interface WriterOptions {
  readonly api: Api;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly settler: Settler;
  /** Called when an answer is not newer than one before it: the API server may have gone back in time under a live connection. */
  readonly onOlderAnswer: () => void;
  /** Told of an attachment of this node whose reservation the API server seems to have lost. */
  readonly onLost: (key: string) => void;
}

/** A claim as the API answered it. */
export function claimOf(object: IPReservation): Claim {
  const { metadata, spec } = object;
  return {
    name: metadata.name ?? '',
    network: spec.network,
    address: spec.address,
    pool: spec.pool,
    ...(spec.holder !== undefined && { holder: spec.holder }),
    since: spec.since ?? '',
    ...(metadata.uid !== undefined && { uid: metadata.uid }),
    ...(metadata.resourceVersion !== undefined && { resourceVersion: metadata.resourceVersion }),
  };
}

/** Each method gives undefined where somebody else was first, and throws CniError 11 where that stays unknown. */
export class ReservationWriter {
  readonly #options: WriterOptions;
  /** The version of the newest answer. */
  #newest: string | undefined;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  /** The address, if no reservation of it exists. */
  async create(entry: UsablePool, address: Address, context: ClaimContext): Promise<Claimed | undefined> {
    const { api, clock } = this.#options;
    const spec = bindNew({
      network: entry.network,
      address,
      pool: entry.name,
      owner: context.owner,
      now: clock.now(),
    });
    return this.#write(entry, address, 'created', context, (name, timeoutMs) =>
      api.create(
        ipReservations,
        { apiVersion: API_VERSION, kind: 'IPReservation', metadata: { name }, spec },
        { timeoutMs },
      ),
    );
  }

  /** The address out of Released or, with a holder, out of Held. */
  async take(
    entry: UsablePool,
    address: Address,
    origin: 'released' | 'held',
    context: ClaimContext,
    holder: string | undefined,
  ): Promise<Claimed | undefined> {
    const { api, clock } = this.#options;
    const from = {
      network: entry.network,
      address: formatAddress(address),
      ...(holder !== undefined && { holder }),
    };
    const binding = { pool: entry.name, owner: context.owner, now: clock.now() };
    const transition: Transition =
      holder === undefined ? takeReleased(from, binding) : takeHeld(from, { ...binding, holder });
    return this.#write(entry, address, origin, context, (name, timeoutMs) =>
      api.patch(ipReservations, { name }, transition.patch, { timeoutMs }),
    );
  }

  async #write(
    entry: UsablePool,
    address: Address,
    origin: Origin,
    context: ClaimContext,
    send: (name: string, timeoutMs: number) => Promise<IPReservation>,
  ): Promise<Claimed | undefined> {
    const name = reservationName(entry.network, address);
    if (context.avoided?.has(name) === true) return undefined;
    if (origin !== 'held' && this.#isAnothers(name, context.owner)) return undefined;
    const intent: Intent = {
      name,
      network: entry.network,
      address: formatAddress(address),
      pool: entry.name,
      origin,
      owner: context.owner,
    };
    this.#options.journal.append({ t: 'intent', intent });
    const before = this.#newest;
    const object = await this.#options.settler.write(intent, context, (timeoutMs) => send(name, timeoutMs));
    if (object === undefined) return undefined;
    this.#answered(object.metadata.resourceVersion, before);
    return { claim: claimOf(object), pool: entry, origin };
  }

  /**
   * What another attachment of this node has is not free, whatever an API server says that was restored: it is looked at. One
   * of a pod that has ended has nothing any more; and what is held waits for this very pod.
   */
  #isAnothers(name: string, owner: AttachmentOwner): boolean {
    const { journal, onLost } = this.#options;
    const user = attachmentOf(journal.state, name);
    if (user === undefined || user.isEnded === true) return false;
    const key = attachmentKey(user.owner);
    if (key === attachmentKey(owner)) return false;
    onLost(key);
    return true;
  }

  /** @param before the newest version when the write was sent: etcd gives each write a higher one, until it is restored */
  #answered(version: string | undefined, before: string | undefined): void {
    if (version === undefined) return;
    const isNewer = before === undefined || isOlderVersion(before, version);
    if (!isNewer) this.#options.onOlderAnswer();
    // After an older one the next is compared with that: one notice, not one for each write until the server has caught up.
    if (!isNewer || this.#newest === undefined || isOlderVersion(this.#newest, version))
      this.#newest = version;
  }
}
