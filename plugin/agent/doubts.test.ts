import { describe, expect, test } from 'vitest';
import { ipReservations } from '../../crds/resources.ts';
import { startOneNode } from './testing/onenode.ts';
import { rejection } from './testing/refusal.ts';
import { failing, isWrite, outcomeUnknown, type TestNode, unreachable, type World } from './testing/world.ts';

const NAME = 'default.10.0.0.2';

async function start(): Promise<{ world: World; node: TestNode }> {
  const started = await startOneNode();
  started.node.work();
  return started;
}

/** An ADD whose writes arrive `ms` later than it is sent, which is after its caller has given up. */
async function addLate(world: World, node: TestNode, ms: number): Promise<void> {
  let isFirst = true;
  world.before = async (call) => {
    if (call.verb !== 'create') return;
    if (!isFirst) throw unreachable();
    isFirst = false;
    await world.clock.sleep(ms);
  };
  const error = await rejection(world.finish(node.parts.attachments.add(world.parsed('ADD'))));
  expect(error.code).toBe(11);
  expect(world.table).toEqual([]);
  world.before = undefined;
}

const isInDoubt = (node: TestNode): boolean => node.journal.state.intents.size > 0;

describe('a write that commits after its ADD has failed', () => {
  test('is undone when it shows up', async () => {
    const { world, node } = await start();
    await using _ = world;
    await addLate(world, node, 58_000);
    await world.pass(70_000);
    expect(world.table).toEqual([]);
    expect(world.takeCalls()).toContain(`delete ${NAME}`);
  });

  test('is undone by the next process as well', async () => {
    const { world, node } = await start();
    await using _ = world;
    await addLate(world, node, 58_000);
    node.restart();
    node.work();
    await world.pass(70_000);
    expect(world.table).toEqual([]);
    await world.pass(30_000);
    expect(isInDoubt(node)).toBe(false);
  });

  test('is left alone if the same attachment has got the address meanwhile, and undone after its DEL', async () => {
    const { world, node } = await start();
    await using _ = world;
    await addLate(world, node, 50_000);
    await world.finish(node.parts.attachments.add(world.parsed('ADD')));
    await world.pass(20_000);
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
    await world.finish(node.parts.attachments.del(world.parsed('DEL')));
    expect(world.table).toEqual([]);
    await world.pass(30_000);
    expect(world.takeCalls().filter((call) => call === `delete ${NAME}`).length).toBe(2);
    expect(world.table).toEqual([]);
  });

  test('is left alone if the API server was restored and another sandbox has the address, which gets it back', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.finish(node.parts.attachments.add(world.parsed('ADD', { container: 'c1' })));
    const attachment = node.journal.state.attachments.get('c1/eth0');
    const [claim] = attachment?.claims ?? [];
    if (attachment === undefined || claim === undefined) throw new Error('it is attached');
    const from = { ...attachment.owner, containerID: 'c0' };
    const older = world.api.snapshot();
    await world.finish(node.parts.attachments.add(world.parsed('ADD', { container: 'c2' })));
    const { owner } = attachment;
    node.journal.append({ t: 'intent', intent: { ...claim, origin: 'rebound', owner, from } });
    node.restart();
    node.work();
    world.api.restore(older);
    await world.pass(80_000);
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
    await world.finish(node.parts.canary.assure());
    expect(world.table).toEqual(['10.0.0.2 Bound c2']);
    await world.pass(80_000);
    expect(world.table).toEqual(['10.0.0.2 Bound c2']);
    expect(isInDoubt(node)).toBe(false);
  });

  test("is left alone if it is somebody else's", async () => {
    const { world, node } = await start();
    await using _ = world;
    await addLate(world, node, 58_000);
    await world.reservation('10.0.0.2');
    await world.pass(100_000);
    expect(world.table).toEqual(['10.0.0.2 Bound c-other']);
    expect(isInDoubt(node)).toBe(false);
  });
});

