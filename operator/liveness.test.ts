import { describe, expect, test } from 'vitest';
import { subjectOf, whyPodGone } from './liveness.ts';
import { aNode, anOwner, aPod, aReservation, type PodShape } from './testing/objects.ts';

describe('who must be alive for a reservation to stay', () => {
  test('the pod of a Bound one, by UID and node', () => {
    expect(subjectOf(aReservation('10.0.0.1').spec)).toEqual({
      kind: 'pod',
      uid: 'uid-1',
      namespace: 'shop',
      name: 'web',
      node: 'node-1',
    });
  });

  test('the node of one that a node owns', () => {
    const { spec } = aReservation('10.0.0.1', { owner: { kind: 'Node', node: 'node-1', ifname: 'eth0' } });
    expect(subjectOf(spec)).toEqual({ kind: 'node', node: 'node-1' });
  });

  test.each([
    { holder: 'Pod/shop/web', want: { namespace: 'shop', pod: 'web' } },
    {
      holder: 'StatefulSet/shop/db/2',
      want: { namespace: 'shop', pod: 'db-2', set: { name: 'db', ordinal: 2 } },
    },
  ])('the holder $holder of one that Berth holds: it has a last owner', ({ holder, want }) => {
    const { spec } = aReservation('10.0.0.1', { state: 'Held', holder });
    expect(subjectOf(spec)).toEqual({ kind: 'holder', ...want });
  });

  const byPerson = { network: 'default', address: '10.0.0.1', pool: 'blue', state: 'Held' as const };
  const bound = aReservation('10.0.0.1').spec;
  test.each([
    { title: 'Released', spec: { ...bound, state: 'Released' as const } },
    { title: 'Held by a person', spec: { ...byPerson, holder: 'Pod/shop/vip' } },
    { title: 'Held again after a pod has used it', spec: { ...byPerson, holder: 'Pod/shop/web' } },
    {
      title: 'held by Berth for a holder of another kind',
      spec: { ...bound, state: 'Held' as const, holder: 'VirtualMachine/shop/db' },
    },
    {
      title: 'held by Berth for a holder that is none',
      spec: { ...bound, state: 'Held' as const, holder: 'Pod/shop' },
    },
    {
      title: 'Held with an owner of kind Node',
      spec: { ...byPerson, holder: 'Pod/shop/web', owner: { kind: 'Node' as const, node: 'node-1' } },
    },
    { title: 'Held for the outside', spec: { ...byPerson, owner: { kind: 'External' as const } } },
    { title: 'without the UID that would prove it', spec: { ...bound, owner: { ...anOwner, uid: '' } } },
    { title: 'without a node', spec: { ...bound, owner: { ...anOwner, node: '' } } },
  ])('nobody, if it is $title', ({ spec }) => {
    expect(subjectOf(spec)).toEqual({ kind: 'nobody' });
  });
});

describe('a pod counts as', () => {
  const subject = { uid: 'uid-1', node: 'node-1' };
  const rows: { title: string; pod?: PodShape; node?: 'absent' | 'outOfService'; want: string }[] = [
    { title: 'running', pod: {}, want: 'alive' },
    { title: 'running on a node that is not known', pod: {}, node: 'absent', want: 'alive' },
    { title: 'pending', pod: { phase: 'Pending' }, want: 'alive' },
    { title: 'of unknown phase', pod: { phase: 'Unknown' }, want: 'alive' },
    { title: 'not there', want: 'PodDeleted' },
    { title: 'of another UID under the same name', pod: { uid: 'uid-2' }, want: 'PodDeleted' },
    { title: 'a mirror pod with this hash', pod: { uid: 'uid-2', mirror: 'uid-1' }, want: 'alive' },
    { title: 'a mirror pod with another hash', pod: { uid: 'uid-2', mirror: 'uid-3' }, want: 'PodDeleted' },
    { title: 'on another node', pod: { node: 'node-2' }, want: 'PodElsewhere' },
    { title: 'not yet scheduled', pod: { node: '' }, want: 'alive' },
    { title: 'Succeeded', pod: { phase: 'Succeeded' }, want: 'PodFinished' },
    { title: 'Failed', pod: { phase: 'Failed' }, want: 'PodFinished' },
    { title: 'Terminating', pod: { terminating: true }, want: 'alive' },
    { title: 'Terminating, node deleted', pod: { terminating: true }, node: 'absent', want: 'NodeDeleted' },
    {
      title: 'Terminating, node out of service',
      pod: { terminating: true },
      node: 'outOfService',
      want: 'NodeOutOfService',
    },
    { title: 'not Terminating, node out of service', pod: {}, node: 'outOfService', want: 'alive' },
  ];
  test.each(rows)('$want: $title', ({ pod, node, want }) => {
    const found = pod === undefined ? undefined : aPod(pod);
    const on = node === 'absent' ? undefined : aNode('node-1', node === 'outOfService');
    expect(whyPodGone(subject, found, on) ?? 'alive').toBe(want);
  });
});
