/**
 * Compile-time check that the generated types and the domain's own say the same: each is assignable to the other.
 * A field that is added to a schema and not to the domain (or the other way round) stops the build here.
 */

import type { PoolDns, PoolRoute, PoolSpec } from '../ipam/pool.ts';
import type { Owner, ReservationSpec } from '../ipam/reservation.ts';
import type { LabelSelector as DomainSelector } from '../ipam/selector.ts';
import type { DNS, IPPoolSpec, IPReservationSpec, LabelSelector, ReservationOwner, Route } from './types.ts';

/**
 * True if neither type has anything that the other lacks. The fields are compared too, since TypeScript lets an object
 * with one optional field more be assigned.
 */
type Same<A, B> = [A] extends [B]
  ? [B] extends [A]
    ? [keyof A] extends [keyof B]
      ? [keyof B] extends [keyof A]
        ? true
        : false
      : false
    : false
  : false;

/** Every entry must be `true`; the one that is not names the pair that differs. */
export const schemaMatchesDomain: {
  readonly poolSpec: Same<IPPoolSpec, PoolSpec>;
  readonly route: Same<Route, PoolRoute>;
  readonly dns: Same<DNS, PoolDns>;
  readonly labelSelector: Same<LabelSelector, DomainSelector>;
  readonly reservationSpec: Same<IPReservationSpec, ReservationSpec>;
  readonly owner: Same<ReservationOwner, Owner>;
} = { poolSpec: true, route: true, dns: true, labelSelector: true, reservationSpec: true, owner: true };