describe('a doubt', () => {
  async function doubt(world: World, node: TestNode): Promise<void> {
    world.before = failing(isWrite, outcomeUnknown);
    await rejection(world.finish(node.parts.attachments.add(world.parsed('ADD'))));
    world.before = undefined;
    world.takeCalls();
  }

  test('lasts 75 s, with a few looks', async () => {
    const { world, node } = await start();
    await using _ = world;
    await doubt(world, node);
    await world.pass(74_000);
    expect(isInDoubt(node)).toBe(true);
    await world.pass(17_000);
    expect(isInDoubt(node)).toBe(false);
    const looks = world.takeCalls();
    expect(new Set(looks)).toEqual(new Set([`get ${NAME}`]));
    expect(looks.length).toBeLessThan(15);
  });

  test('lasts as long as the API server is away, and ends with an answered look', async () => {
    const { world, node } = await start();
    await using _ = world;
    await doubt(world, node);
    world.before = failing(() => true, unreachable);
    await world.pass(600_000);
    expect(isInDoubt(node)).toBe(true);
    world.before = undefined;
    await world.reservation('10.0.0.2', {
      owner: {
        kind: 'Pod',
        namespace: 'shop',
        name: 'web',
        uid: world.cachedPods.get('shop/web')?.metadata.uid ?? '',
        node: 'node-1',
        containerID: 'c1',
        ifname: 'eth0',
      },
    });
    await world.pass(20_000);
    expect(world.table).toEqual([]);
    expect(isInDoubt(node)).toBe(false);
  });

  test('whose undo is not answered is tried again', async () => {
    const { world, node } = await start();
    await using _ = world;
    await addLate(world, node, 20_000);
    world.before = failing((call) => call.verb === 'delete', unreachable, 2);
    await world.pass(60_000);
    expect(world.table).toEqual([]);
  });

  test('whose undo may come late keeps the next try of the same ADD away from that address', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.pool('v6', { subnet: 'fd00::/64', ranges: ['fd00::2'] });
    await world.reservation('fd00::2', { pool: 'v6' });
    // Guards can not tell it from an undo of the second try: the attachment is the same, and so is the version.
    world.before = ({ verb }) => (verb === 'delete' ? world.clock.sleep(20_000) : undefined);
    await rejection(world.finish(node.parts.attachments.add(world.parsed('ADD'))));
    await world.direct(() =>
      world.api.delete(ipReservations, { name: 'default.fd00-0000-0000-0000-0000-0000-0000-0002' }),
    );
    await world.pass(3_000);
    const result = await world.finish(node.parts.attachments.add(world.parsed('ADD')));
    expect(result.ips.map(({ address }) => address)).toEqual(['10.0.0.3/29', 'fd00::2/64']);
    await world.pass(120_000);
    expect(world.table).toEqual(['10.0.0.3 Bound c1', 'fd00::2 Bound c1']);
    expect(isInDoubt(node)).toBe(false);
  });

  test('of a held address puts it back to Held', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation('10.0.0.2', { state: 'Held', holder: 'Pod/shop/web', pool: 'v4' });
    world.pool(
      'v4',
      { subnet: '10.0.0.0/29' },
      { holders: [{ holder: 'Pod/shop/web', address: '10.0.0.2' }] },
    );
    world.after = failing(isWrite, outcomeUnknown);
    world.before = failing((call) => call.verb === 'get', unreachable);
    await rejection(world.finish(node.parts.attachments.add(world.parsed('ADD'))));
    expect(world.reservations[0]?.spec.state).toBe('Bound');
    world.after = undefined;
    world.before = undefined;
    await world.pass(30_000);
    expect(world.reservations[0]?.spec).toMatchObject({ state: 'Held', holder: 'Pod/shop/web' });
  });

  test('counts as pending', async () => {
    const { world, node } = await start();
    await using _ = world;
    await doubt(world, node);
    expect(await node.metrics.registry.metrics()).toContain('berth_agent_journal_pending 1');
  });
});

test('an undo of what is gone or changed hands is over', async () => {
  const { world, node } = await start();
  await using _ = world;
  world.pool('v6', { subnet: 'fd00::/64', ranges: ['fd00::2'] });
  await world.reservation('fd00::2', { pool: 'v6' });
  world.before = async (call) => {
    if (call.verb === 'list') await world.direct(() => world.api.delete(ipReservations, { name: NAME }));
  };
  const error = await rejection(world.finish(node.parts.attachments.add(world.parsed('ADD'))));
  expect(error.code).toBe(101);
  expect(isInDoubt(node)).toBe(false);
});
