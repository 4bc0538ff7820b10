import { describe, expect, test } from 'vitest';
import { ipReservations } from '../../crds/resources.ts';
import { pods } from '../../kube/core.ts';
import type { CniAnswer } from '../protocol.ts';
import { type CallShape, failing, type TestNode, unreachable, World } from './testing/world.ts';

async function setUp(): Promise<{ world: World; node: TestNode }> {
  const world = new World();
  const node = world.node();
  world.pool('blue', { subnet: '10.0.0.0/24' });
  for (const name of ['web', 'db', 'new']) await world.pod(name);
  await world.finish(node.parts.sync.compare());
  return { world, node };
}

function add(node: TestNode, world: World, shape: CallShape): Promise<CniAnswer> {
  return world.finish(node.parts.handler.handle(world.request('ADD', shape)));
}

function errorOf(answer: CniAnswer): { code: number; msg: string } {
  // The error object of the CNI spec.
  return JSON.parse(answer.stdout) as { code: number; msg: string };
}

describe('an API server that answers again', () => {
  test('is asked for the newest reservation of this node, once for all ADDs that wait', async () => {
    await using world = (await setUp()).world;
    const [node] = world.nodes;
    if (node === undefined) throw new Error('no node');
    await add(node, world, { pod: 'web', container: 'c-web' });
    await add(node, world, { pod: 'db', container: 'c-db' });
    const newest = world.reservations.find(({ spec }) => spec.owner?.containerID === 'c-db')?.metadata.name;
    world.takeCalls();
    node.parts.canary.suspect();
    const answers = await world.finish(
      Promise.all(
        ['net1', 'net2'].map((ifname) =>
          node.parts.handler.handle(world.request('ADD', { pod: 'new', container: 'c-new', ifname })),
        ),
      ),
    );
    expect(answers.map(({ exitCode }) => exitCode)).toEqual([0, 0]);
    const calls = world.takeCalls();
    expect(calls.filter((call) => call.startsWith('get'))).toEqual([`get ${newest}`]);
    expect(calls.filter((call) => call.startsWith('create'))).toHaveLength(2);
    await add(node, world, { pod: 'new', container: 'c-new', ifname: 'net3' });
    expect(world.takeCalls().map((call) => call.split(' ')[0])).toEqual(['create']);
  });

  test('is not asked where nothing broke', async () => {
    await using world = (await setUp()).world;
    const [node] = world.nodes;
    if (node === undefined) throw new Error('no node');
    world.takeCalls();
    await add(node, world, { pod: 'web' });
    expect(world.takeCalls().map((call) => call.split(' ')[0])).toEqual(['create']);
  });

  test('is not taken for restored when what a deleted pod had was collected', async () => {
    const { world, node } = await setUp();
    await using _ = world;
    await add(node, world, { pod: 'web', container: 'c-web' });
    await add(node, world, { pod: 'db', container: 'c-db' });
    const db = world.api.objects(pods).find(({ metadata }) => metadata.name === 'db');
    const had = world.reservations.find(({ spec }) => spec.owner?.containerID === 'c-db');
    if (db === undefined || had === undefined) throw new Error('both are there');
    await world.direct(() => world.api.delete(pods, { namespace: 'shop', name: 'db' }));
    node.parts.ended.deleted(db);
    await world.direct(() => world.api.delete(ipReservations, { name: had.metadata.name ?? '' }));
    const before = world.table;
    world.takeCalls();
    node.parts.canary.suspect();
    await add(node, world, { pod: 'new', container: 'c-new' });
    expect(world.takeCalls().map((call) => call.split(' ')[0])).toEqual(['get', 'create']);
    expect(world.table).toEqual(expect.arrayContaining(before));
  });

  test('is not taken for restored when this node gives back what is looked at, or to another sandbox', async () => {
    const { world, node } = await setUp();
    await using _ = world;
    await add(node, world, { pod: 'web', container: 'c-web' });
    await add(node, world, { pod: 'db', container: 'c-db' });
    world.before = async ({ verb }) => {
      if (verb === 'get') await world.clock.sleep(1_000);
    };
    node.parts.canary.suspect();
    const adding = node.parts.handler.handle(world.request('ADD', { pod: 'new', container: 'c-new' }));
    await world.finish(node.parts.attachments.del(world.parsed('DEL', { pod: 'db', container: 'c-db' })));
    expect(await world.finish(adding)).toMatchObject({ exitCode: 0 });

    // The write is done, and its answer under way.
    world.after = async ({ verb }) => {
      if (verb === 'patch') await world.clock.sleep(3_000);
    };
    const restarting = node.parts.handler.handle(world.request('ADD', { pod: 'new', container: 'c-new-2' }));
    await world.pass(100);
    node.parts.canary.suspect();
    expect(await add(node, world, { pod: 'web', container: 'c-web', ifname: 'net2' })).toMatchObject({
      exitCode: 0,
    });
    expect(await world.finish(restarting)).toMatchObject({ exitCode: 0 });
    expect(world.lines.filter(({ message }) => message.includes('restored'))).toEqual([]);
  });

  test('is asked after a reconnect also when no ADD comes', async () => {
    const { world, node } = await setUp();
    await using _ = world;
    await add(node, world, { pod: 'web' });
    const stop = new AbortController();
    const running = node.parts.canary.run(stop.signal);
    const snapshot = world.api.snapshot();
    await add(node, world, { pod: 'db', container: 'c-db' });
    const before = world.table;
    world.api.restore(snapshot);
    expect(world.table).toHaveLength(1);
    node.parts.canary.suspect();
    node.parts.canary.reconnected();
    await world.pass(1_000);
    expect(world.table).toEqual(before);
    stop.abort();
    await running;
  });

  test('is asked when an answer is not newer than one before it, although nothing broke', async () => {
    const { world, node } = await setUp();
    await using _ = world;
    await add(node, world, { pod: 'web' });
    const stop = new AbortController();
    const running = node.parts.canary.run(stop.signal);
    const snapshot = world.api.snapshot();
    await add(node, world, { pod: 'db', container: 'c-db' });
    const before = world.table;
    world.api.restore(snapshot);
    await add(node, world, { pod: 'new', container: 'c-new' });
    await world.pass(1_000);
    expect(world.table).toEqual(expect.arrayContaining(before));
    expect(world.table).toHaveLength(3);
    world.takeCalls();
    // What comes after it is newer again.
    await add(node, world, { pod: 'new', container: 'c-new', ifname: 'net1' });
    await world.pass(1_000);
    expect(world.takeCalls().map((call) => call.split(' ')[0])).toEqual(['create']);
    stop.abort();
    await running;
  });

  test('is asked again every second until it answers', async () => {
    const { world, node } = await setUp();
    await using _ = world;
    await add(node, world, { pod: 'web' });
    const stop = new AbortController();
    const running = node.parts.canary.run(stop.signal);
    world.before = failing(({ verb }) => verb === 'get', unreachable, 3);
    world.takeCalls();
    node.parts.canary.reconnected();
    await world.pass(10_000);
    expect(world.takeCalls().filter((call) => call.startsWith('get'))).toHaveLength(4);
    stop.abort();
    await running;
  });
});

