/** What an orphan costs in requests. */
import { beforeEach, describe, expect, test } from 'vitest';
import { ipReservations } from '../crds/resources.ts';
import type { IPReservationSpec } from '../crds/types.ts';
import { nodes, pods } from '../kube/core.ts';
import { ApiError } from '../kube/errors.ts';
import { GONE_REASONS } from './liveness.ts';
import { CROWD } from './livereads.ts';
import { aNode, anOwner, aPod, aReservation } from './testing/objects.ts';
import { GRACE_MS, OrphanWorld } from './testing/orphanworld.ts';

let world: OrphanWorld;

beforeEach(() => {
  world = new OrphanWorld();
});

describe('at most one read and one write', () => {
  const terminating = async (): Promise<void> => {
    await world.api.patch(pods, { namespace: 'shop', name: 'web' }, [
      { op: 'add', path: '/metadata/finalizers', value: ['example.com/slow'] },
    ]);
    await world.deletePod();
  };
  const ways: Record<
    (typeof GONE_REASONS)[number],
    { spec?: Partial<IPReservationSpec>; lose: () => Promise<unknown> }
  > = {
    PodDeleted: { lose: () => world.deletePod() },
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
    HolderGone: { spec: { state: 'Held', holder: 'Pod/shop/web' }, lose: () => world.deletePod() },
  };

  test.each(GONE_REASONS)('for one that is gone by %s', async (reason) => {
    const { spec, lose } = ways[reason];
    await world.podWithAddress(spec);
    await lose();
    world.sync();
    const calls = world.countCalls();
    await world.collect(world.reconciler());
    expect(world.state).toBe('Released');
    expect(await world.value(`berth_operator_released_total{reason="${reason}"}`)).toBe(1);
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
    const orphans = world.reconciler();
    expect(world.suspects(orphans).toSorted()).toEqual(names.toSorted());
    await world.clock.advance(GRACE_MS);
    const calls = world.countCalls();
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
    const orphans = world.reconciler();
    const names = world.suspects(orphans);
    await world.clock.advance(1_000);
    const late = await create(1);
    world.sync();
    world.suspects(orphans);
    await world.clock.advance(GRACE_MS - 1_000);
    const calls = world.countCalls();
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
    const orphans = world.reconciler();
    world.suspects(orphans);
    await world.clock.advance(GRACE_MS);
    world.api.hooks = {
      before: ({ verb }) => {
        if (verb === 'list') throw new ApiError('Unreachable', 'away');
      },
    };
    await expect(world.reconcile(orphans)).rejects.toThrow('away');
    expect(world.state).toBe('Bound');
    world.api.hooks = {};
    await world.reconcile(orphans);
    expect(world.state).toBe('Released');
  });

  test('a dry run asks once, however often it comes back', async () => {
    await world.podWithAddress();
    await world.deletePod();
    world.sync();
    const orphans = world.reconciler(true);
    const calls = world.countCalls();
    await world.collect(orphans);
    await world.reconcile(orphans);
    expect(calls).toEqual(['get pods']);
  });
});
