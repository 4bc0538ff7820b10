/**
 * Claiming one address: a candidate, an intent in the journal, one guarded write.
 *
 * In the steady state that is one create and no read. Reads come only after conflicts and before "exhausted" is said.
 */
import type { ReservationRow } from '../../crds/row.ts';
import { type Address, parseAddress } from '../../ipam/address.ts';
import type { Candidates } from '../../ipam/candidates.ts';
import { reservationName } from '../../ipam/name.ts';
import type { Clock, Random } from '../../kube/clock.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, combine, messageOf } from './errors.ts';
import type { Occupancy } from './occupancy.ts';
import { explain, type FamilyGroup, type UsablePool } from './select.ts';
import type { ClaimContext, Claimed, ReservationWriter } from './writer.ts';

/** Conflicts in a row after which one list is cheaper than another guess. */
const CONFLICTS_BEFORE_LIST = 4;
/**
 * Milliseconds for which a list is the truth of "exhausted": what this agent has given back since is known, and a storm
 * of DELs and ADDs, each DEL of which makes the agent look again, is no storm of lists.
 */
const LIST_IS_TRUE_MS = 1_000;
/** Conflicts after which an ADD leaves a contended pool to the others: the runtime comes again. */
export const MOST_CONFLICTS = 32;

export interface ClaimerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly occupancy: Occupancy;
  readonly candidates: Candidates;
  readonly writer: ReservationWriter;
  readonly onConflict: () => void;
}

function gives({ pool }: UsablePool, { family, value }: Address): boolean {
  return pool.family === family && pool.requestable.contains(value);
}

export class Claimer {
  readonly #options: ClaimerOptions;

  constructor(options: ClaimerOptions) {
    this.#options = options;
  }

  /**
   * One address of the family from the first pool that has one.
   * @throws CniError 101 with the counts of every pool tried, 11 if the API does not answer or time runs out
   */
  async claim(group: FamilyGroup, context: ClaimContext): Promise<Claimed> {
    const early = (await this.#resume(group, context)) ?? (await this.#held(group, context));
    if (early !== undefined) {
      return early;
    }
    for (const pool of group.pools) {
      if (!this.#options.occupancy.isExhausted(pool.name)) {
        const got = await this.#dynamic(pool, context);
        if (got !== undefined) {
          return got;
        }
        this.#options.occupancy.rememberExhausted(pool.name);
      }
    }
    throw this.exhausted(group);
  }

  /** What is said of a family that has nothing left, with the counts of the last list and the pools passed over. */
  exhausted(group: FamilyGroup): CniError {
    const [first, ...rest] = group.pools.map((pool) => this.#full(pool));
    if (first === undefined) {
      return new CniError(ErrorCode.poolNotFound, `no IPv${group.family} pool is left to try`);
    }
    const error = combine([first, ...rest]);
    return new CniError(error.code, error.message, [error.details, ...explain(group.skipped)].join('\n'));
  }

  #full(entry: UsablePool): CniError {
    const { bound, held, released } = this.#options.occupancy.view(entry.network).counts(entry.name);
    const { staticOnly, capacity } = entry.pool;
    return staticOnly
      ? new CniError(
          ErrorCode.exhausted,
          `pool ${entry.name} gives addresses only on request (spec.ranges is empty)`,
          'ask for an address by value, or give the pool ranges',
        )
      : new CniError(
          ErrorCode.exhausted,
          `pool ${entry.name} has no free address: ${bound} bound, ${held} held, ${released} cooling down, capacity ${capacity}`,
          'free addresses, or add ranges to the pool; kubectl get ippools shows the usage',
        );
  }

  /** An address that an earlier, unanswered try of this ADD may have claimed. */
  async #resume(group: FamilyGroup, context: ClaimContext): Promise<Claimed | undefined> {
    for (const intent of context.resumable) {
      const pool = group.pools.find((p) => p.name === intent.pool);
      if (pool === undefined) {
        continue;
      }
      if (intent.origin === 'created') {
        const got = await this.#options.writer.create(pool, parseAddress(intent.address), context);
        if (got !== undefined) {
          return got;
        }
      }
    }
    return undefined;
  }

