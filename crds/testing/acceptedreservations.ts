/** Reservations that the API server accepts. */
import type { ReservationCase } from './case.ts';
import { bound, boundV6, held, holder, nameInFull, owner } from './examples.ts';

export const acceptedReservations: readonly ReservationCase[] = [
  { rule: 'a pod has an address', spec: bound },
  { rule: 'an IPv6 address is written in full in the name', name: nameInFull, spec: boundV6('fd00:10::11') },
  {
    rule: 'the IPv6 address of zeros',
    name: 'default.0000-0000-0000-0000-0000-0000-0000-0000',
    spec: boundV6('::'),
  },
  {
    rule: 'the highest IPv6 address',
    name: 'default.ffff-ffff-ffff-ffff-ffff-ffff-ffff-ffff',
    spec: boundV6('ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'),
  },
  {
    rule: 'the longest network and an IPv6 address',
    name: `${'n'.repeat(63)}.fd00-0010-0000-0000-0000-0000-0000-0011`,
    spec: { ...bound, network: 'n'.repeat(63), address: 'fd00:10::11' },
  },
  {
    rule: 'a node has an address',
    spec: { ...bound, owner: { kind: 'Node', node: 'worker-3', containerID: 'cilium', ifname: 'eth0' } },
  },
  { rule: 'a bound address has a holder', spec: { ...bound, holder } },
  { rule: 'a released address keeps its last owner', spec: { ...bound, state: 'Released' } },
  { rule: 'a person holds an address for a pod', spec: { ...held, holder: 'Pod/shop/vip' } },
  { rule: 'a person holds an address for a member of a set', spec: { ...held, holder } },
  {
    rule: 'a person holds an address for something outside',
    spec: { ...held, owner: { kind: 'External', name: 'printer in room 7' } },
  },
  { rule: 'an address outside its pool', spec: { ...bound, address: '192.0.2.1' } },
  { rule: 'since is not required', spec: { ...held, holder } },
  {
    rule: 'bound to released',
    before: bound,
    spec: { ...bound, state: 'Released', since: '2026-01-31T10:05:00Z' },
  },
  { rule: 'bound to held', before: { ...bound, holder }, spec: { ...bound, state: 'Held', holder } },
  {
    rule: 'released to bound, in another pool and with another owner',
    before: { ...bound, state: 'Released' },
    spec: { ...bound, pool: 'other', owner: { ...owner, uid: 'u2', containerID: 'c2' } },
  },
];
