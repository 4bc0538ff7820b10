/** Claiming an address that was asked for by value: exactly it, or the reason why not. */
import type { IPReservation } from '../../crds/types.ts';
import { type Address, formatAddress } from '../../ipam/address.ts';
import { reservationName } from '../../ipam/name.ts';
import { isOwnedBy } from '../../ipam/reservation.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, messageOf } from './errors.ts';
import type { Journal } from './journal.ts';
import type { Occupancy } from './occupancy.ts';
import { attachmentKey } from './request.ts';
import type { UsablePool } from './select.ts';
import type { Settler } from './settle.ts';
import { attachmentOf, interfaceKey } from './state.ts';
import { type Placement, whereAsked } from './wishes.ts';
import { type ClaimContext, type Claimed, claimOf, type ReservationWriter } from './writer.ts';

/** A wish and the pool that gives it. */
type Placed = Placement['placed'][number];

export interface ExactClaimerOptions {
  readonly occupancy: Occupancy;
  readonly journal: Pick<Journal, 'state'>;
  readonly settler: Settler;
  readonly writer: ReservationWriter;
  /** Told of an attachment of this node whose reservation the API server seems to have lost. */
  readonly onLost: (key: string) => void;
}

export class ExactClaimer {
  readonly #options: ExactClaimerOptions;

  constructor(options: ExactClaimerOptions) {
    this.#options = options;
  }

  /**
   * Exactly this address from this pool.
   * @throws CniError 102 if somebody else has it, 11 if the API does not answer
   */
  async claim({ wish, pool: entry }: Placed, context: ClaimContext): Promise<Claimed> {
    const { address } = wish;
    if (context.avoided?.has(reservationName(entry.network, address)) === true) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `requested address ${formatAddress(address)} of pool ${entry.name} is still being given back by an earlier try of this ADD`,
        'the runtime will try again',
      );
    }
    await this.#refuseOurs(entry, address, context);
    this.#options.occupancy.view(entry.network).taken(address.family).set(address.value);
    // Two looks are enough: whoever changes it in between is somebody else, and "taken" is then the truth.
    for (let look = 0; look < 2; look += 1) {
      const created = await this.#options.writer.create(entry, address, context);
      if (created !== undefined) {
        return created;
      }
      const found = await this.#look(entry, address);
      if (found === undefined) {
        continue;
      }
      if (isOwnedBy(found.spec, context.owner)) {
        // Left over of this very attachment; the intent for it is in the journal.
        return { claim: claimOf(found), pool: entry, origin: 'created' };
      }
      const way = wayTo(found.spec, context.holders);
      if (way === undefined) {
        throw taken({ wish, pool: entry }, `is taken: ${whose(found.spec)}`, found);
      }
      const got = await this.#options.writer.take(entry, address, way.origin, context, way.holder);
      if (got !== undefined) {
        return got;
      }
    }
    throw taken({ wish, pool: entry }, 'is taken: others race for it');
  }

  /**
   * What speaks against giving the address now, without taking it; undefined if nothing does.
   * @returns CniError 102 if somebody else has it, 11 if the API does not answer
   */
  async objection(placed: Placed, { owner, holders }: ClaimContext): Promise<CniError | undefined> {
    try {
      const found = await this.#look(placed.pool, placed.wish.address);
      const isFree =
        found === undefined || isOwnedBy(found.spec, owner) || wayTo(found.spec, holders) !== undefined;
      return isFree ? undefined : taken(placed, `is taken: ${whose(found.spec)}`, found);
    } catch (error) {
      if (error instanceof CniError) {
        return error;
      }
      throw error;
    }
  }

  /**
   * What another attachment of this node has is not free because the API server does not say so: after a restore it does
   * not know it until it has been compared.
   */
  async #refuseOurs(entry: UsablePool, address: Address, { owner }: ClaimContext): Promise<void> {
    const { journal, onLost } = this.#options;
    const ours = attachmentOf(journal.state, reservationName(entry.network, address));
    if (ours === undefined || interfaceKey(ours.owner) === interfaceKey(owner)) {
      return;
    }
    const found = await this.#look(entry, address);
    if (found?.spec.state === 'Bound') {
      return;
    }
    onLost(attachmentKey(ours.owner));
    throw new CniError(
      ErrorCode.tryAgainLater,
      `requested address ${formatAddress(address)} of pool ${entry.name} was given to ${ownerInWords(ours.owner)}, and the API server does not know it any more`,
      'it is compared within seconds; the runtime will try again',
    );
  }

  async #look(entry: UsablePool, address: Address): Promise<IPReservation | undefined> {
    try {
      return await this.#options.settler.look(reservationName(entry.network, address));
    } catch (error) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `who has ${formatAddress(address)} can not be looked up: ${messageOf(error)}`,
        'the API server is away or refuses; the runtime will try again',
        error,
      );
    }
  }
}

/** How a pod with these holders may take what is not Bound; undefined: not at all. */
function wayTo(
  { state, holder }: IPReservation['spec'],
  holders: readonly string[],
): { readonly origin: 'released' | 'held'; readonly holder: string | undefined } | undefined {
  if (state === 'Released') {
    return { origin: 'released', holder: undefined };
  }
  const own = holders.find((each) => each === holder);
  return state === 'Held' && own !== undefined ? { origin: 'held', holder: own } : undefined;
}

function taken({ wish, pool }: Placed, how: string, found?: IPReservation): CniError {
  return new CniError(
    ErrorCode.addressTaken,
    `requested address ${formatAddress(wish.address)} of pool ${pool.name} ${how}`,
    [
      ...whereAsked(wish),
      ...(found === undefined ? [] : [`kubectl get ipreservation ${found.metadata.name} shows it`]),
    ].join('\n'),
  );
}

/** By whom an address is taken, in words. */
export function whose({ state, holder, owner }: IPReservation['spec']): string {
  if (state === 'Held') {
    const name = owner?.name === undefined ? '' : ` (${owner.name})`;
    return `held for ${holder ?? `something outside the cluster${name}`}`;
  }
  return `bound to ${ownerInWords(owner)}`;
}

/** As `pod shop/web, interface net1, on node node-1`. */
export function ownerInWords(owner: IPReservation['spec']['owner']): string {
  const { kind, namespace, name, node = '(none)', ifname } = owner ?? {};
  const where = ifname === undefined ? '' : `, interface ${ifname}`;
  return kind === 'Pod' ? `pod ${namespace}/${name}${where}, on node ${node}` : `node ${node}${where}`;
}
