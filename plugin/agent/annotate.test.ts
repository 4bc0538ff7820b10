import { describe, expect, test } from 'vitest';
import { keyOf, type Pod, pods } from '../../kube/core.ts';
import { ApiError } from '../../kube/errors.ts';
import type { MemoryCall } from '../../kube/memory.ts';
import { FORBIDDEN_RETRY_MS } from './annotate.ts';
import {
  type CallShape,
  failing,
  type PodShape,
  type TestNode,
  unreachable,
  World,
} from './testing/world.ts';

const KEY = 'ipam.berth.dev/addresses';
const asked: CallShape = { ipam: { annotatePod: true } };
const isPodPatch = (call: MemoryCall): boolean => call.verb === 'patch' && call.resource.plural === 'pods';

async function start(shape: PodShape = {}): Promise<{ world: World; node: TestNode }> {
  const world = new World();
  world.pool('v4', { subnet: '10.0.0.0/24', allocation: 'Ascending' });
  const node = world.node();
  await world.pod('web', shape);
  await node.parts.sync.compare();
  node.work();
  world.takeCalls();
  return { world, node };
}

const add = async (world: World, node: TestNode, shape: CallShape = {}): Promise<unknown> => {
  const added = await world.finish(node.parts.attachments.add(world.parsed('ADD', { ...asked, ...shape })));
  await world.pass(0);
  return added;
};
const del = async (world: World, node: TestNode, shape: CallShape = {}): Promise<void> => {
  await world.finish(node.parts.attachments.del(world.parsed('DEL', shape)));
  await world.pass(0);
};

/** The pod in the API. */
function live(world: World, name = 'web'): Pod | undefined {
  return world.api.objects(pods).find(({ metadata }) => metadata.name === name);
}

function shown(world: World, name?: string): unknown {
  const value = live(world, name)?.metadata.annotations?.[KEY];
  return value === undefined ? undefined : JSON.parse(value);
}

/** The watch shows the pod as it is now. */
function see(world: World, node: TestNode): void {
  const pod = live(world);
  if (pod === undefined) throw new Error('the pod is gone');
  world.cachedPods.set(keyOf(pod), pod);
  node.parts.annotator.look('shop', 'web');
}

describe('a pod whose network asks for it', () => {
  test.each([
    ['without annotations', undefined],
    ['with annotations of others', { other: 'x' }],
  ])('%s shows its addresses after ADD, by one write', async (_what, annotations) => {
    const { world, node } = await start({ ...(annotations !== undefined && { annotations }) });
    await using _ = world;
    world.pool('v6', { subnet: 'fd00::/64', allocation: 'Ascending' });
    await add(world, node);
    expect(shown(world)).toEqual({ eth0: ['10.0.0.1/24', 'fd00::1/64'] });
    expect(live(world)?.metadata.annotations).toMatchObject(annotations ?? {});
    expect(world.takeCalls().filter((call) => !call.startsWith('create'))).toEqual(['patch shop/web']);
  });

  test('has all its interfaces in one value, and those of networks that do not ask are not in it', async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node, { ifname: 'net1' });
    await add(world, node, { ifname: 'net2' });
    await add(world, node, { ifname: 'net3', ipam: {} });
    expect(shown(world)).toEqual({ net1: ['10.0.0.1/24'], net2: ['10.0.0.2/24'] });
    await del(world, node, { ifname: 'net1' });
    expect(shown(world)).toEqual({ net2: ['10.0.0.2/24'] });
    see(world, node);
    await del(world, node, { ifname: 'net2' });
    expect(shown(world)).toBeUndefined();
  });

  test('has a value in the order of the interfaces whichever ADD was first', async () => {
    const { world, node } = await start();
    await using _ = world;
    for (const ifname of ['net2', 'eth0', 'net1']) await add(world, node, { ifname });
    expect(live(world)?.metadata.annotations?.[KEY]).toBe(
      '{"eth0":["10.0.0.2/24"],"net1":["10.0.0.3/24"],"net2":["10.0.0.1/24"]}',
    );
  });

  test('needs no write for what it shows already, nor for a repeated ADD or a restarted sandbox', async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node);
    see(world, node);
    await world.pass(0);
    world.takeCalls();
    await add(world, node);
    await add(world, node, { container: 'c2' });
    await del(world, node, { container: 'c1' });
    expect(world.takeCalls()).toEqual(['patch default.10.0.0.1']);
    expect(shown(world)).toEqual({ eth0: ['10.0.0.1/24'] });
  });

  test('that ends is left alone: its annotation goes with it', async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node);
    const pod = live(world);
    if (pod === undefined) throw new Error('the pod is gone');
    const metadata = { ...pod.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' };
    world.cachedPods.set('shop/web', { ...pod, metadata });
    world.takeCalls();
    await del(world, node);
    expect(world.takeCalls()).toEqual(['delete default.10.0.0.1']);
  });

  test('and is another one of the same name by now is not touched', async () => {
    const { world, node } = await start();
    await using _ = world;
    const old = world.cachedPods.get('shop/web');
    await world.direct(() => world.api.delete(pods, { namespace: 'shop', name: 'web' }));
    await world.pod('web');
    if (old !== undefined) world.cachedPods.set('shop/web', old);
    await add(world, node, { uid: old?.metadata.uid });
    await world.pass(60_000);
    expect(shown(world)).toBeUndefined();
    expect(world.lines.filter(({ level }) => level === 'warn')).toEqual([]);
  });

  test('is known by the hash that its mirror carries', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.pod('static', { annotations: { 'kubernetes.io/config.mirror': 'hash' } });
    await add(world, node, { pod: 'static', uid: 'hash' });
    expect(shown(world, 'static')).toEqual({ eth0: ['10.0.0.1/24'] });
  });
});

