import { describe, expect, test } from 'vitest';
import { ipReservations } from '../../crds/resources.ts';
import { pods } from '../../kube/core.ts';
import type { CniAnswer } from '../protocol.ts';
import { LOOK_EVERY_MS } from './conflicts.ts';
import { isWrite, type TestNode, World } from './testing/world.ts';

const NAME = 'default.10.0.0.2';

/** A pod that has an address whose reservation is another pod's, found by a comparison. */
async function inConflict(): Promise<{ world: World; node: TestNode }> {
  const world = new World();
  world.pool('v4', { subnet: '10.0.0.0/29', ranges: ['10.0.0.2'], gateway: '10.0.0.1' });
  const node = world.node();
  await world.pod('web');
  await node.parts.sync.compare();
  await world.finish(node.parts.handler.handle(world.request('ADD')));
  await remove(world);
  await world.reservation('10.0.0.2');
  await node.parts.sync.compare();
  return { world, node };
}

const remove = (world: World): Promise<void> =>
  world.direct(() => world.api.delete(ipReservations, { name: NAME }));

/** Looks for as long as the test goes on. */
function look(world: World, node: TestNode): Disposable {
  const stop = new AbortController();
  world.background.push(node.parts.conflicts.run(stop.signal, (key) => node.parts.sync.lookAgain(key)));
  return { [Symbol.dispose]: () => stop.abort() };
}

async function counted(node: TestNode): Promise<number> {
  return Number(/berth_address_conflicts_total (\d+)/.exec(await node.metrics.registry.metrics())?.[1]);
}

const told = (world: World): string[] => world.events.map(({ about, type }) => `${type} ${about.name}`);

describe('an address that a live pod has and somebody else has reserved', () => {
  test('is a warning on both pods, which names the other one and, for the operator, the reservation', async () => {
    const { world } = await inConflict();
    await using _ = world;
    expect(world.events).toEqual([
      {
        type: 'Warning',
        reason: 'AddressConflict',
        about: expect.objectContaining({ namespace: 'shop', name: 'web' }),
        message:
          'address 10.0.0.2 of interface eth0 is in use by this pod, but reserved for somebody else (bound to pod shop/other, interface eth0, on node node-9): delete one of the two pods',
        series: 'eth0 10.0.0.2',
        related: expect.objectContaining({ kind: 'IPReservation', name: NAME }),
      },
      {
        type: 'Warning',
        reason: 'AddressConflict',
        about: { apiVersion: 'v1', kind: 'Pod', namespace: 'shop', name: 'other', uid: 'uid-other' },
        message:
          'address 10.0.0.2 of interface eth0 is reserved for this pod, but in use by pod shop/web, interface eth0, on node node-1 as well: delete one of the two pods',
        series: 'eth0 10.0.0.2',
        related: expect.objectContaining({ kind: 'Pod', namespace: 'shop', name: 'web' }),
      },
    ]);
  });

  test('is counted once, told again at growing intervals, and never fought over', async () => {
    const { world, node } = await inConflict();
    await using _ = world;
    using looking = look(world, node);
    world.takeCalls();
    await world.pass(LOOK_EVERY_MS * 20);
    expect(looking).toBeDefined();
    expect(world.calls.filter(isWrite)).toEqual([]);
    expect(await counted(node)).toBe(1);
    // At 0, 10, 30 and 70 s.
    expect(told(world)).toEqual(Array.from({ length: 4 }, () => ['Warning web', 'Warning other']).flat());
  });

  test('is the pod’s own again as soon as the other one is gone', async () => {
    const { world, node } = await inConflict();
    await using _ = world;
    using looking = look(world, node);
    await remove(world);
    await world.pass(LOOK_EVERY_MS);
    expect(looking).toBeDefined();
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
    expect(told(world).slice(2)).toEqual(['Normal web']);
    await world.pass(LOOK_EVERY_MS * 20);
    expect(told(world).slice(3)).toEqual([]);
  });

  test.each([
    ['its attachment', (world: World, node: TestNode) => node.parts.handler.handle(world.request('DEL'))],
    [
      'its pod, at the next comparison,',
      async (world: World, node: TestNode) => {
        await world.direct(() => world.api.delete(pods, { namespace: 'shop', name: 'web' }));
        await node.parts.sync.compare();
      },
    ],
  ])('is over when %s is gone, and stays with the other one', async (_what, end) => {
    const { world, node } = await inConflict();
    await using _ = world;
    using looking = look(world, node);
    await world.finish<unknown>(end(world, node));
    await world.pass(LOOK_EVERY_MS * 20);
    expect(looking).toBeDefined();
    expect(world.table).toEqual(['10.0.0.2 Bound c-other']);
    expect(told(world).slice(2)).toEqual(['Normal web']);
    expect(node.journal.state.attachments.size).toBe(0);
  });

  test('stays its attachment’s while the pod is not to be seen: a static pod’s mirror may be away for a moment', async () => {
    const { world, node } = await inConflict();
    await using _ = world;
    using looking = look(world, node);
    await world.direct(() => world.api.delete(pods, { namespace: 'shop', name: 'web' }));
    await world.pass(LOOK_EVERY_MS * 3);
    expect(looking).toBeDefined();
    expect(node.journal.state.attachments.size).toBe(1);
  });

  test('is no conflict where the reservation only moves while it is written again', async () => {
    const { world, node } = await inConflict();
    await using _ = world;
    await remove(world);
    await world.reservation('10.0.0.2', { state: 'Released' });
    // The operator ends its rest between the look and the write.
    world.before = async (call) => {
      if (call.verb !== 'patch') return;
      world.before = undefined;
      await remove(world);
    };
    await node.parts.sync.compare();
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
    expect(await counted(node)).toBe(1);
    expect(told(world).slice(2)).toEqual(['Normal web']);
  });
});

test('an address that a restore has lost is not given by value to another pod of this node, and is reserved again', async () => {
  await using world = new World();
  world.pool('v4', { subnet: '10.0.0.0/24', ranges: ['10.0.0.2'], gateway: '10.0.0.1' });
  const node = world.node();
  await world.pod('web');
  await world.pod('two', { annotations: { 'ipam.berth.dev/ips': '10.0.0.2' } });
  await node.parts.sync.compare();
  await world.finish(node.parts.handler.handle(world.request('ADD')));
  await remove(world);
  using looking = look(world, node);
  const other = (): Promise<CniAnswer> =>
    world.finish(node.parts.handler.handle(world.request('ADD', { pod: 'two', container: 'c2' })));
  expect(JSON.parse((await other()).stdout)).toMatchObject({
    code: 11,
    msg: expect.stringContaining('was given to pod shop/web, interface eth0, on node node-1'),
  });
  await world.pass(LOOK_EVERY_MS);
  expect(looking).toBeDefined();
  expect(world.table).toEqual(['10.0.0.2 Bound c1']);
  expect(JSON.parse((await other()).stdout)).toMatchObject({ code: 102 });
});
