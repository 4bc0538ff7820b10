import { describe, expect, test } from 'vitest';
import { ipReservations } from '../../crds/resources.ts';
import { type Pod, pods } from '../../kube/core.ts';
import { ApiError } from '../../kube/errors.ts';
import { add, endPod, forgetJournal, startOneNode } from './testing/onenode.ts';
import { failing, isWrite, type TestNode, unreachable, type World } from './testing/world.ts';

const NAME = 'default.10.0.0.2';

const remove = (world: World, name = NAME): Promise<void> =>
  world.direct(() => world.api.delete(ipReservations, { name }));

async function conflicts(node: TestNode): Promise<number> {
  return Number(/berth_address_conflicts_total (\d+)/.exec(await node.metrics.registry.metrics())?.[1]);
}

test('where nothing differs, a comparison is one list', async () => {
  const { world, node } = await startOneNode();
  await using _ = world;
  await add(world, node);
  world.takeCalls();
  await node.parts.sync.compare();
  expect(world.takeCalls()).toEqual(['list ipreservations']);
});

describe('a reservation that is missing', () => {
  test('is created again after a live GET shows the owner here', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    await remove(world);
    world.takeCalls();
    await node.parts.sync.compare();
    expect(world.takeCalls()).toEqual([
      'list ipreservations',
      `get ${NAME}`,
      'get shop/web',
      `create ${NAME}`,
    ]);
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
    // Its DEL knows the new uid and resourceVersion.
    await world.finish(node.parts.attachments.del(world.parsed('DEL')));
    expect(world.takeCalls()).toEqual([`delete ${NAME}`]);
  });

  test.each([
    ['gone', endPod],
    [
      'ended',
      async (world: World) => {
        const [pod] = world.api.objects(pods);
        if (pod === undefined) throw new Error('the pod is there');
        await world.direct(() =>
          world.api.update(pods, { ...pod, status: { phase: 'Succeeded' } }, { subresource: 'status' }),
        );
      },
    ],
    [
      'another one of the same name',
      async (world: World) => {
        await endPod(world);
        await world.pod('web');
      },
    ],
  ])('drops its attachment if the pod is %s', async (_what, change) => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    await remove(world);
    await change(world);
    await node.parts.sync.compare();
    expect(world.table).toEqual([]);
    expect(node.journal.state.attachments.size).toBe(0);
  });

  test('of a pod that is gone leaves the other family to its DEL', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    world.pool('v6', { subnet: 'fd00::/125', allocation: 'Ascending' });
    await add(world, node);
    await remove(world);
    await endPod(world);
    await node.parts.sync.compare();
    expect(world.table).toEqual(['fd00::1 Bound c1']);
    await world.finish(node.parts.attachments.del(world.parsed('DEL')));
    expect(world.table).toEqual([]);
  });

  test('of the node itself is created again', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    const shape = { pod: undefined, uid: undefined };
    await world.finish(node.parts.attachments.add(world.parsed('ADD', shape)));
    await remove(world);
    await node.parts.sync.compare();
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
  });

  test('because it was released, held or the older sandbox in a restored API is taken back', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    await add(world, node, 'c2');
    const spec = world.reservations[0]?.spec;
    for (const older of [
      { state: 'Released' as const },
      { owner: { ...spec?.owner, kind: 'Pod' as const, containerID: 'c1' } },
    ]) {
      await remove(world);
      await world.reservation('10.0.0.2', { ...spec, ...older });
      await node.parts.sync.compare();
      expect(world.table).toEqual(['10.0.0.2 Bound c2']);
    }
    expect(await conflicts(node)).toBe(0);
  });

  test('because it was held when the API was saved is taken back', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    const held = { state: 'Held', holder: 'Pod/shop/web', pool: 'v4' } as const;
    await world.reservation('10.0.0.2', held);
    world.pool(
      'v4',
      { subnet: '10.0.0.0/29' },
      { holders: [{ holder: 'Pod/shop/web', address: '10.0.0.2' }] },
    );
    await add(world, node);
    await remove(world);
    await world.reservation('10.0.0.2', held);
    await node.parts.sync.compare();
    expect(world.reservations[0]?.spec).toMatchObject({ state: 'Bound', holder: 'Pod/shop/web' });
  });
});

test('a holder that the API server forbids to write again is left out, and the address is not', async () => {
  const { world, node } = await startOneNode();
  await using _ = world;
  await add(world, node);
  // A person has given it a holder, which the agent has seen, and then the API was restored.
  await world.direct(() =>
    world.api.patch(ipReservations, { name: NAME }, [
      { op: 'add', path: '/spec/holder', value: 'Pod/shop/vip' },
    ]),
  );
  forgetJournal(node);
  await node.parts.sync.compare();
  await remove(world);
  world.before = failing(
    (call) => call.verb === 'create',
    () => new ApiError('Forbidden', 'the holder Pod/shop/vip is not one of the owner'),
    1,
  );
  await node.parts.sync.compare();
  expect(world.table).toEqual(['10.0.0.2 Bound c1']);
  expect(world.reservations[0]?.spec.holder).toBeUndefined();
  expect(world.lines.filter(({ level }) => level === 'warn').at(-2)?.fields).toMatchObject({
    holder: 'Pod/shop/vip',
  });
});

