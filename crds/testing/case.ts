/** One row of the table tests: an object, or a change of one, that the API server accepts or refuses. */
import type { IPPoolSpec, IPReservationSpec } from '../types.ts';

/**
 * A field (as the API server names it) and what its refusals say; every refusal of the
 * object is listed.
 */
export type Refusals = Readonly<Record<string, string | readonly string[]>>;

interface Row {
  /** The rule that the row proves. */
  readonly rule: string;
  /** Absent: the object is accepted. */
  readonly refused?: Refusals;
}

/** `spec` as a person would write it: bad ones too, so less typed than the real one. */
export type Loose<T> = { readonly [K in keyof T]?: unknown };

/** A pool; `before` makes it a change: the spec that is there already. */
export interface PoolCase extends Row {
  /** Defaults to "t". */
  readonly name?: string;
  readonly spec: Loose<IPPoolSpec>;
  readonly before?: Loose<IPPoolSpec>;
}

/** A reservation; `before` makes it a change: the spec that is there already. */
export interface ReservationCase extends Row {
  /** Defaults to the name that belongs to network and address, where they are IPv4. */
  readonly name?: string;
  readonly spec: Loose<IPReservationSpec>;
  readonly before?: Loose<IPReservationSpec>;
}