test('a pod whose network does not ask shows nothing and costs nothing', async () => {
  const { world, node } = await start();
  await using _ = world;
  await add(world, node, { ipam: { annotatePod: false } });
  await del(world, node);
  expect(world.takeCalls()).toEqual(['create default.10.0.0.1', 'delete default.10.0.0.1']);
});

test('an owner that is the node has nothing to show', async () => {
  const { world, node } = await start();
  await using _ = world;
  await add(world, node, { pod: undefined, uid: undefined });
  expect(world.takeCalls()).toEqual(['create default.10.0.0.1']);
});

describe('what keeps the annotation true', () => {
  test('a watch that is behind is made up for by a read', async () => {
    const { world, node } = await start({ annotations: { other: 'x' } });
    await using _ = world;
    const pod = live(world);
    if (pod === undefined) throw new Error('the pod is gone');
    const { annotations: _gone, ...metadata } = pod.metadata;
    world.cachedPods.set('shop/web', { ...pod, metadata });
    await add(world, node);
    expect(shown(world)).toEqual({ eth0: ['10.0.0.1/24'] });
    expect(live(world)?.metadata.annotations).toHaveProperty('other', 'x');
  });

  test('a DEL that comes before the watch shows what ADD wrote is made up for when it does', async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node);
    await del(world, node);
    see(world, node);
    await world.pass(0);
    expect(shown(world)).toBeUndefined();
  });

  test('what somebody else writes there is written over', async () => {
    const { world, node } = await start({ annotations: { [KEY]: '{"eth0":["1.2.3.4/8"]}' } });
    await using _ = world;
    see(world, node);
    await world.pass(0);
    expect(shown(world)).toBeUndefined();
  });

  test('an agent that dies before the write does it when it starts again', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.before = failing(isPodPatch, unreachable);
    await add(world, node);
    expect(shown(world)).toBeUndefined();
    node.restart();
    world.before = undefined;
    node.work();
    await world.pass(0);
    expect(shown(world)).toEqual({ eth0: ['10.0.0.1/24'] });
  });

  test('an agent that lost its journal keeps what it adopts and the pod shows', async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node);
    await add(world, node, { ifname: 'net1', ipam: {} });
    node.kill();
    const other = world.node();
    other.work();
    await other.parts.sync.compare();
    see(world, other);
    await world.pass(0);
    expect(other.journal.state.attachments.size).toBe(2);
    expect(shown(world)).toEqual({ eth0: ['10.0.0.1/24'] });
    await del(world, other);
    see(world, other);
    await world.pass(0);
    expect(shown(world)).toBeUndefined();
  });
});

describe('a write that fails', () => {
  test('does not disturb ADD and DEL, and is tried again with backoff', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.before = failing(isPodPatch, unreachable, 3);
    await add(world, node);
    expect(world.table).toEqual(['10.0.0.1 Bound c1']);
    await world.pass(500);
    expect(shown(world)).toBeUndefined();
    await world.pass(10_000);
    expect(shown(world)).toEqual({ eth0: ['10.0.0.1/24'] });
  });

  test('that hangs holds up neither ADD nor other pods', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.pod('db');
    const hanging = Promise.withResolvers<void>();
    world.before = (call) => (isPodPatch(call) && call.target === 'shop/web' ? hanging.promise : undefined);
    await add(world, node);
    await add(world, node, { ifname: 'net1' });
    await add(world, node, { pod: 'db', container: 'c2' });
    expect(shown(world, 'db')).toEqual({ eth0: ['10.0.0.3/24'] });
    hanging.resolve();
    await world.pass(0);
    expect(shown(world)).toEqual({ eth0: ['10.0.0.1/24'], net1: ['10.0.0.2/24'] });
  });

  test('for want of the role is said once in the log and on each pod; with the role all of them are written', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.pod('db');
    world.before = failing(isPodPatch, () => new ApiError('Forbidden', 'no'));
    await add(world, node);
    await add(world, node, { ifname: 'net1' });
    await add(world, node, { pod: 'db', container: 'c2' });
    await world.pass(FORBIDDEN_RETRY_MS * 2);
    expect(world.lines.filter(({ level }) => level === 'warn')).toMatchObject([
      { message: expect.stringContaining('config/rbac/optional/agent-annotate-pods.yaml') },
    ]);
    expect(world.events.map(({ about, reason }) => `${about.name} ${reason}`)).toEqual([
      'web AnnotationForbidden',
      'db AnnotationForbidden',
    ]);
    expect(world.takeCalls().filter((call) => call.startsWith('patch shop/')).length).toBeLessThan(10);
    world.before = undefined;
    await add(world, node, { ifname: 'net2' });
    expect(shown(world)).toEqual({ eth0: ['10.0.0.1/24'], net1: ['10.0.0.2/24'], net2: ['10.0.0.4/24'] });
    expect(shown(world, 'db')).toEqual({ eth0: ['10.0.0.3/24'] });
  });
});