describe('an API server that was restored from a backup', () => {
  test('gets every live address again before an ADD is served', async () => {
    const { world, node } = await setUp();
    await using _ = world;
    const snapshot = world.api.snapshot();
    await add(node, world, { pod: 'web', container: 'c-web' });
    await add(node, world, { pod: 'db', container: 'c-db' });
    const before = world.table;
    world.api.restore(snapshot);
    expect(world.table).toEqual([]);
    node.parts.canary.suspect();
    world.takeCalls();
    const answer = await add(node, world, { pod: 'new', container: 'c-new' });
    expect(answer.exitCode).toBe(0);
    expect(world.table).toEqual(expect.arrayContaining(before));
    expect(world.table).toHaveLength(3);
    const made = world.reservations.find(({ spec }) => spec.owner?.containerID === 'c-new')?.metadata.name;
    const creates = world.takeCalls().filter((call) => call.startsWith('create'));
    expect(creates).toHaveLength(3);
    expect(creates.at(-1)).toBe(`create ${made}`);
  });

  test('is noticed also where this node has made more since, before it knew', async () => {
    const { world, node } = await setUp();
    await using _ = world;
    node.parts.canary.sure();
    const snapshot = world.api.snapshot();
    await add(node, world, { pod: 'web', container: 'c-web' });
    const before = world.table;
    world.api.restore(snapshot, { bump: 1_000_000_000, watches: 'silent' });
    await add(node, world, { pod: 'db', container: 'c-db' });
    node.parts.canary.suspect();
    await add(node, world, { pod: 'new', container: 'c-new' });
    expect(world.table).toEqual(expect.arrayContaining(before));
    expect(world.table).toHaveLength(3);
    // From now on the newest is enough again.
    world.takeCalls();
    node.parts.canary.suspect();
    await world.finish(node.parts.canary.assure());
    expect(world.takeCalls()).toHaveLength(2);
    node.parts.canary.suspect();
    await world.finish(node.parts.canary.assure());
    expect(world.takeCalls()).toHaveLength(1);
  });

  test('is noticed also where the reservation is there in an older state', async () => {
    const { world, node } = await setUp();
    await using _ = world;
    await add(node, world, { pod: 'web', container: 'c-old' });
    const snapshot = world.api.snapshot();
    // The sandbox is restarted: the same object, written again.
    await add(node, world, { pod: 'web', container: 'c-new' });
    const before = world.table;
    world.api.restore(snapshot);
    node.parts.canary.suspect();
    await add(node, world, { pod: 'db', container: 'c-db' });
    expect(world.table).toEqual(expect.arrayContaining(before));
  });

  test('and gave the address to somebody else: it stays his, and is reported', async () => {
    const { world, node } = await setUp();
    await using _ = world;
    const snapshot = world.api.snapshot();
    await add(node, world, { pod: 'web', container: 'c-web' });
    const address = world.reservations[0]?.spec.address ?? '';
    world.api.restore(snapshot);
    await world.reservation(address);
    node.parts.canary.suspect();
    expect((await add(node, world, { pod: 'db', container: 'c-db' })).exitCode).toBe(0);
    expect(world.table).toContain(`${address} Bound c-other`);
    expect(await node.metrics.registry.metrics()).toContain('berth_address_conflicts_total 1');
  });
});

