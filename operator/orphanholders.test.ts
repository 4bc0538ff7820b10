/** Orphans whose owner is no pod: nodes, and holders of Held addresses. */
import { beforeEach, describe, expect, test } from 'vitest';
import { ipReservations } from '../crds/resources.ts';
import type { IPReservationSpec } from '../crds/types.ts';
import { nodes, pods, statefulSets } from '../kube/core.ts';
import type { OrphanReconciler } from './orphans.ts';
import { aNode, anOwner, aPod, aReservation } from './testing/objects.ts';
import { GRACE_MS, NAME, OrphanWorld } from './testing/orphanworld.ts';

let world: OrphanWorld;

beforeEach(() => {
  world = new OrphanWorld();
});

describe('of owners of kind Node', () => {
  const owner = { kind: 'Node' as const, node: 'node-1', containerID: 'c', ifname: 'eth0' };

  beforeEach(async () => {
    await world.create(nodes, aNode());
    await world.create(ipReservations, aReservation('10.0.0.9', { owner }));
    world.sync();
  });

  test('pods say nothing: with none on the node, ended ones or ones elsewhere, the address stays', async () => {
    await world.create(pods, aPod({ phase: 'Failed' }));
    world.sync();
    expect(world.suspects(world.reconciler())).toEqual([]);
  });

  test('a node that is there again for a moment begins a new grace', async () => {
    const orphans = world.reconciler();
    await world.api.delete(nodes, { name: 'node-1' });
    world.sync();
    expect(world.suspects(orphans)).toEqual([NAME]);
    await world.clock.advance(GRACE_MS - 1);
    await world.create(nodes, aNode());
    world.sync();
    expect(world.suspects(orphans)).toEqual([]);
    await world.api.delete(nodes, { name: 'node-1' });
    world.sync();
    expect(world.suspects(orphans)).toEqual([NAME]);
    await world.clock.advance(GRACE_MS - 1);
    expect(await world.reconcile(orphans)).toEqual({ type: 'requeueAfter', ms: 1 });
    await world.clock.advance(1);
    await world.reconcile(orphans);
    expect(world.state).toBe('Released');
    expect(await world.value('berth_operator_released_total{reason="OwnerNodeDeleted"}')).toBe(1);
  });
});

describe('of Held addresses', () => {
  const holder = 'Pod/shop/web';
  const set = { apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { namespace: 'shop', name: 'db' } };
  const ofSet = {
    state: 'Held',
    holder: 'StatefulSet/shop/db/2',
    owner: { ...anOwner, name: 'db-2' },
  } as const;

  async function held(spec: Partial<IPReservationSpec>): Promise<OrphanReconciler> {
    await world.create(ipReservations, aReservation('10.0.0.9', { state: 'Held', ...spec }));
    world.sync();
    return world.reconciler();
  }

  test("a person's is never collected, though its holder is gone: it has no last owner", async () => {
    const { owner: _none, ...spec } = aReservation('10.0.0.9', { state: 'Held', holder }).spec;
    await world.create(ipReservations, { ...aReservation('10.0.0.9'), spec });
    world.sync();
    const orphans = world.reconciler();
    expect(world.suspects(orphans)).toEqual([]);
    await world.collect(orphans);
    expect(world.state).toBe('Held');
  });

  test("a person's that a pod has used is a person's again when that pod is collected", async () => {
    const { pod } = await world.podWithAddress({ holder });
    await world.deletePod();
    world.sync();
    const orphans = world.reconciler();
    await world.collect(orphans);
    world.sync();
    expect(pod.metadata.name).toBe('web');
    expect(world.reservation(NAME)?.spec).toMatchObject({ state: 'Held', holder });
    await world.collect(orphans);
    expect(world.state).toBe('Held');
    expect(await world.value('berth_operator_released_total{reason="HolderGone"}')).toBe(0);
  });

  test('one kept for something outside the cluster is never collected', async () => {
    const orphans = await held({ owner: { kind: 'External', name: 'printer' } });
    await world.collect(orphans);
    expect(world.state).toBe('Held');
  });

  test('one that Berth holds for a pod goes when no pod has the name, and rests for the cooldown', async () => {
    const orphans = await held({ holder });
    expect(await world.collect(orphans)).toEqual({ type: 'done' });
    expect(world.reservation(NAME)?.spec).toMatchObject({ state: 'Released', owner: anOwner });
    expect(world.reservation(NAME)?.spec).not.toHaveProperty('holder');
    expect(await world.value('berth_operator_released_total{reason="HolderGone"}')).toBe(1);
  });

  test('without a cooldown it is free at once', async () => {
    world.cooldownMs = 0;
    await world.collect(await held({ holder }));
    expect(world.reservation(NAME)).toBeUndefined();
  });

  test('it stays while a pod of the name is there, whatever its UID, and costs no read', async () => {
    await world.create(pods, aPod({ uid: 'another', node: 'node-2' }));
    const orphans = await held({ holder });
    const calls = world.countCalls();
    expect(world.suspects(orphans)).toEqual([]);
    await world.collect(orphans);
    expect([world.state, calls]).toEqual(['Held', []]);
  });

  test('it stays if the live read finds the pod that the cache has not', async () => {
    const orphans = await held({ holder });
    await world.reconcile(orphans);
    await world.create(pods, aPod({ uid: 'another' }));
    await world.collect(orphans);
    expect(world.state).toBe('Held');
  });

  test.each([
    { title: 'the StatefulSet does not exist', spec: undefined, want: 'Released' },
    { title: 'it was scaled down', spec: { replicas: 2 }, want: 'Released' },
    { title: 'its ordinals begin later', spec: { replicas: 3, ordinals: { start: 3 } }, want: 'Released' },
    { title: 'it has the replica, whose pod is not there now', spec: { replicas: 3 }, want: 'Held' },
    {
      title: 'it has the replica by its first ordinal',
      spec: { replicas: 1, ordinals: { start: 2 } },
      want: 'Held',
    },
  ])('for a replica: $want if $title', async ({ spec, want }) => {
    if (spec !== undefined) await world.create(statefulSets, { ...set, spec });
    await world.collect(await held(ofSet));
    expect(world.state).toBe(want);
  });

  test('for a replica whose pod is there it stays, and costs no read', async () => {
    await world.create(pods, aPod({ name: 'db-2' }));
    const orphans = await held(ofSet);
    const calls = world.countCalls();
    await world.collect(orphans);
    expect([world.state, calls]).toEqual(['Held', []]);
  });

  test('a holder of a kind that is not known is never judged', async () => {
    await world.collect(await held({ holder: 'VirtualMachine/shop/db' }));
    expect(world.state).toBe('Held');
  });

  test('one that its holder has taken meanwhile is not touched', async () => {
    const orphans = await held({ holder });
    await world.reconcile(orphans);
    await world.clock.advance(GRACE_MS);
    await world.api.patch(ipReservations, { name: NAME }, [
      { op: 'replace', path: '/spec/state', value: 'Bound' },
    ]);
    await world.reconcile(orphans);
    expect(world.state).toBe('Bound');
  });
});
