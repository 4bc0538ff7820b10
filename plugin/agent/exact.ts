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
    if (context.avoided?.has(reservationName(entry.network, address)) === true) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `requested address ${text} of pool ${entry.name} is still being given back by an earlier try of this ADD`,
        'the runtime will try again',
      );
    }
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
      const { spec } = found;
      if (isOwnedBy(spec, context.owner)) {
        // Left over of this very attachment; the intent for it is in the journal.
        return { claim: claimOf(found), pool: entry, origin: 'created' };
      }
      const holder = context.holders.find((h) => h === spec.holder);
      let taken: Claimed | undefined;
      if (spec.state === 'Released') {
        taken = await this.#options.writer.take(entry, address, 'released', context, undefined);
      } else if (spec.state === 'Held' && holder !== undefined) {
        taken = await this.#options.writer.take(entry, address, 'held', context, holder);
      } else {
        throw new CniError(
          ErrorCode.addressTaken,
          `requested address ${text} of pool ${entry.name} is taken: ${whose(spec)}`,
          `kubectl get ipreservation ${found.metadata.name} shows it`,
        );
      }
      if (taken !== undefined) {
        return taken;
      }
    }
    throw new CniError(
      ErrorCode.addressTaken,
      `requested address ${text} of pool ${entry.name} is taken: others race for it`,
    );
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

/** By whom an address is taken, in words. */
function whose({ state, holder, owner }: IPReservation['spec']): string {
  if (state === 'Held') {
    return `held for ${holder ?? 'something outside the cluster'}`;
  }
  const who = owner?.kind === 'Pod' ? `pod ${owner.namespace}/${owner.name}` : (owner?.kind ?? 'nobody');
  return `bound to ${who} on node ${owner?.node ?? '(none)'}`;
}
