import { beforeEach, describe, expect, test } from 'vitest';
import { ipReservations } from '../crds/resources.ts';
import type { IPReservation, IPReservationSpec } from '../crds/types.ts';
import type { Outcome } from '../kube/controller.ts';
import { type Node, nodes, type Pod, pods } from '../kube/core.ts';
import { ApiError } from '../kube/errors.ts';
import { silentLog } from '../kube/log.ts';
import { type OperatorMetrics, operatorMetrics } from './metrics.ts';
import { OrphanReconciler } from './orphans.ts';
import type { Happening } from './report.ts';
import { aNode, anOwner, aPod, aReservation } from './testing/objects.ts';
import { World } from './testing/world.ts';

const GRACE_MS = 60_000;
const NAME = 'default.10.0.0.9';

let world: World;
let metrics: OperatorMetrics;
let reports: Happening[];
let synced: boolean;
let cooldownMs: number;

beforeEach(() => {
  world = new World();
  metrics = operatorMetrics();
  reports = [];
  synced = true;
  cooldownMs = 30_000;
});

function reconciler(dryRun = false): OrphanReconciler {
  return new OrphanReconciler({
    ...world.parts(),
    log: silentLog,
    synced: () => synced,
    cooldownOf: () => cooldownMs,
    graceMs: GRACE_MS,
    dryRun,
    metrics,
    report: (_about, happening) => reports.push(happening),
  });
}

function reconcile(orphans: OrphanReconciler): Promise<Outcome> {
  return orphans.reconcile(NAME, new AbortController().signal);
}

/** A running pod and its reservation, in the API and in the caches. */
async function podWithAddress(
  spec: Partial<IPReservationSpec> = {},
): Promise<{ pod: Pod; reservation: IPReservation }> {
  await world.create(nodes, aNode());
  const pod = await world.create(pods, aPod());
  const owner = { ...anOwner, uid: pod.metadata.uid ?? '' };
  const reservation = await world.create(ipReservations, aReservation('10.0.0.9', { owner, ...spec }));
  world.sync();
  return { pod, reservation };
}

const deletePod = (): Promise<void> => world.api.delete(pods, { namespace: 'shop', name: 'web' });

/** Reconciles until the grace is over and once more. */
async function collect(orphans: OrphanReconciler): Promise<Outcome> {
  await reconcile(orphans);
  await world.clock.advance(GRACE_MS);
  return reconcile(orphans);
}

const state = (): string | undefined => world.reservation(NAME)?.spec.state;

async function value(series: string): Promise<number> {
  const line = (await metrics.registry.metrics()).split('\n').find((each) => each.startsWith(`${series} `));
  return Number(line?.split(' ')[1]);
}