  /** The lowest address of the group's pools that waits for this pod. */
  async #held(group: FamilyGroup, context: ClaimContext): Promise<Claimed | undefined> {
    const waiting: { pool: UsablePool; holder: string; address: Address }[] = [];
    for (const holder of context.holders) {
      const isListed = group.pools.some((pool) => pool.heldForTruncated);
      const rows = isListed ? await this.#heldRows(holder) : [];
      for (const pool of group.pools) {
        const texts = pool.heldForTruncated
          ? rows
              .filter((row) => row.pool === pool.name && row.network === pool.network)
              .map((row) => row.address)
          : (pool.heldFor.get(holder) ?? []);
        // A person may hold any address under a pool's name; the pool gives none that it does not have.
        const addresses = texts.map(parseAddress).filter((address) => gives(pool, address));
        waiting.push(...addresses.map((address) => ({ pool, holder, address })));
      }
    }
    waiting.sort((a, b) => (a.address.value < b.address.value ? -1 : 1));
    for (const { pool, holder, address } of waiting) {
      const got = await this.#options.writer.take(pool, address, 'held', context, holder);
      if (got !== undefined) {
        return got;
      }
    }
    return undefined;
  }

  /** The pools' lists of what is held are cut off: the API knows the rest. */
  async #heldRows(holder: string): Promise<ReservationRow[]> {
    try {
      return await this.#options.occupancy.heldFor(holder);
    } catch (error) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `the addresses held for ${holder} can not be listed: ${messageOf(error)}`,
        'the API server is away or refuses; the runtime will try again',
        error,
      );
    }
  }

  /**
   * One address of the pool's ranges, undefined if there is none: a free one, else one that rests. What to try is a
   * belief, which a list renews after a few conflicts, and before "none" is said.
   */
  async #dynamic(entry: UsablePool, context: ClaimContext): Promise<Claimed | undefined> {
    const { candidates, clock, occupancy } = this.#options;
    let lost = 0;
    let isListed = false;
    const began = clock.monotonic();
    let since = began;
    while (true) {
      this.#checkContention(entry, context, lost);
      const attempt = this.#next(entry, context, lost);
      if (attempt === undefined) {
        if (isListed || occupancy.isExhausted(entry.name)) {
          // In the second case somebody else of this agent has just listed it, while we tried the last ones.
          return undefined;
        }
        await this.#refresh(entry, began - LIST_IS_TRUE_MS);
        isListed = true;
        continue;
      }
      const got = await attempt;
      if (got !== undefined) {
        return got;
      }
      this.#options.onConflict();
      candidates.jump(entry.name);
      lost += 1;
      if (lost % CONFLICTS_BEFORE_LIST === 0) {
        await this.#refresh(entry, since);
        isListed = true;
        since = clock.monotonic();
      }
    }
  }

  /** The next write to try; undefined if everything is believed taken. */
  #next(entry: UsablePool, context: ClaimContext, lost: number): Promise<Claimed | undefined> | undefined {
    const { candidates, clock, occupancy, random } = this.#options;
    const { family } = entry.pool;
    const view = occupancy.view(entry.network);
    const free = candidates.next(entry.pool, view.taken(family), lost);
    if (free !== undefined) {
      view.taken(family).set(free);
      return this.#create(entry, { family, value: free }, context);
    }
    // Nothing is free: an address that still cools down.
    const resting = view.resting.take(entry.pool, random, clock.monotonic());
    return resting === undefined ? undefined : this.#take(entry, { family, value: resting }, context);
  }

  /** Takes what rests. A race lost is remembered: the next ones keep out of the others' way. */
  async #take(entry: UsablePool, address: Address, context: ClaimContext): Promise<Claimed | undefined> {
    const { occupancy, writer } = this.#options;
    const got = await writer.take(entry, address, 'released', context, undefined);
    if (got === undefined) {
      occupancy.lost(entry.network);
    }
    return got;
  }

  /** A create whose failure, other than losing the race, makes the candidate believed free again. */
  async #create(entry: UsablePool, address: Address, context: ClaimContext): Promise<Claimed | undefined> {
    const { occupancy, writer } = this.#options;
    try {
      const got = await writer.create(entry, address, context);
      if (got === undefined) {
        occupancy.taken(entry.network, address);
      }
      return got;
    } catch (error) {
      if (!context.doubts.has(reservationName(entry.network, address))) {
        occupancy.view(entry.network).taken(address.family).clear(address.value);
      }
      throw error;
    }
  }

  async #refresh(entry: UsablePool, since: number): Promise<void> {
    try {
      await this.#options.occupancy.refresh(entry.network, since);
    } catch (error) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `the addresses of pool ${entry.name} can not be listed: ${messageOf(error)}`,
        'the API server is away or refuses; the runtime will try again',
        error,
      );
    }
  }

  #checkContention(entry: UsablePool, context: ClaimContext, lost: number): void {
    if (lost >= MOST_CONFLICTS || this.#options.clock.monotonic() >= context.deadline) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `pool ${entry.name} is contended: each of the ${lost} addresses that were tried was taken by somebody else first`,
        'the runtime will try again',
      );
    }
  }
}