test('a repeated ADD waits too: its answer may be somebody else’s by now', async () => {
  const { world, node } = await setUp();
  await using _ = world;
  await add(node, world, { pod: 'web' });
  await world.direct(() =>
    world.api.delete(ipReservations, { name: world.reservations[0]?.metadata.name ?? '' }),
  );
  node.parts.canary.suspect();
  expect((await add(node, world, { pod: 'web' })).exitCode).toBe(0);
  expect(world.table).toHaveLength(1);
});

test('while it cannot be found out an ADD is code 11, and a DEL is served', async () => {
  const { world, node } = await setUp();
  await using _ = world;
  await add(node, world, { pod: 'web' });
  world.before = failing(({ verb }) => verb === 'get', unreachable);
  node.parts.canary.suspect();
  const error = errorOf(await add(node, world, { pod: 'db', container: 'c-db' }));
  expect(error).toMatchObject({ code: 11 });
  expect(error.msg).toContain('the connection to the API server was lost');
  const del = await world.finish(node.parts.handler.handle(world.request('DEL', { pod: 'web' })));
  expect(del.exitCode).toBe(0);
});

test('an ADD does not wait for a comparison without end', async () => {
  const { world, node } = await setUp();
  await using _ = world;
  await add(node, world, { pod: 'web' });
  await world.direct(() =>
    world.api.delete(ipReservations, { name: world.reservations[0]?.metadata.name ?? '' }),
  );
  let go: () => void = () => undefined;
  world.before = ({ verb }) =>
    verb === 'list'
      ? new Promise<void>((resolve) => {
          go = resolve;
        })
      : undefined;
  node.parts.canary.suspect();
  expect(errorOf(await add(node, world, { pod: 'db', container: 'c-db' }))).toMatchObject({ code: 11 });
  world.before = undefined;
  go();
  expect((await add(node, world, { pod: 'db', container: 'c-db' })).exitCode).toBe(0);
  expect(world.table).toHaveLength(2);
});