describe('a live owner keeps its address', () => {
  test('a running pod is no candidate', async () => {
    await podWithAddress();
    const orphans = reconciler();
    expect(orphans.scan()).toEqual([]);
    expect(await reconcile(orphans)).toEqual({ type: 'done' });
    expect(await value('berth_operator_orphans{phase="candidate"}')).toBe(0);
  });

  test('when the cache has lost the pod, the live read saves it', async () => {
    await podWithAddress();
    world.pods.delete('shop/web');
    const orphans = reconciler();
    expect(await collect(orphans)).toEqual({ type: 'done' });
    expect(state()).toBe('Bound');
    expect(await value('berth_operator_orphans{phase="candidate"}')).toBe(0);
  });

  test('when the cache says Failed of a pod that is running', async () => {
    await podWithAddress();
    world.pods.set(aPod({ uid: world.pods.get('shop/web')?.metadata.uid ?? '', phase: 'Failed' }));
    await collect(reconciler());
    expect(state()).toBe('Bound');
  });

  test('when the cache has lost the node of a Terminating pod, the live read of the node saves it', async () => {
    const { pod } = await podWithAddress();
    await world.api.patch(pods, { namespace: 'shop', name: 'web' }, [
      { op: 'add', path: '/metadata/finalizers', value: ['example.com/slow'] },
    ]);
    await deletePod();
    world.sync();
    world.nodes.delete('node-1');
    const orphans = reconciler();
    expect(orphans.scan()).toEqual([NAME]);
    await collect(orphans);
    expect(state()).toBe('Bound');
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
    expect(reconciler().scan()).toEqual([]);
    world.pods.delete('shop/web');
    await collect(reconciler());
    expect(state()).toBe('Bound');
  });

  test('a pod that comes back into the cache within the grace is no candidate any more', async () => {
    await podWithAddress();
    world.pods.delete('shop/web');
    const orphans = reconciler();
    await reconcile(orphans);
    expect(await value('berth_operator_orphans{phase="candidate"}')).toBe(1);
    world.sync();
    expect(await reconcile(orphans)).toEqual({ type: 'done' });
    expect(await value('berth_operator_orphans{phase="candidate"}')).toBe(0);
  });

  test('the address of a re-created pod of the same name is not touched while the old one is collected', async () => {
    await podWithAddress();
    await deletePod();
    const young = await world.create(pods, aPod());
    const owner = { ...anOwner, uid: young.metadata.uid ?? '' };
    await world.create(ipReservations, aReservation('10.0.0.10', { owner }));
    world.sync();
    const orphans = reconciler();
    expect(orphans.scan()).toEqual([NAME]);
    await collect(orphans);
    expect(state()).toBe('Released');
    expect(world.reservation('default.10.0.0.10')?.spec.state).toBe('Bound');
  });

  test('an address that its next owner has already taken is not touched, though the cache has the old owner', async () => {
    await podWithAddress();
    await deletePod();
    world.sync();
    const orphans = reconciler();
    await reconcile(orphans);
    await world.clock.advance(GRACE_MS);
    await world.api.patch(ipReservations, { name: NAME }, [
      { op: 'replace', path: '/spec/owner', value: { ...anOwner, uid: 'uid-2', containerID: 'container-2' } },
    ]);
    expect(await reconcile(orphans)).toEqual({ type: 'done' });
    expect(world.reservation(NAME)?.spec).toMatchObject({ state: 'Bound', owner: { uid: 'uid-2' } });
    expect(await value('berth_operator_released_total{reason="PodDeleted"}')).toBe(0);
  });

  test('without a cooldown the delete is refused in the same way', async () => {
    cooldownMs = 0;
    await podWithAddress();
    await deletePod();
    world.sync();
    await world.api.patch(ipReservations, { name: NAME }, [
      { op: 'replace', path: '/spec/owner', value: { ...anOwner, uid: 'uid-2', containerID: 'container-2' } },
    ]);
    await collect(reconciler());
    expect(world.reservation(NAME)?.spec.owner?.uid).toBe('uid-2');
  });

  test('nothing is judged before the caches are filled', async () => {
    await podWithAddress();
    await deletePod();
    world.sync();
    synced = false;
    const orphans = reconciler();
    expect(orphans.scan()).toEqual([]);
    expect(await collect(orphans)).toMatchObject({ type: 'requeueAfter' });
    expect(state()).toBe('Bound');
    expect(await value('berth_operator_orphans{phase="candidate"}')).toBe(0);
  });

  test('an API server that cannot be asked is no proof', async () => {
    await podWithAddress();
    await deletePod();
    world.sync();
    world.api.hooks = {
      before: (call) => {
        if (call.target.startsWith('pods/')) throw new ApiError('Forbidden', 'no');
      },
    };
    await expect(collect(reconciler())).rejects.toThrow('no');
    expect(state()).toBe('Bound');
  });
});

