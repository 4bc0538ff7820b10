/** What a pool's status should say: pure. */

import {
  CONDITION_CONFLICT,
  CONDITION_DRAINED,
  CONDITION_EXHAUSTED,
  CONDITION_READY,
  MAX_HOLDERS,
} from '../crds/resources.ts';
import type { Condition, IPPoolStatus } from '../crds/types.ts';
import { formatAddress } from '../ipam/address.ts';
import type { Pool, PoolProblem } from '../ipam/pool.ts';
import { formatSince } from '../ipam/reservation.ts';
import type { Conflict } from './conflicts.ts';
import type { HeldEntry, Usage } from './usageindex.ts';

/** A pool's spec as the operator understands it: compiled, or why it cannot be, or not be used. */
export interface Understood {
  /** Undefined: the spec cannot be compiled, and `problems` says why. */
  readonly pool: Pool | undefined;
  readonly problems: readonly {
    readonly reason: PoolProblem['reason'] | 'InvalidSpec';
    readonly message: string;
  }[];
}

export interface StatusInput {
  readonly understood: Understood;
  readonly generation: number | undefined;
  /** The pool has a deletionTimestamp. */
  readonly terminating: boolean;
  readonly usage: Usage;
  readonly waiting: readonly HeldEntry[];
  /** Name of the Bound reservation of the gateway's address, if there is one. */
  readonly gatewayReservation: string | undefined;
  /** Addresses with two users; undefined: not known yet, and the condition stays as it is. */
  readonly conflicts: readonly Conflict[] | undefined;
  readonly previous: IPPoolStatus | undefined;
  /** Milliseconds since the Unix epoch. */
  readonly now: number;
}

/** Addresses with two users that a condition's message names. */
const MOST_CONFLICTS_SHOWN = 10;

type Judgement = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>;

/**
 * The status that the pool should have. `lastTransitionTime` of a condition stays while its status stays; conditions
 * of types that are not Berth's are kept.
 */
export function poolStatus(input: StatusInput): IPPoolStatus {
  const { understood, usage, previous } = input;
  const capacity = understood.pool?.capacity ?? 0n;
  const free = understood.pool === undefined ? 0n : capacity - BigInt(usage.taken);
  const holders = input.waiting.toSorted(byHolder).slice(0, MAX_HOLDERS);
  const judged = [
    readyCondition(input),
    exhaustedCondition(input, free),
    drainedCondition(input),
    conflictCondition(input),
  ];
  const foreign = (previous?.conditions ?? []).filter(({ type }) => !judged.some((own) => own.type === type));
  return {
    ...(input.generation === undefined ? {} : { observedGeneration: input.generation }),
    capacity: capacity.toString(),
    bound: usage.bound.toString(),
    held: usage.held.toString(),
    released: usage.released.toString(),
    free: free.toString(),
    ...(holders.length === 0 ? {} : { holders }),
    ...(input.waiting.length > MAX_HOLDERS ? { holdersTruncated: true } : {}),
    conditions: [...judged.map((condition) => dated(condition, input)), ...foreign],
  };
}

function dated(judgement: Judgement, { previous, generation, now }: StatusInput): Condition {
  const before = previous?.conditions?.find(({ type }) => type === judgement.type);
  return {
    type: judgement.type,
    status: judgement.status,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    lastTransitionTime: before?.status === judgement.status ? before.lastTransitionTime : formatSince(now),
    reason: judgement.reason,
    message: judgement.message,
  };
}

function readyCondition({ understood, terminating, usage }: StatusInput): Judgement {
  const type = CONDITION_READY;
  const [problem] = understood.problems;
  if (terminating) {
    const uses = usage.bound + usage.held + usage.released;
    const message = `the pool is being deleted and gives no new addresses; ${plural(uses, 'reservation')} left`;
    return { type, status: 'False', reason: 'Terminating', message };
  }
  if (problem !== undefined) {
    const message = understood.problems.map((each) => each.message).join('; ');
    return { type, status: 'False', reason: problem.reason, message };
  }
  if (understood.pool?.disabled === true) {
    const message = 'spec.disabled is true: the pool gives no new addresses, those in use stay';
    return { type, status: 'True', reason: 'Disabled', message };
  }
  return { type, status: 'True', reason: 'Usable', message: 'the pool gives addresses' };
}

