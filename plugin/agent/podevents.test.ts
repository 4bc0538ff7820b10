import { describe, expect, test } from 'vitest';
import { type CallShape, failing, isWrite, type TestNode, unreachable, World } from './testing/world.ts';

async function start(annotations: Record<string, string> = {}): Promise<{ world: World; node: TestNode }> {
  const world = new World();
  world.pool('v4', { subnet: '10.0.0.0/29', ranges: ['10.0.0.2'], gateway: '10.0.0.1' });
  const node = world.node();
  await world.pod('web', { annotations });
  await node.parts.sync.compare();
  return { world, node };
}

/** The `msg` of the answer; undefined for a success. */
async function call(world: World, node: TestNode, shape: CallShape = {}, verb = 'ADD'): Promise<unknown> {
  const { exitCode, stdout } = await world.finish(node.parts.handler.handle(world.request(verb, shape)));
  // A CNI error.
  return exitCode === 0 ? undefined : (JSON.parse(stdout) as { msg: string }).msg;
}

const ips = (...list: string[]): CallShape => ({ config: { args: { cni: { ips: list } } } });

describe('a failed ADD is a warning on its pod, with the message of the answer', () => {
  test.each<[string, CallShape, Record<string, string>]>([
    ['AddressTaken', ips('10.0.0.3'), {}],
    ['AddressNotAllowed', ips('10.0.0.1'), {}],
    ['PoolNotAllowed', { ipam: { pools: ['v4'], network: 'other' } }, {}],
    ['PoolNotFound', { ipam: { pools: ['no'] } }, {}],
    ['InvalidAnnotation', {}, { 'ipam.berth.dev/pools': '{' }],
    ['InvalidAnnotation', {}, { 'ipam.berth.dev/ips': '10.0.0' }],
  ])('%s', async (reason, shape, annotations) => {
    const { world, node } = await start(annotations);
    await using _ = world;
    await world.reservation('10.0.0.3');
    const message = await call(world, node, shape);
    const uid = world.cachedPods.get('shop/web')?.metadata.uid;
    expect(world.events).toEqual([
      {
        about: { apiVersion: 'v1', kind: 'Pod', namespace: 'shop', name: 'web', uid },
        type: 'Warning',
        reason,
        message,
        series: 'eth0',
        related: undefined,
      },
    ]);
  });

  test('AddressesExhausted, of each try: the recorder counts them', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation('10.0.0.2');
    for (let i = 0; i < 3; i += 1) expect(await call(world, node)).toContain('no free address');
    expect(world.events.map(({ reason, series }) => `${reason} ${series}`)).toEqual(
      Array.from({ length: 3 }, () => 'AddressesExhausted eth0'),
    );
  });
});

describe('no Event', () => {
  test('of a success, of what is only worth another try, of another verb, of a faulty network configuration', async () => {
    const { world, node } = await start();
    await using _ = world;
    expect(await call(world, node)).toBeUndefined();
    world.before = failing(isWrite, unreachable);
    expect(await call(world, node, { container: 'c2', ...ips('10.0.0.3') })).toBeDefined();
    expect(await call(world, node, { container: 'c2', ipam: { typo: 1 } })).toContain('unknown key');
    expect(await call(world, node, { container: 'c9' }, 'CHECK')).toBeDefined();
    expect(world.events).toEqual([]);
  });

  test('where there is no pod: an owner that is the node', async () => {
    const { world, node } = await start();
    await using _ = world;
    for (const shape of [
      { pod: undefined, uid: undefined },
      { pod: 'no', uid: undefined },
    ]) {
      expect(await call(world, node, { ...shape, ipam: { pools: ['no'] } })).toContain('does not exist');
    }
    expect(world.events).toEqual([]);
  });
});

test("a static pod's Event has the UID by which kubectl describe looks for it", async () => {
  const { world, node } = await start();
  await using _ = world;
  const mirror = await world.pod('static', { annotations: { 'kubernetes.io/config.mirror': 'hash' } });
  await call(world, node, { pod: 'static', uid: 'hash', ipam: { pools: ['no'] } });
  expect(world.events[0]?.about.uid).toBe(mirror.metadata.uid);
});