describe('an owner that is gone gives its address back', () => {
  test('after the grace and not sooner, at the time it says', async () => {
    await podWithAddress();
    await deletePod();
    world.sync();
    const orphans = reconciler();
    expect(await reconcile(orphans)).toEqual({ type: 'requeueAfter', ms: GRACE_MS });
    await world.clock.advance(GRACE_MS - 1);
    expect(await reconcile(orphans)).toEqual({ type: 'requeueAfter', ms: 1 });
    expect(state()).toBe('Bound');
    await world.clock.advance(1);
    expect(await reconcile(orphans)).toEqual({ type: 'done' });
    expect(state()).toBe('Released');
    expect(await value('berth_operator_released_total{reason="PodDeleted"}')).toBe(1);
    expect(reports).toEqual([
      {
        type: 'Normal',
        reason: 'OrphanReleased',
        message: 'took 10.0.0.9 back from pod shop/web (net1): PodDeleted; it is now Released',
      },
    ]);
  });

  test('a pool without cooldown has it free at once', async () => {
    cooldownMs = 0;
    await podWithAddress();
    await deletePod();
    world.sync();
    await collect(reconciler());
    expect(world.reservation(NAME)).toBeUndefined();
  });

  test('an address with a holder is Held again, whatever the cooldown', async () => {
    cooldownMs = 0;
    await podWithAddress({ holder: 'Pod/shop/web' });
    await deletePod();
    world.sync();
    await collect(reconciler());
    expect(world.reservation(NAME)?.spec).toMatchObject({ state: 'Held', holder: 'Pod/shop/web' });
  });

  test('another owner in the cache starts a new grace', async () => {
    await podWithAddress();
    await deletePod();
    world.sync();
    const orphans = reconciler();
    await reconcile(orphans);
    await world.clock.advance(GRACE_MS - 1);
    await world.api.patch(ipReservations, { name: NAME }, [
      { op: 'replace', path: '/spec/owner/uid', value: 'uid-2' },
    ]);
    world.sync();
    expect(await reconcile(orphans)).toEqual({ type: 'requeueAfter', ms: GRACE_MS });
    expect(await value('berth_operator_orphans{phase="candidate"}')).toBe(1);
  });

  test.each(['Succeeded', 'Failed'] as const)('a pod that has %s', async (phase) => {
    await podWithAddress();
    await world.api.patch(
      pods,
      { namespace: 'shop', name: 'web' },
      [{ op: 'replace', path: '/status/phase', value: phase }],
      { subresource: 'status' },
    );
    world.sync();
    await collect(reconciler());
    expect(state()).toBe('Released');
    expect(await value('berth_operator_released_total{reason="PodFinished"}')).toBe(1);
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
    await podWithAddress();
    await world.api.patch(pods, { namespace: 'shop', name: 'web' }, [
      { op: 'add', path: '/metadata/finalizers', value: ['example.com/slow'] },
    ]);
    await deletePod();
    world.sync();
    const orphans = reconciler();
    await collect(orphans);
    expect(state()).toBe('Bound');
    await lose(await world.api.get(nodes, { name: 'node-1' }));
    world.sync();
    await collect(orphans);
    expect(state()).toBe('Released');
    expect(await value(`berth_operator_released_total{reason="${reason}"}`)).toBe(1);
  });

  test('a node that owns an address itself: only while the node does not exist', async () => {
    await world.create(nodes, aNode());
    const owner = { kind: 'Node' as const, node: 'node-1', containerID: 'c', ifname: 'eth0' };
    await world.create(ipReservations, aReservation('10.0.0.9', { owner }));
    world.sync();
    const orphans = reconciler();
    expect(await reconcile(orphans)).toEqual({ type: 'done' });
    await world.api.delete(nodes, { name: 'node-1' });
    world.sync();
    await reconcile(orphans);
    await world.create(nodes, aNode());
    await world.clock.advance(GRACE_MS);
    // The cache has not seen that the node is back.
    await reconcile(orphans);
    expect(state()).toBe('Bound');
    await world.api.delete(nodes, { name: 'node-1' });
    await collect(orphans);
    expect(state()).toBe('Released');
  });

  test('a write that fails is tried again and counted once', async () => {
    await podWithAddress();
    await deletePod();
    world.sync();
    const orphans = reconciler();
    let failures = 1;
    world.api.hooks = {
      before: ({ verb }) => {
        if (verb === 'patch' && failures-- > 0) throw new ApiError('Throttled', 'slow down');
      },
    };
    await expect(collect(orphans)).rejects.toThrow('slow down');
    expect(await value('berth_operator_orphans{phase="confirmed"}')).toBe(1);
    expect(await reconcile(orphans)).toEqual({ type: 'done' });
    expect(await value('berth_operator_orphans{phase="confirmed"}')).toBe(0);
    expect(await value('berth_operator_released_total{reason="PodDeleted"}')).toBe(1);
  });

  test('a write whose answer was lost does no harm the second time', async () => {
    await podWithAddress();
    await deletePod();
    world.sync();
    const orphans = reconciler();
    world.api.hooks = {
      after: ({ verb }) => {
        if (verb === 'patch') throw new ApiError('OutcomeUnknown', 'lost');
      },
    };
    await expect(collect(orphans)).rejects.toThrow('lost');
    const before = world.reservation(NAME)?.metadata.resourceVersion;
    world.api.hooks = {};
    expect(await reconcile(orphans)).toEqual({ type: 'done' });
    expect(world.reservation(NAME)?.metadata.resourceVersion).toBe(before);
    expect(await value('berth_operator_orphans{phase="confirmed"}')).toBe(0);
  });
});

describe('a dry run', () => {
  test('writes nothing and counts', async () => {
    await podWithAddress();
    await deletePod();
    world.sync();
    const before = world.api.resourceVersion;
    const orphans = reconciler(true);
    expect(await collect(orphans)).toEqual({ type: 'done' });
    expect(world.api.resourceVersion).toBe(before);
    expect(await value('berth_operator_orphans{phase="confirmed"}')).toBe(1);
    expect(await value('berth_operator_released_total{reason="PodDeleted"}')).toBe(0);
  });

  test('stops counting one that somebody else has deleted', async () => {
    await podWithAddress();
    await deletePod();
    world.sync();
    const orphans = reconciler(true);
    await collect(orphans);
    await world.api.delete(ipReservations, { name: NAME });
    world.sync();
    expect(orphans.scan()).toEqual([NAME]);
    await reconcile(orphans);
    expect(await value('berth_operator_orphans{phase="confirmed"}')).toBe(0);
  });
});