describe('after a restore', () => {
  test('a pod that the API server has lost keeps its address until its DEL', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    await remove(world);
    await endPod(world);
    await node.parts.sync.compare({ isRestored: true });
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
    await world.finish(node.parts.attachments.del(world.parsed('DEL')));
    expect(world.table).toEqual([]);
  });

  test('so it does where the agent starts only then, and sees that its newest reservation is lost', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    await remove(world);
    await endPod(world);
    node.restart();
    await node.parts.sync.compare({ isFirst: true });
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
  });

  test.each([
    ['', (): void => undefined],
    [', also not by the next process', (node: TestNode): void => node.restart()],
  ])('it has it once: what the operator then collects is not written a third time%s', async (_what, next) => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    await endPod(world);
    for (const expected of [['10.0.0.2 Bound c1'], []]) {
      await remove(world);
      await node.parts.sync.compare({ isRestored: true });
      expect(world.table).toEqual(expected);
      next(node);
    }
    expect(node.journal.state.attachments.size).toBe(0);
  });

  test('it has it again after the next restore if the API server knew it between', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    const knows = world.api.snapshot();
    await endPod(world);
    await remove(world);
    await node.parts.sync.compare({ isRestored: true });
    world.api.restore(knows);
    await remove(world);
    await node.parts.sync.compare({ isRestored: true });
    await endPod(world);
    await remove(world);
    await node.parts.sync.compare({ isRestored: true });
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
  });

  test.each([
    [
      'the watch has told to be deleted',
      async (_world: World, node: TestNode, pod: Pod) => node.parts.ended.deleted(pod),
    ],
    [
      'was not there at the first comparison, when nothing was lost',
      async (world: World, node: TestNode) => {
        world.cachedPods.delete('shop/web');
        node.restart();
        await node.parts.sync.compare({ isFirst: true });
      },
    ],
  ])('a pod that %s does not get it back', async (_what, ends) => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    const [pod] = world.api.objects(pods);
    if (pod === undefined) throw new Error('the pod is there');
    await endPod(world);
    await ends(world, node, pod);
    await remove(world);
    await node.parts.sync.compare({ isRestored: true });
    expect(world.table).toEqual([]);
    expect(node.journal.state.attachments.size).toBe(0);
  });

  test('a pod that has ended does not get it back', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    await remove(world);
    const [pod] = world.api.objects(pods);
    if (pod === undefined) throw new Error('the pod is there');
    await world.direct(() =>
      world.api.update(pods, { ...pod, status: { phase: 'Failed' } }, { subresource: 'status' }),
    );
    await node.parts.sync.compare({ isRestored: true });
    expect(world.table).toEqual([]);
  });

  test('what a list still shows is looked at live', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    world.takeCalls();
    await node.parts.sync.compare({ isRestored: true });
    expect(world.takeCalls()).toEqual(['list ipreservations', `get ${NAME}`]);
  });
});

test("somebody else's reservation is reported and never fought over", async () => {
  const { world, node } = await startOneNode();
  await using _ = world;
  await add(world, node);
  await remove(world);
  await world.reservation('10.0.0.2');
  world.takeCalls();
  await node.parts.sync.compare();
  expect(world.calls.filter(isWrite)).toEqual([]);
  expect(world.table).toEqual(['10.0.0.2 Bound c-other']);
  expect(await conflicts(node)).toBe(1);
  expect(world.lines.at(-1)).toMatchObject({
    level: 'error',
    message: expect.stringContaining('somebody else'),
  });
});

describe('an API server', () => {
  test('that is away fails the comparison, and what was mended stays', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    await remove(world);
    world.before = failing((call) => call.verb === 'create', unreachable, 1);
    await expect(node.parts.sync.compare()).rejects.toThrow(ApiError);
    await node.parts.sync.compare();
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
  });

  test('that refuses one attachment does not keep the others from being mended', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    await add(world, node, 'c1', 'net1');
    await remove(world);
    await remove(world, 'default.10.0.0.3');
    world.before = failing(
      (call) => call.verb === 'create',
      () => new ApiError('Forbidden', 'no'),
      1,
    );
    await node.parts.sync.compare();
    expect(world.table).toEqual(['10.0.0.3 Bound c1']);
    expect(node.journal.state.attachments.size).toBe(2);
    expect(world.lines.some((line) => line.level === 'error')).toBe(true);
  });
});
