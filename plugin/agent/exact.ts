/** Claiming an address that was asked for by value: exactly it, or the reason why not. */
import type { IPReservation } from '../../crds/types.ts';
import { type Address, formatAddress } from '../../ipam/address.ts';
import { reservationName } from '../../ipam/name.ts';
import { isOwnedBy } from '../../ipam/reservation.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, messageOf } from './errors.ts';
import type { Occupancy } from './occupancy.ts';
import type { UsablePool } from './select.ts';
import type { Settler } from './settle.ts';
import { type ClaimContext, type Claimed, claimOf, type ReservationWriter } from './writer.ts';

export interface ExactClaimerOptions {
  readonly occupancy: Occupancy;
  readonly settler: Settler;
  readonly writer: ReservationWriter;
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
  async claim(entry: UsablePool, address: Address, context: ClaimContext): Promise<Claimed> {
    const text = formatAddress(address);
    this.#options.occupancy.view(entry.network).taken(address.family).set(address.value);
    // Two looks are enough: whoever changes it in between is somebody else, and "taken" is then the truth.
    for (let look = 0; look < 2; look += 1) {
      const created = await this.#options.writer.create(entry, address, context);
      if (created !== undefined) {
        return created;
      }
      const found = await this.#look(reservationName(entry.network, address), text);
      if (found === undefined) {
        continue;
      }
      const way = wayTo(found.spec, context);
      if (way === undefined) {
        throw takenError(entry, found);
      }
      if (way === 'own') {
        // Left over of this very attachment; the intent for it is in the journal.
        return { claim: claimOf(found), pool: entry, origin: 'created' };
      }
      const holder = way === 'held' ? found.spec.holder : undefined;
      const taken = await this.#options.writer.take(entry, address, way, context, holder);
      if (taken !== undefined) {
        return taken;
      }
    }
    throw new CniError(
      ErrorCode.addressTaken,
      `requested address ${text} of pool ${entry.name} is taken: others race for it`,
    );
  }

  /**
   * What `claim` would refuse with if it came now; undefined if the address is to be had. One read, and no write.
   * @throws CniError 11 if the API does not answer
   */
  async taken(entry: UsablePool, address: Address, context: ClaimContext): Promise<CniError | undefined> {
    const found = await this.#look(reservationName(entry.network, address), formatAddress(address));
    const isFree = found === undefined || wayTo(found.spec, context) !== undefined;
    return isFree ? undefined : takenError(entry, found);
  }

  async #look(name: string, address: string): Promise<IPReservation | undefined> {
    try {
      return await this.#options.settler.look(name);
    } catch (error) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `who has ${address} can not be looked up: ${messageOf(error)}`,
        'the API server is away or refuses; the runtime will try again',
        error,
      );
    }
  }
}

/** How this ADD may come by an address that is reserved; undefined if it may not. */
function wayTo(spec: IPReservation['spec'], context: ClaimContext): 'own' | 'released' | 'held' | undefined {
  if (isOwnedBy(spec, context.owner)) {
    return 'own';
  }
  if (spec.state === 'Released') {
    return 'released';
  }
  const waits = spec.state === 'Held' && context.holders.some((holder) => holder === spec.holder);
  return waits ? 'held' : undefined;
}

function takenError(entry: UsablePool, { metadata, spec }: IPReservation): CniError {
  return new CniError(
    ErrorCode.addressTaken,
    `requested address ${spec.address} of pool ${entry.name} is taken: ${whose(spec)}`,
    `kubectl get ipreservation ${metadata.name} shows it`,
  );
}

/** By whom an address is taken, in words. */
function whose({ state, holder, owner }: IPReservation['spec']): string {
  if (state === 'Held') {
    return `held for ${holder ?? 'something outside the cluster'}`;
  }
  const who = owner?.kind === 'Pod' ? `pod ${owner.namespace}/${owner.name}` : (owner?.kind ?? 'nobody');
  return `bound to ${who} on node ${owner?.node ?? '(none)'}`;
}
