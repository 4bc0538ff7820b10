import { beforeEach, describe, expect, test } from 'vitest';
import { ipReservations } from '../crds/resources.ts';
import type { IPReservation, IPReservationSpec } from '../crds/types.ts';
import type { Outcome } from '../kube/controller.ts';
import { type Node, nodes, type Pod, pods, statefulSets } from '../kube/core.ts';
import { ApiError } from '../kube/errors.ts';
import { silentLog } from '../kube/log.ts';
import type { MemoryCall } from '../kube/memory.ts';
import { RateLimiter } from '../kube/ratelimiter.ts';
import type { Leak } from './leaks.ts';
import { GONE_REASONS } from './liveness.ts';
import { CROWD } from './livereads.ts';
import { type OperatorMetrics, operatorMetrics } from './metrics.ts';
import { OrphanReconciler } from './orphans.ts';
import { aNode, anOwner, aPod, aReservation } from './testing/objects.ts';
import { World } from './testing/world.ts';

const GRACE_MS = 60_000;
const NAME = 'default.10.0.0.9';

let world: World;
let metrics: OperatorMetrics;
let leaks: Leak[];
let synced: boolean;
let cooldownMs: number;

beforeEach(() => {
  world = new World();
  metrics = operatorMetrics();
  leaks = [];
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
    limiter: new RateLimiter({ clock: world.clock, perSecond: 1_000, burst: 1_000 }),
    dryRun,
    metrics,
    onLeak: (leak) => leaks.push(leak),
  });
}

/** What the events of the caches would make candidates. */
function suspects(orphans: OrphanReconciler): string[] {
  return world.reservations
    .list()
    .filter((reservation) => orphans.observe(reservation))
    .map(({ metadata }) => metadata.name ?? '');
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
    expect(suspects(orphans)).toEqual([]);
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
    expect(suspects(orphans)).toEqual([NAME]);
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
    expect(suspects(reconciler())).toEqual([]);
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
    expect(suspects(orphans)).toEqual([NAME]);
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
    expect(suspects(orphans)).toEqual([]);
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
    expect(leaks).toMatchObject([
      { reservation: { metadata: { name: NAME } }, reason: 'PodDeleted', became: 'Released' },
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
    orphans.forget(NAME);
    expect(await value('berth_operator_orphans{phase="confirmed"}')).toBe(0);
  });
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
    expect(suspects(reconciler())).toEqual([]);
  });

  test('a node that is there again for a moment begins a new grace', async () => {
    const orphans = reconciler();
    await world.api.delete(nodes, { name: 'node-1' });
    world.sync();
    expect(suspects(orphans)).toEqual([NAME]);
    await world.clock.advance(GRACE_MS - 1);
    await world.create(nodes, aNode());
    world.sync();
    expect(suspects(orphans)).toEqual([]);
    await world.api.delete(nodes, { name: 'node-1' });
    world.sync();
    expect(suspects(orphans)).toEqual([NAME]);
    await world.clock.advance(GRACE_MS - 1);
    expect(await reconcile(orphans)).toEqual({ type: 'requeueAfter', ms: 1 });
    await world.clock.advance(1);
    await reconcile(orphans);
    expect(state()).toBe('Released');
    expect(await value('berth_operator_released_total{reason="OwnerNodeDeleted"}')).toBe(1);
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
    return reconciler();
  }

  test("a person's is never collected, though its holder is gone: it has no last owner", async () => {
    const { owner: _none, ...spec } = aReservation('10.0.0.9', { state: 'Held', holder }).spec;
    await world.create(ipReservations, { ...aReservation('10.0.0.9'), spec });
    world.sync();
    const orphans = reconciler();
    expect(suspects(orphans)).toEqual([]);
    await collect(orphans);
    expect(state()).toBe('Held');
  });

  test("a person's that a pod has used is a person's again when that pod is collected", async () => {
    const { pod } = await podWithAddress({ holder });
    await deletePod();
    world.sync();
    const orphans = reconciler();
    await collect(orphans);
    world.sync();
    expect(pod.metadata.name).toBe('web');
    expect(world.reservation(NAME)?.spec).toMatchObject({ state: 'Held', holder });
    await collect(orphans);
    expect(state()).toBe('Held');
    expect(await value('berth_operator_released_total{reason="HolderGone"}')).toBe(0);
  });

  test('one kept for something outside the cluster is never collected', async () => {
    const orphans = await held({ owner: { kind: 'External', name: 'printer' } });
    await collect(orphans);
    expect(state()).toBe('Held');
  });

  test('one that Berth holds for a pod goes when no pod has the name, and rests for the cooldown', async () => {
    const orphans = await held({ holder });
    expect(await collect(orphans)).toEqual({ type: 'done' });
    expect(world.reservation(NAME)?.spec).toMatchObject({ state: 'Released', owner: anOwner });
    expect(world.reservation(NAME)?.spec).not.toHaveProperty('holder');
    expect(await value('berth_operator_released_total{reason="HolderGone"}')).toBe(1);
  });

  test('without a cooldown it is free at once', async () => {
    cooldownMs = 0;
    await collect(await held({ holder }));
    expect(world.reservation(NAME)).toBeUndefined();
  });

  test('it stays while a pod of the name is there, whatever its UID, and costs no read', async () => {
    await world.create(pods, aPod({ uid: 'another', node: 'node-2' }));
    const orphans = await held({ holder });
    const calls = countCalls();
    expect(suspects(orphans)).toEqual([]);
    await collect(orphans);
    expect([state(), calls]).toEqual(['Held', []]);
  });

  test('it stays if the live read finds the pod that the cache has not', async () => {
    const orphans = await held({ holder });
    await reconcile(orphans);
    await world.create(pods, aPod({ uid: 'another' }));
    await collect(orphans);
    expect(state()).toBe('Held');
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
    await collect(await held(ofSet));
    expect(state()).toBe(want);
  });

  test('for a replica whose pod is there it stays, and costs no read', async () => {
    await world.create(pods, aPod({ name: 'db-2' }));
    const orphans = await held(ofSet);
    const calls = countCalls();
    await collect(orphans);
    expect([state(), calls]).toEqual(['Held', []]);
  });

  test('a holder of a kind that is not known is never judged', async () => {
    await collect(await held({ holder: 'VirtualMachine/shop/db' }));
    expect(state()).toBe('Held');
  });

  test('one that its holder has taken meanwhile is not touched', async () => {
    const orphans = await held({ holder });
    await reconcile(orphans);
    await world.clock.advance(GRACE_MS);
    await world.api.patch(ipReservations, { name: NAME }, [
      { op: 'replace', path: '/spec/state', value: 'Bound' },
    ]);
    await reconcile(orphans);
    expect(state()).toBe('Bound');
  });
});

