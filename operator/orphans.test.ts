import { beforeEach, describe, expect, test } from 'vitest';
import { ipReservations } from '../crds/resources.ts';
import { type Node, nodes, pods } from '../kube/core.ts';
import { ApiError } from '../kube/errors.ts';
import { aNode, anOwner, aPod, aReservation } from './testing/objects.ts';
import { GRACE_MS, NAME, OrphanWorld } from './testing/orphanworld.ts';

let world: OrphanWorld;

beforeEach(() => {
  world = new OrphanWorld();
});

describe('a live owner keeps its address', () => {
  test('a running pod is no candidate', async () => {
    await world.podWithAddress();
    const orphans = world.reconciler();
    expect(world.suspects(orphans)).toEqual([]);
    expect(await world.reconcile(orphans)).toEqual({ type: 'done' });
    expect(await world.value('berth_operator_orphans{phase="candidate"}')).toBe(0);
  });

  test('when the cache has lost the pod, the live read saves it', async () => {
    await world.podWithAddress();
    world.pods.delete('shop/web');
    const orphans = world.reconciler();
    expect(await world.collect(orphans)).toEqual({ type: 'done' });
    expect(world.state).toBe('Bound');
    expect(await world.value('berth_operator_orphans{phase="candidate"}')).toBe(0);
  });

  test('when the cache says Failed of a pod that is running', async () => {
    await world.podWithAddress();
    world.pods.set(aPod({ uid: world.pods.get('shop/web')?.metadata.uid ?? '', phase: 'Failed' }));
    await world.collect(world.reconciler());
    expect(world.state).toBe('Bound');
  });

  test('when the cache has lost the node of a Terminating pod, the live read of the node saves it', async () => {
    const { pod } = await world.podWithAddress();
    await world.api.patch(pods, { namespace: 'shop', name: 'web' }, [
      { op: 'add', path: '/metadata/finalizers', value: ['example.com/slow'] },
    ]);
    await world.deletePod();
    world.sync();
    world.nodes.delete('node-1');
    const orphans = world.reconciler();
    expect(world.suspects(orphans)).toEqual([NAME]);
    await world.collect(orphans);
    expect(world.state).toBe('Bound');
    expect(pod.metadata.uid).toBe(world.reservation(NAME)?.spec.owner?.uid);
  });

  test('a static pod is known by the hash in its annotation', async () => {
    await world.create(nodes, aNode());
    await world.create(pods, aPod({ mirror: 'kubelet-hash' }));
    await world.create(
      ipReservations,
      aReservation('10.0.0.9', { owner: { ...anOwner, uid: 'kubelet-hash' } }),
    );
    world.sync();
    expect(world.suspects(world.reconciler())).toEqual([]);
    world.pods.delete('shop/web');
    await world.collect(world.reconciler());
    expect(world.state).toBe('Bound');
  });

  test('a pod that comes back into the cache within the grace is no candidate any more', async () => {
    await world.podWithAddress();
    world.pods.delete('shop/web');
    const orphans = world.reconciler();
    await world.reconcile(orphans);
    expect(await world.value('berth_operator_orphans{phase="candidate"}')).toBe(1);
    world.sync();
    expect(await world.reconcile(orphans)).toEqual({ type: 'done' });
    expect(await world.value('berth_operator_orphans{phase="candidate"}')).toBe(0);
  });

  test('the address of a re-created pod of the same name is not touched while the old one is collected', async () => {
    await world.podWithAddress();
    await world.deletePod();
    const young = await world.create(pods, aPod());
    const owner = { ...anOwner, uid: young.metadata.uid ?? '' };
    await world.create(ipReservations, aReservation('10.0.0.10', { owner }));
    world.sync();
    const orphans = world.reconciler();
    expect(world.suspects(orphans)).toEqual([NAME]);
    await world.collect(orphans);
    expect(world.state).toBe('Released');
    expect(world.reservation('default.10.0.0.10')?.spec.state).toBe('Bound');
  });

  test('an address that its next owner has already taken is not touched, though the cache has the old owner', async () => {
    await world.podWithAddress();
    await world.deletePod();
    world.sync();
    const orphans = world.reconciler();
    await world.reconcile(orphans);
    await world.clock.advance(GRACE_MS);
    await world.api.patch(ipReservations, { name: NAME }, [
      { op: 'replace', path: '/spec/owner', value: { ...anOwner, uid: 'uid-2', containerID: 'container-2' } },
    ]);
    expect(await world.reconcile(orphans)).toEqual({ type: 'done' });
    expect(world.reservation(NAME)?.spec).toMatchObject({ state: 'Bound', owner: { uid: 'uid-2' } });
    expect(await world.value('berth_operator_released_total{reason="PodDeleted"}')).toBe(0);
  });

  test('without a cooldown the delete is refused in the same way', async () => {
    world.cooldownMs = 0;
    await world.podWithAddress();
    await world.deletePod();
    world.sync();
    await world.api.patch(ipReservations, { name: NAME }, [
      { op: 'replace', path: '/spec/owner', value: { ...anOwner, uid: 'uid-2', containerID: 'container-2' } },
    ]);
    await world.collect(world.reconciler());
    expect(world.reservation(NAME)?.spec.owner?.uid).toBe('uid-2');
  });

  test('nothing is judged before the caches are filled', async () => {
    await world.podWithAddress();
    await world.deletePod();
    world.sync();
    world.synced = false;
    const orphans = world.reconciler();
    expect(world.suspects(orphans)).toEqual([]);
    expect(await world.collect(orphans)).toMatchObject({ type: 'requeueAfter' });
    expect(world.state).toBe('Bound');
    expect(await world.value('berth_operator_orphans{phase="candidate"}')).toBe(0);
  });

  test('an API server that cannot be asked is no proof', async () => {
    await world.podWithAddress();
    await world.deletePod();
    world.sync();
    world.api.hooks = {
      before: (call) => {
        if (call.target.startsWith('pods/')) throw new ApiError('Forbidden', 'no');
      },
    };
    await expect(world.collect(world.reconciler())).rejects.toThrow('no');
    expect(world.state).toBe('Bound');
  });
});

