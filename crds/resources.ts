/** Names of the kinds: REST resources, finalizer, condition types and columns. They are contract. */
import type { IPPool, IPPoolSpec, IPReservation, IPReservationSpec } from './types.ts';

export const GROUP = 'ipam.berth.dev';
export const VERSION = 'v1alpha1';
export const API_VERSION = 'ipam.berth.dev/v1alpha1';

/** A REST resource as the API layer takes it; `type` is never set and only ties the object type to it. */
export interface KindResource<T> {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly type?: T;
}

export const ipPools: KindResource<IPPool> = {
  group: GROUP,
  version: VERSION,
  plural: 'ippools',
  kind: 'IPPool',
  namespaced: false,
};

export const ipReservations: KindResource<IPReservation> = {
  group: GROUP,
  version: VERSION,
  plural: 'ipreservations',
  kind: 'IPReservation',
  namespaced: false,
};

/**
 * On every pool that agents may use: it keeps a pool that is being deleted until no reservation names it.
 * Only the operator sets and removes it.
 */
export const FINALIZER_IN_USE = 'ipam.berth.dev/in-use';

/** The network of a pool that names none; the schema fills it in. */
export const DEFAULT_NETWORK = 'default';

/** Most entries of a pool's `status.holders`; beyond it `holdersTruncated` is true. */
export const MAX_HOLDERS = 500;

/** Agents may use the pool. */
export const CONDITION_READY = 'Ready';
/** No address is free or cooling down. */
export const CONDITION_EXHAUSTED = 'Exhausted';
/** No reservation of the pool lies outside its ranges. */
export const CONDITION_DRAINED = 'Drained';
/** An address of the pool is in use by somebody who does not own it. */
export const CONDITION_CONFLICT = 'Conflict';

/**
 * `reason` of the Events by which agents tell that an address has two users: a Warning on the pod that has lost its
 * reservation (`related` is that reservation) and on the pod that has it now (`related` is the first pod), and a Normal one on
 * the first when it is over. The operator reads those on the first.
 */
export const EVENT_ADDRESS_CONFLICT = 'AddressConflict';

export type AllocationMode = NonNullable<IPPoolSpec['allocation']>;
export type StaticRequests = NonNullable<IPPoolSpec['staticRequests']>;
export type ReservationState = IPReservationSpec['state'];

/** Columns of a Table of reservations, in order, the wide ones too; the API server puts the name first. */
export const RESERVATION_COLUMNS: readonly string[] = [
  'Name',
  'Address',
  'Pool',
  'State',
  'Namespace',
  'Owner',
  'Node',
  'Interface',
  'Age',
  'Since',
  'Holder',
  'Network',
  'UID',
  'Container',
];

/** Columns of a Table of pools, in order, the wide ones too; the API server puts the name first. */
export const POOL_COLUMNS: readonly string[] = [
  'Name',
  'Network',
  'Subnet',
  'Capacity',
  'Bound',
  'Free',
  'Ready',
  'Age',
  'Held',
  'Released',
  'Gateway',
  'Default',
  'Disabled',
];