function exhaustedCondition({ understood, usage }: StatusInput, free: bigint): Judgement {
  const type = CONDITION_EXHAUSTED;
  if (understood.pool === undefined) {
    return unknown(type);
  }
  if (understood.pool.staticOnly) {
    const message = 'spec.ranges is empty: the pool gives addresses by value only';
    return { type, status: 'True', reason: 'StaticOnly', message };
  }
  if (free === 0n && usage.released === 0) {
    const message = 'no address of spec.ranges is free or cooling down: extend ranges or release addresses';
    return { type, status: 'True', reason: 'NoFreeAddress', message };
  }
  const reason = free === 0n ? 'OnlyReleasedAddresses' : 'FreeAddresses';
  const message = free === 0n ? 'only addresses that are cooling down are left' : 'there are free addresses';
  return { type, status: 'False', reason, message };
}

function drainedCondition({ understood, usage }: StatusInput): Judgement {
  const type = CONDITION_DRAINED;
  if (understood.pool === undefined) {
    return unknown(type);
  }
  if (usage.outside === 0) {
    return {
      type,
      status: 'True',
      reason: 'NothingOutside',
      message: 'every reservation lies in spec.ranges',
    };
  }
  const message =
    `${plural(usage.outside, 'reservation')} outside spec.ranges: ` +
    'asked for by value, or given before the ranges were changed';
  return { type, status: 'False', reason: 'ReservationsOutside', message };
}

function conflictCondition(input: StatusInput): Judgement {
  const { understood, gatewayReservation, conflicts, previous } = input;
  const type = CONDITION_CONFLICT;
  const { pool } = understood;
  if (pool === undefined) {
    return unknown(type);
  }
  if (pool.gateway !== undefined && gatewayReservation !== undefined) {
    const message =
      `the gateway ${formatAddress(pool.gateway)} is also in use by the owner of reservation ${gatewayReservation}: ` +
      'change spec.gateway or end that owner';
    return { type, status: 'True', reason: 'GatewayInUse', message };
  }
  if (conflicts === undefined) {
    const before = previous?.conditions?.find((each) => each.type === type);
    return before?.reason === 'AddressInUseTwice' ? before : noConflict(type);
  }
  if (conflicts.length > 0) {
    const shown = conflicts.slice(0, MOST_CONFLICTS_SHOWN);
    const list = shown.map(({ address, users }) => `${address} by ${users.join(' and ')}`);
    const more = conflicts.length - shown.length;
    const message =
      `in use twice: ${list.join('; ')}${more > 0 ? `; and ${plural(more, 'more address', 'more addresses')}` : ''}: ` +
      'delete one of the two pods';
    return { type, status: 'True', reason: 'AddressInUseTwice', message };
  }
  return noConflict(type);
}

function noConflict(type: string): Judgement {
  return { type, status: 'False', reason: 'NoConflict', message: 'no address is known to be in use twice' };
}

function unknown(type: string): Judgement {
  return {
    type,
    status: 'Unknown',
    reason: 'InvalidSpec',
    message: 'the spec cannot be evaluated: see Ready',
  };
}

function plural(count: number, what: string, many: string = `${what}s`): string {
  return `${count} ${count === 1 ? what : many}`;
}

function byHolder(a: HeldEntry, b: HeldEntry): number {
  return compare(a.holder, b.holder) || compare(a.address, b.address);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/**
 * How urgent it is to write: `now` for what an agent or a person waits for (Ready, a new spec observed), `soon` for
 * other conditions and the holders, `later` for mere counts, `never` where nothing differs.
 */
export type Urgency = 'now' | 'soon' | 'later' | 'never';

/** How urgent it is to replace the status `old` by `next`. */
export function urgencyOf(old: IPPoolStatus | undefined, next: IPPoolStatus): Urgency {
  if (old === undefined || old.observedGeneration !== next.observedGeneration) {
    return 'now';
  }
  const states = (status: IPPoolStatus, only?: string): string =>
    JSON.stringify(
      (status.conditions ?? [])
        .filter(({ type }) => only === undefined || type === only)
        .map(({ type, status: state, reason }) => [type, state, reason]),
    );
  if (states(old, CONDITION_READY) !== states(next, CONDITION_READY)) {
    return 'now';
  }
  if (states(old) !== states(next) || !sameHolders(old, next)) {
    return 'soon';
  }
  return canonical(old) === canonical(next) ? 'never' : 'later';
}

function sameHolders(a: IPPoolStatus, b: IPPoolStatus): boolean {
  const text = (status: IPPoolStatus): string =>
    JSON.stringify([
      (status.holders ?? []).map(({ holder, address }) => [holder, address]),
      status.holdersTruncated ?? false,
    ]);
  return text(a) === text(b);
}

/** The status as text with sorted keys: the API server returns fields in an order of its own. */
function canonical(status: IPPoolStatus): string {
  return JSON.stringify(status, (_key, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => compare(a, b)))
      : value,
  );
}
