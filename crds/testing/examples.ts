/** Specs that the tables start from. */
import type { IPReservationSpec, ReservationOwner } from '../types.ts';

export const owner: ReservationOwner = {
  kind: 'Pod',
  namespace: 'shop',
  name: 'web-7d9c5f6b8-x2x4z',
  uid: '3f0c9a52-0d0b-4c55-8d6e-6f3d5ad1c001',
  node: 'worker-3',
  containerID: '9a1f',
  ifname: 'net1',
  cniNetwork: 'storage-macvlan',
};

export const bound: IPReservationSpec = {
  network: 'storage',
  address: '10.20.1.7',
  pool: 'storage-v4',
  state: 'Bound',
  owner: owner,
  since: '2026-01-31T10:00:00Z',
};

/** Held by nobody: not complete. */
export const held: IPReservationSpec = {
  network: 'storage',
  address: '10.20.1.7',
  pool: 'storage-v4',
  state: 'Held',
};

export const holder = 'StatefulSet/shop/db/2';

/** Bound to this IPv6 address of network "default"; it need not be one. */
export function boundV6(address: string): IPReservationSpec {
  return { ...bound, network: 'default', address };
}

/** The name that belongs to fd00:10::11 in network "default". */
export const nameInFull = 'default.fd00-0010-0000-0000-0000-0000-0000-0011';
