/** Refusals of states, owners, holders, times and changes of reservations. */
import type { ReservationCase } from './case.ts';
import { bound, held, holder, owner } from './examples.ts';

function without(field: keyof typeof owner): Record<string, string> {
  return Object.fromEntries(Object.entries(owner).filter(([name]) => name !== field));
}

export const refusedOwners: readonly ReservationCase[] = [
  // Required fields and states.
  {
    rule: 'a network is required',
    name: 'storage.10.20.1.7',
    spec: { ...held, network: undefined, holder },
    refused: { 'spec.network': 'Required value' },
  },
  {
    rule: 'a pool is required',
    spec: { ...held, pool: undefined, holder },
    refused: { 'spec.pool': 'Required value' },
  },
  {
    rule: 'a state is required',
    spec: { ...held, state: undefined, holder },
    refused: { 'spec.state': 'Required value' },
  },
  {
    rule: 'a pool has a possible name',
    spec: { ...bound, pool: 'Storage_v4' },
    refused: { 'spec.pool': 'must be the name of an IPPool' },
  },
  {
    rule: 'a network has no dots',
    name: 'a.b.10.20.1.7',
    spec: { ...bound, network: 'a.b' },
    refused: { 'spec.network': 'without dots' },
  },
  {
    rule: 'a state is one of three',
    spec: { ...bound, state: 'Free' },
    refused: { 'spec.state': 'Unsupported value: "Free"' },
  },
  {
    rule: 'Bound needs an owner',
    spec: { ...held, state: 'Bound' },
    refused: { 'spec.owner': 'a Bound reservation needs an owner' },
  },
  {
    rule: 'Bound needs an owner even with a holder',
    spec: { ...held, state: 'Bound', holder },
    refused: { 'spec.owner': 'a Bound reservation needs an owner' },
  },
  {
    rule: 'Held needs a holder',
    spec: held,
    refused: { 'spec.holder': 'a Held reservation needs a holder or an owner of kind External' },
  },
  {
    rule: 'Held needs a holder even with a pod',
    spec: { ...bound, state: 'Held' },
    refused: { 'spec.holder': 'a Held reservation needs a holder' },
  },
  {
    rule: 'External is not Bound',
    spec: { ...bound, owner: { kind: 'External' } },
    refused: { 'spec.owner.kind': 'an owner of kind External goes with state Held only, not with Bound' },
  },
  {
    rule: 'External is not Released',
    spec: { ...bound, state: 'Released', owner: { kind: 'External' } },
    refused: { 'spec.owner.kind': 'not with Released' },
  },

  // Owners.
  {
    rule: 'an owner has a kind',
    spec: { ...bound, owner: without('kind') },
    refused: { 'spec.owner.kind': 'Required value' },
  },
  {
    rule: 'an owner is a Pod, a Node or External',
    spec: { ...bound, owner: { ...owner, kind: 'Service' } },
    refused: { 'spec.owner.kind': 'Unsupported value: "Service"' },
  },
  ...(['namespace', 'name', 'uid', 'node', 'containerID', 'ifname'] as const).map(
    (field): ReservationCase => ({
      rule: `a pod has a ${field}`,
      spec: { ...bound, owner: without(field) },
      refused: {
        'spec.owner': 'an owner of kind Pod needs namespace, name, uid, node, containerID and ifname',
      },
    }),
  ),
  {
    rule: 'a UID is not empty',
    spec: { ...bound, owner: { ...owner, uid: '' } },
    refused: { 'spec.owner.uid': 'should be at least 1 chars long' },
  },
  {
    rule: 'an interface name has at most 15 characters',
    spec: { ...bound, owner: { ...owner, ifname: 'n'.repeat(16) } },
    refused: { 'spec.owner.ifname': 'may not be more than 15' },
  },
  {
    rule: 'a node owner has a node',
    spec: { ...bound, owner: { kind: 'Node', ifname: 'eth0' } },
    refused: { 'spec.owner': 'an owner of kind Node needs node' },
  },

  // Holders and times.
  ...[
    'db',
    'Pod/shop',
    'Pod//vip',
    'Pod/shop/vip/0',
    'pod/shop/vip',
    'Deployment/shop/web',
    'StatefulSet/shop/db',
    'StatefulSet/shop/db/x',
    'StatefulSet/shop/db/02',
    'StatefulSet/shop/db/-1',
    'Pod/Shop/vip',
    '',
  ].map(
    (bad): ReservationCase => ({
      rule: `"${bad}" is no holder`,
      spec: { ...held, holder: bad },
      refused: { 'spec.holder': 'must be Pod/<namespace>/<name> or StatefulSet/<namespace>/<set>/<ordinal>' },
    }),
  ),
  {
    rule: 'since is a time',
    spec: { ...bound, since: 'yesterday' },
    refused: { 'spec.since': ['should match', 'date-time'] },
  },
  {
    rule: 'since is in UTC',
    spec: { ...bound, since: '2026-01-31T10:00:00+01:00' },
    refused: { 'spec.since': 'should match' },
  },
  {
    rule: 'since is in whole seconds',
    spec: { ...bound, since: '2026-01-31T10:00:00.5Z' },
    refused: { 'spec.since': 'should match' },
  },

  // Changes.
  {
    rule: 'address cannot change',
    before: bound,
    name: 'storage.10.20.1.7',
    spec: { ...bound, address: '10.20.1.8' },
    refused: {
      'spec.address': 'is immutable and stays 10.20.1.7: make another reservation',
      'metadata.name': 'must be "storage.10.20.1.8"',
    },
  },
  {
    rule: 'network cannot change',
    before: bound,
    name: 'storage.10.20.1.7',
    spec: { ...bound, network: 'other' },
    refused: {
      'spec.network': 'is immutable and stays "storage": make another reservation',
      'metadata.name': 'must be "other.10.20.1.7"',
    },
  },
  {
    rule: 'the last owner cannot be taken off a Bound one',
    before: bound,
    spec: { ...bound, owner: undefined },
    refused: { 'spec.owner': 'a Bound reservation needs an owner' },
  },
];