describe('an owner that is gone gives its address back', () => {
  test('after the grace and not sooner, at the time it says', async () => {
    await world.podWithAddress();
    await world.deletePod();
    world.sync();
    const orphans = world.reconciler();
    expect(await world.reconcile(orphans)).toEqual({ type: 'requeueAfter', ms: GRACE_MS });
    await world.clock.advance(GRACE_MS - 1);
    expect(await world.reconcile(orphans)).toEqual({ type: 'requeueAfter', ms: 1 });
    expect(world.state).toBe('Bound');
    await world.clock.advance(1);
    expect(await world.reconcile(orphans)).toEqual({ type: 'done' });
    expect(world.state).toBe('Released');
    expect(await world.value('berth_operator_released_total{reason="PodDeleted"}')).toBe(1);
    expect(world.leaks).toMatchObject([
      { reservation: { metadata: { name: NAME } }, reason: 'PodDeleted', became: 'Released' },
    ]);
  });

  test('a pool without cooldown has it free at once', async () => {
    world.cooldownMs = 0;
    await world.podWithAddress();
    await world.deletePod();
    world.sync();
    await world.collect(world.reconciler());
    expect(world.reservation(NAME)).toBeUndefined();
  });

  test('an address with a holder is Held again, whatever the cooldown', async () => {
    world.cooldownMs = 0;
    await world.podWithAddress({ holder: 'Pod/shop/web' });
    await world.deletePod();
    world.sync();
    await world.collect(world.reconciler());
    expect(world.reservation(NAME)?.spec).toMatchObject({ state: 'Held', holder: 'Pod/shop/web' });
  });

  test('another owner in the cache starts a new grace', async () => {
    await world.podWithAddress();
    await world.deletePod();
    world.sync();
    const orphans = world.reconciler();
    await world.reconcile(orphans);
    await world.clock.advance(GRACE_MS - 1);
    await world.api.patch(ipReservations, { name: NAME }, [
      { op: 'replace', path: '/spec/owner/uid', value: 'uid-2' },
    ]);
    world.sync();
    expect(await world.reconcile(orphans)).toEqual({ type: 'requeueAfter', ms: GRACE_MS });
    expect(await world.value('berth_operator_orphans{phase="candidate"}')).toBe(1);
  });

  test.each(['Succeeded', 'Failed'] as const)('a pod that has %s', async (phase) => {
    await world.podWithAddress();
    await world.api.patch(
      pods,
      { namespace: 'shop', name: 'web' },
      [{ op: 'replace', path: '/status/phase', value: phase }],
      { subresource: 'status' },
    );
    world.sync();
    await world.collect(world.reconciler());
    expect(world.state).toBe('Released');
    expect(await world.value('berth_operator_released_total{reason="PodFinished"}')).toBe(1);
  });

  const lost: { title: string; reason: string; lose: (node: Node) => Promise<unknown> }[] = [
    {
      title: 'deleted',
      reason: 'NodeDeleted',
      lose: () => world.api.delete(nodes, { name: 'node-1' }),
    },
    {
      title: 'out of service',
      reason: 'NodeOutOfService',
      lose: (node) => world.api.update(nodes, { ...node, spec: aNode('node-1', true).spec ?? {} }),
    },
  ];
  test.each(lost)('a Terminating pod whose node is $title', async ({ reason, lose }) => {
    await world.podWithAddress();
    await world.api.patch(pods, { namespace: 'shop', name: 'web' }, [
      { op: 'add', path: '/metadata/finalizers', value: ['example.com/slow'] },
    ]);
    await world.deletePod();
    world.sync();
    const orphans = world.reconciler();
    await world.collect(orphans);
    expect(world.state).toBe('Bound');
    await lose(await world.api.get(nodes, { name: 'node-1' }));
    world.sync();
    await world.collect(orphans);
    expect(world.state).toBe('Released');
    expect(await world.value(`berth_operator_released_total{reason="${reason}"}`)).toBe(1);
  });

  test('a node that owns an address itself: only while the node does not exist', async () => {
    await world.create(nodes, aNode());
    const owner = { kind: 'Node' as const, node: 'node-1', containerID: 'c', ifname: 'eth0' };
    await world.create(ipReservations, aReservation('10.0.0.9', { owner }));
    world.sync();
    const orphans = world.reconciler();
    expect(await world.reconcile(orphans)).toEqual({ type: 'done' });
    await world.api.delete(nodes, { name: 'node-1' });
    world.sync();
    await world.reconcile(orphans);
    await world.create(nodes, aNode());
    await world.clock.advance(GRACE_MS);
    // The cache has not seen that the node is back.
    await world.reconcile(orphans);
    expect(world.state).toBe('Bound');
    await world.api.delete(nodes, { name: 'node-1' });
    await world.collect(orphans);
    expect(world.state).toBe('Released');
  });

  test('a write that fails is tried again and counted once', async () => {
    await world.podWithAddress();
    await world.deletePod();
    world.sync();
    const orphans = world.reconciler();
    let failures = 1;
    world.api.hooks = {
      before: ({ verb }) => {
        if (verb === 'patch' && failures-- > 0) throw new ApiError('Throttled', 'slow down');
      },
    };
    await expect(world.collect(orphans)).rejects.toThrow('slow down');
    expect(await world.value('berth_operator_orphans{phase="confirmed"}')).toBe(1);
    expect(await world.reconcile(orphans)).toEqual({ type: 'done' });
    expect(await world.value('berth_operator_orphans{phase="confirmed"}')).toBe(0);
    expect(await world.value('berth_operator_released_total{reason="PodDeleted"}')).toBe(1);
  });

  test('a write whose answer was lost does no harm the second time', async () => {
    await world.podWithAddress();
    await world.deletePod();
    world.sync();
    const orphans = world.reconciler();
    world.api.hooks = {
      after: ({ verb }) => {
        if (verb === 'patch') throw new ApiError('OutcomeUnknown', 'lost');
      },
    };
    await expect(world.collect(orphans)).rejects.toThrow('lost');
    const before = world.reservation(NAME)?.metadata.resourceVersion;
    world.api.hooks = {};
    expect(await world.reconcile(orphans)).toEqual({ type: 'done' });
    expect(world.reservation(NAME)?.metadata.resourceVersion).toBe(before);
    expect(await world.value('berth_operator_orphans{phase="confirmed"}')).toBe(0);
  });
});

describe('a dry run', () => {
  test('writes nothing and counts', async () => {
    await world.podWithAddress();
    await world.deletePod();
    world.sync();
    const before = world.api.resourceVersion;
    const orphans = world.reconciler(true);
    expect(await world.collect(orphans)).toEqual({ type: 'done' });
    expect(world.api.resourceVersion).toBe(before);
    expect(await world.value('berth_operator_orphans{phase="confirmed"}')).toBe(1);
    expect(await world.value('berth_operator_released_total{reason="PodDeleted"}')).toBe(0);
  });

  test('stops counting one that somebody else has deleted', async () => {
    await world.podWithAddress();
    await world.deletePod();
    world.sync();
    const orphans = world.reconciler(true);
    await world.collect(orphans);
    await world.api.delete(ipReservations, { name: NAME });
    orphans.forget(NAME);
    expect(await world.value('berth_operator_orphans{phase="confirmed"}')).toBe(0);
  });
});