function countCalls(): string[] {
  const calls: string[] = [];
  world.api.hooks = {
    before: ({ verb, resource }: MemoryCall) => void calls.push(`${verb} ${resource.plural}`),
  };
  return calls;
}

describe('at most one read and one write', () => {
  const terminating = async (): Promise<void> => {
    await world.api.patch(pods, { namespace: 'shop', name: 'web' }, [
      { op: 'add', path: '/metadata/finalizers', value: ['example.com/slow'] },
    ]);
    await deletePod();
  };
  const ways: Record<
    (typeof GONE_REASONS)[number],
    { spec?: Partial<IPReservationSpec>; lose: () => Promise<unknown> }
  > = {
    PodDeleted: { lose: deletePod },
    PodFinished: {
      lose: () =>
        world.api.patch(
          pods,
          { namespace: 'shop', name: 'web' },
          [{ op: 'replace', path: '/status/phase', value: 'Failed' }],
          { subresource: 'status' },
        ),
    },
    PodElsewhere: {
      lose: () =>
        world.api.patch(pods, { namespace: 'shop', name: 'web' }, [
          { op: 'replace', path: '/spec/nodeName', value: 'node-2' },
        ]),
    },
    NodeDeleted: {
      lose: async () => {
        await terminating();
        await world.api.delete(nodes, { name: 'node-1' });
      },
    },
    NodeOutOfService: {
      lose: async () => {
        await terminating();
        const node = await world.api.get(nodes, { name: 'node-1' });
        await world.api.update(nodes, { ...node, spec: aNode('node-1', true).spec ?? {} });
      },
    },
    OwnerNodeDeleted: {
      spec: { owner: { kind: 'Node', node: 'node-1', containerID: 'c', ifname: 'eth0' } },
      lose: () => world.api.delete(nodes, { name: 'node-1' }),
    },
    HolderGone: { spec: { state: 'Held', holder: 'Pod/shop/web' }, lose: deletePod },
  };

  test.each(GONE_REASONS)('for one that is gone by %s', async (reason) => {
    const { spec, lose } = ways[reason];
    await podWithAddress(spec);
    await lose();
    world.sync();
    const calls = countCalls();
    await collect(reconciler());
    expect(state()).toBe('Released');
    expect(await value(`berth_operator_released_total{reason="${reason}"}`)).toBe(1);
    expect(calls).toEqual([expect.stringMatching(/^get /), 'patch ipreservations']);
  });

  test('many of one node have one list of its pods in common, which saves those that are alive', async () => {
    await world.create(nodes, aNode());
    const count = CROWD + 2;
    const names: string[] = [];
    for (let i = 0; i < count; i += 1) {
      const address = `10.0.0.${i + 1}`;
      const owner = { ...anOwner, name: `web-${i}`, uid: `uid-${i}` };
      names.push((await world.create(ipReservations, aReservation(address, { owner }))).metadata.name ?? '');
    }
    world.sync();
    // The cache has none of these pods.
    await world.create(pods, aPod({ name: 'static', uid: 'mirror', mirror: 'uid-0' }));
    const alive = await world.create(pods, aPod({ name: 'web-1' }));
    await world.api.patch(ipReservations, { name: names[1] ?? '' }, [
      { op: 'replace', path: '/spec/owner/uid', value: alive.metadata.uid },
    ]);
    world.sync();
    world.pods.delete('shop/static');
    world.pods.delete('shop/web-1');
    const orphans = reconciler();
    expect(suspects(orphans).toSorted()).toEqual(names.toSorted());
    await world.clock.advance(GRACE_MS);
    const calls = countCalls();
    const { signal } = new AbortController();
    await Promise.all(names.map((name) => orphans.reconcile(name, signal)));
    const bound = names.filter((name) => world.reservation(name)?.spec.state === 'Bound');
    expect(bound).toEqual(names.slice(0, 2));
    expect(calls.toSorted()).toEqual(['list pods', ...names.slice(2).map(() => 'patch ipreservations')]);
  });

  test('a list that began before the grace was over proves nothing', async () => {
    const early = Array.from({ length: CROWD }, (_, i) => i + 10);
    const create = async (last: number): Promise<string> => {
      const owner = { ...anOwner, name: `web-${last}`, uid: `uid-${last}` };
      return (
        (await world.create(ipReservations, aReservation(`10.0.0.${last}`, { owner }))).metadata.name ?? ''
      );
    };
    for (const last of early) await create(last);
    world.sync();
    const orphans = reconciler();
    const names = suspects(orphans);
    await world.clock.advance(1_000);
    const late = await create(1);
    world.sync();
    suspects(orphans);
    await world.clock.advance(GRACE_MS - 1_000);
    const calls = countCalls();
    const { signal } = new AbortController();
    await orphans.reconcile(names[0] ?? '', signal);
    await world.clock.advance(1_000);
    await orphans.reconcile(late, signal);
    expect(calls).toEqual(['list pods', 'patch ipreservations', 'list pods', 'patch ipreservations']);
  });

  test('a list that failed is asked for again', async () => {
    for (let last = 1; last <= CROWD; last += 1) {
      const owner = { ...anOwner, name: `web-${last}`, uid: `uid-${last}` };
      await world.create(ipReservations, aReservation(`10.0.0.${last}`, { owner }));
    }
    world.sync();
    const orphans = reconciler();
    suspects(orphans);
    await world.clock.advance(GRACE_MS);
    world.api.hooks = {
      before: ({ verb }) => {
        if (verb === 'list') throw new ApiError('Unreachable', 'away');
      },
    };
    await expect(reconcile(orphans)).rejects.toThrow('away');
    expect(state()).toBe('Bound');
    world.api.hooks = {};
    await reconcile(orphans);
    expect(state()).toBe('Released');
  });

  test('a dry run asks once, however often it comes back', async () => {
    await podWithAddress();
    await deletePod();
    world.sync();
    const orphans = reconciler(true);
    const calls = countCalls();
    await collect(orphans);
    await reconcile(orphans);
    expect(calls).toEqual(['get pods']);
  });
});
