import { describe, expect, test } from 'vitest';
import { ipReservations } from '../../crds/resources.ts';
import { pods } from '../../kube/core.ts';
import { startOneNode } from './testing/onenode.ts';
import { rejection } from './testing/refusal.ts';
import {
  type CallShape,
  failing,
  isWrite,
  outcomeUnknown,
  type TestNode,
  unreachable,
  type World,
} from './testing/world.ts';

const add = (world: World, node: TestNode, shape: CallShape = {}): Promise<string[]> =>
  world.finish(
    node.parts.attachments
      .add(world.parsed('ADD', shape))
      .then((result) => result.ips.map((ip) => ip.address)),
  );
const del = (world: World, node: TestNode, shape: CallShape = {}): Promise<void> =>
  world.finish(node.parts.attachments.del(world.parsed('DEL', shape)));

async function start(): Promise<{ world: World; node: TestNode }> {
  const started = await startOneNode();
  started.world.takeCalls();
  return started;
}

function v6(world: World): void {
  world.pool('v6', { subnet: 'fd00::/125', allocation: 'Ascending' });
}

describe('ADD', () => {
  test('is one create for each address and no read; DEL one delete for each', async () => {
    const { world, node } = await start();
    await using _ = world;
    v6(world);
    expect(await add(world, node)).toEqual(['10.0.0.2/29', 'fd00::1/125']);
    expect(world.takeCalls()).toEqual([
      'create default.10.0.0.2',
      'create default.fd00-0000-0000-0000-0000-0000-0000-0001',
    ]);
    expect(world.reservations[0]?.spec).toEqual({
      network: 'default',
      address: '10.0.0.2',
      pool: 'v4',
      state: 'Bound',
      owner: {
        kind: 'Pod',
        namespace: 'shop',
        name: 'web',
        uid: world.cachedPods.get('shop/web')?.metadata.uid,
        node: 'node-1',
        containerID: 'c1',
        ifname: 'eth0',
        cniNetwork: 'net',
      },
      since: '2026-01-01T00:00:00Z',
    });
    await del(world, node);
    expect(world.takeCalls()).toEqual([
      'delete default.10.0.0.2',
      'delete default.fd00-0000-0000-0000-0000-0000-0000-0001',
    ]);
    expect(world.table).toEqual([]);
    expect(node.journal.state).toMatchObject({
      attachments: new Map(),
      releasing: new Map(),
      intents: new Map(),
    });
  });

  test('again answers the same and writes nothing, also after a restart of the agent and with a closed pool', async () => {
    const { world, node } = await start();
    await using _ = world;
    const first = await add(world, node);
    node.restart();
    world.pool('v4', { subnet: '10.0.0.0/29', disabled: true });
    world.takeCalls();
    expect(await add(world, node)).toEqual(first);
    expect(world.takeCalls()).toEqual([]);
  });

  test('two at the same time of the same attachment are one', async () => {
    const { world, node } = await start();
    await using _ = world;
    const [a, b] = await Promise.all([add(world, node), add(world, node)]);
    expect(a).toEqual(b);
    expect(world.takeCalls()).toHaveLength(1);
  });

  test('is all or nothing: what one family got is given back when the other has nothing', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.pool('v6', { subnet: 'fd00::/64', ranges: ['fd00::1'] });
    await world.reservation('fd00::1', { pool: 'v6' });
    const error = await rejection(add(world, node));
    expect(error).toMatchObject({
      code: 101,
      message: expect.stringContaining('pool v6 has no free address'),
    });
    expect(world.table).toEqual(['fd00::1 Bound c-other']);
    expect(node.journal.state).toMatchObject({ attachments: new Map(), intents: new Map() });
    world.takeCalls();
    expect((await rejection(add(world, node, { container: 'c2' }))).code).toBe(101);
    expect(world.takeCalls(), 'the full family is remembered before the other is written').toEqual([]);
  });

  test('that a requested address is taken comes before that a family was just found full, and is one read', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.pool('v6', { subnet: 'fd00::/64', ranges: ['fd00::1'] });
    await world.reservation('fd00::1', { pool: 'v6' });
    await world.reservation('10.0.0.5', { pool: 'v4' });
    const ask = (ip: string): CallShape => ({ config: { args: { cni: { ips: [ip] } } } });
    expect((await rejection(add(world, node, ask('10.0.0.4')))).code).toBe(101);
    world.takeCalls();
    const error = await rejection(add(world, node, ask('10.0.0.5')));
    expect(error).toMatchObject({
      code: 102,
      message: expect.stringContaining(
        'requested address 10.0.0.5 of pool v4 is taken: bound to pod shop/other',
      ),
      details: expect.stringContaining('pool v6 has no free address'),
    });
    expect((await rejection(add(world, node, ask('10.0.0.4')))).code).toBe(101);
    expect(world.takeCalls()).toEqual(['get default.10.0.0.5', 'get default.10.0.0.4']);
  });

  test('families are answered in the order of the pools that are named', async () => {
    const { world, node } = await start();
    await using _ = world;
    v6(world);
    const ipam = { pools: ['v6', 'v4'] };
    const config = { args: { cni: { ips: ['10.0.0.5', '10.0.0.4'] } } };
    expect(await add(world, node, { ipam, config })).toEqual(['fd00::1/125', '10.0.0.5/29', '10.0.0.4/29']);
  });

  test('a journal that can not be written is a failure, and leaves nothing behind', async () => {
    const { world, node } = await start();
    await using _ = world;
    node.onAppend = (record) => {
      if (record.t === 'bound') throw new Error('ENOSPC');
    };
    await expect(add(world, node)).rejects.toThrow('ENOSPC');
    expect(world.table).toEqual([]);
    node.onAppend = undefined;
    expect(await add(world, node)).toHaveLength(1);
  });

  test('where not even the failure can be written, the doubts are still worked off', async () => {
    const { world, node } = await start();
    await using _ = world;
    node.work();
    node.onAppend = (record) => {
      if (record.t === 'bound' || record.t === 'failed' || record.t === 'resolved') throw new Error('ENOSPC');
    };
    world.before = failing((call) => call.verb === 'delete', unreachable, 1);
    await expect(add(world, node)).rejects.toThrow('ENOSPC');
    expect(node.journal.state.intents.size).toBe(1);
    await world.pass(10_000);
    expect(world.table).toEqual([]);
    node.onAppend = undefined;
    await world.pass(120_000);
    expect(node.journal.state.intents.size).toBe(0);
  });

  test('with an API server that is away is 11, changes nothing, and is over within the deadline', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.before = failing(() => true, unreachable);
    const error = await rejection(add(world, node));
    expect(error.code).toBe(11);
    expect(node.journal.state).toMatchObject({ attachments: new Map(), intents: new Map() });
    world.before = failing(isWrite, outcomeUnknown);
    const begun = world.clock.monotonic();
    expect((await rejection(add(world, node))).code).toBe(11);
    expect(world.clock.monotonic() - begun).toBeLessThanOrEqual(25_000);
    expect([...node.journal.state.intents.keys()]).toEqual(['c1/eth0 default.10.0.0.2']);
  });

  test('takes up what an earlier, unanswered try of it had written', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.after = failing(isWrite, outcomeUnknown);
    world.before = failing((call) => call.verb === 'get', unreachable);
    expect((await rejection(add(world, node))).code).toBe(11);
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
    world.after = undefined;
    world.before = undefined;
    expect(await add(world, node)).toEqual(['10.0.0.2/29']);
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
  });

  test('after a DEL that the API has not got yet releases first, else is 11', async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node);
    world.before = failing(isWrite, unreachable);
    await del(world, node);
    expect((await rejection(add(world, node))).message).toContain('still being released');
    world.before = undefined;
    await add(world, node);
    expect(world.reservations).toHaveLength(1);
    expect(node.journal.state.releasing.size).toBe(0);
  });
});

describe('whose an attachment is', () => {
  const owners = (world: World): unknown[] => world.reservations.map(({ spec }) => spec.owner);

  test('a UID that the watch has not shown is looked up: known, 11, or 11 for another one', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.cachedPods.clear();
    const uid = world.api.objects(pods)[0]?.metadata.uid;
    await add(world, node, { uid });
    expect(world.takeCalls()).toEqual(['get shop/web', 'create default.10.0.0.2']);
    const other = await rejection(add(world, node, { container: 'c2', uid: 'other' }));
    expect(other).toMatchObject({
      code: 11,
      message: expect.stringContaining(`knows the pod with UID ${uid}`),
    });
    const none = await rejection(add(world, node, { container: 'c2', pod: 'no', uid: 'u' }));
    expect(none).toMatchObject({ code: 11, message: expect.stringContaining('does not know the pod') });
  });

  test('a pod on another node is 11', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.pod('far', { node: 'node-2' });
    const error = await rejection(add(world, node, { pod: 'far' }));
    expect(error).toMatchObject({ code: 11, message: expect.stringContaining('on node node-2') });
  });

  test('a static pod is known by the hash that its mirror carries, and keeps it as its UID', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.pod('static', { annotations: { 'kubernetes.io/config.mirror': 'hash' } });
    await add(world, node, { pod: 'static', uid: 'hash' });
    expect(owners(world)).toMatchObject([{ kind: 'Pod', uid: 'hash', name: 'static' }]);
  });

  test('without a UID it is the pod that a live GET finds, else the node', async () => {
    const { world, node } = await start();
    await using _ = world;
    const uid = world.cachedPods.get('shop/web')?.metadata.uid;
    await add(world, node, { uid: undefined });
    await add(world, node, { uid: undefined, pod: 'no', container: 'c2' });
    await add(world, node, { uid: undefined, pod: undefined, container: 'c3' });
    const of = { node: 'node-1', ifname: 'eth0', cniNetwork: 'net' };
    expect(owners(world)).toEqual([
      { kind: 'Pod', namespace: 'shop', name: 'web', uid, containerID: 'c1', ...of },
      { kind: 'Node', containerID: 'c2', ...of },
      { kind: 'Node', containerID: 'c3', ...of },
    ]);
  });

  test('an API server that can not be asked is 11', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.before = failing(() => true, unreachable);
    expect((await rejection(add(world, node, { uid: undefined }))).code).toBe(11);
  });
});

describe('DEL', () => {
  test('of what was never added, and again, is no request', async () => {
    const { world, node } = await start();
    await using _ = world;
    await del(world, node, { container: 'no' });
    await add(world, node);
    await del(world, node);
    world.takeCalls();
    await del(world, node);
    expect(world.takeCalls()).toEqual([]);
  });

  test('with a cooldown releases, with a holder holds, and without its pool deletes', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.pool('v4', { subnet: '10.0.0.0/29', cooldown: '30s' });
    const { address = '' } = { address: (await add(world, node))[0]?.split('/')[0] };
    world.takeCalls();
    await del(world, node);
    expect(world.takeCalls()).toEqual([`patch default.${address}`]);
    expect(world.table).toEqual([`${address} Released c1`]);
    await add(world, node, { container: 'c2' });
    world.pools.delete('v4');
    node.parts.pools.delete({ metadata: { name: 'v4' }, spec: { subnet: '10.0.0.0/29' } });
    await del(world, node, { container: 'c2' });
    expect(world.table).toEqual([`${address} Released c1`]);
  });

  test('needs nothing of the API: it is accepted by the journal, and done when the API is back', async () => {
    const { world, node } = await start();
    await using _ = world;
    node.work();
    await add(world, node);
    world.before = failing(isWrite, unreachable);
    await del(world, node);
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
    node.restart();
    node.work();
    await world.pass(30_000);
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
    world.before = undefined;
    await world.pass(20_000);
    expect(world.table).toEqual([]);
    expect(node.journal.state.releasing.size).toBe(0);
  });

  test('that is accepted but fails in the agent afterwards is finished in the background', async () => {
    const { world, node } = await start();
    await using _ = world;
    node.work();
    await add(world, node);
    let times = 2;
    node.onAppend = (record) => {
      if (record.t === 'released' && times-- > 0) throw new Error('ENOSPC');
    };
    await del(world, node);
    expect(node.journal.state.releasing.size).toBe(1);
    await world.pass(5_000);
    expect(node.journal.state.releasing.size).toBe(0);
  });

  test('that the journal can not take changes nothing', async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node);
    node.onAppend = () => {
      throw new Error('ENOSPC');
    };
    await expect(del(world, node)).rejects.toThrow('ENOSPC');
    expect(world.table).toEqual(['10.0.0.2 Bound c1']);
    expect(node.journal.state.attachments.size).toBe(1);
  });

  test('of a reservation that somebody labelled since looks once, and deletes it as it is now', async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node);
    const name = 'default.10.0.0.2';
    await world.direct(() =>
      world.api.patch(ipReservations, { name }, [{ op: 'add', path: '/metadata/labels', value: { a: 'b' } }]),
    );
    world.takeCalls();
    await del(world, node);
    expect(world.takeCalls()).toEqual([`delete ${name}`, `get ${name}`, `delete ${name}`]);
    expect(world.table).toEqual([]);
  });

  test.each(['0s', '30s'])(
    'of an address that a person has given a holder meanwhile holds it (cooldown %s)',
    async (cooldown) => {
      const { world, node } = await start();
      await using _ = world;
      world.pool('v4', { subnet: '10.0.0.0/29', allocation: 'Ascending', cooldown });
      await add(world, node);
      const name = 'default.10.0.0.1';
      const holder = 'Pod/shop/web';
      await world.direct(() =>
        world.api.patch(ipReservations, { name }, [{ op: 'add', path: '/spec/holder', value: holder }]),
      );
      await del(world, node);
      expect(world.reservations[0]?.spec).toMatchObject({ state: 'Held', holder });
      expect(node.journal.state.releasing.size).toBe(0);
    },
  );

  test("never touches what is somebody else's by now", async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node);
    const name = 'default.10.0.0.2';
    await world.direct(() => world.api.delete(ipReservations, { name }));
    await world.reservation('10.0.0.2');
    await del(world, node);
    expect(world.table).toEqual(['10.0.0.2 Bound c-other']);
    expect(node.journal.state.releasing.size).toBe(0);
  });
});

describe('CHECK', () => {
  const check = (world: World, node: TestNode, shape: CallShape = {}): Promise<void> =>
    world.finish(node.parts.attachments.check(world.parsed('CHECK', shape)));
  const prev = (...addresses: string[]): CallShape => ({
    config: { prevResult: { ips: addresses.map((address) => ({ address })) } },
  });

  test('succeeds for what was added, however prevResult spells it and whatever else it has', async () => {
    const { world, node } = await start();
    await using _ = world;
    v6(world);
    await add(world, node);
    await check(world, node, prev('192.168.0.1/24', '10.0.0.2/29', 'FD00:0::1/125', 'nonsense'));
    await check(world, node);
  });

  test('is 106 without an attachment, with another prevResult, and with a reservation that is gone or another one', async () => {
    const { world, node } = await start();
    await using _ = world;
    expect((await rejection(check(world, node))).code).toBe(106);
    await add(world, node);
    expect(await rejection(check(world, node, prev('10.0.0.3/29')))).toMatchObject({
      code: 106,
      message: expect.stringContaining('10.0.0.2'),
    });
    expect(await rejection(check(world, node, prev('10.0.0.2/29', '10.0.0.3/29')))).toMatchObject({
      code: 106,
      message: expect.stringContaining('10.0.0.3'),
    });
    await world.direct(() => world.api.delete(ipReservations, { name: 'default.10.0.0.2' }));
    expect(await rejection(check(world, node))).toMatchObject({
      code: 106,
      message: expect.stringContaining('missing'),
    });
    await world.reservation('10.0.0.2');
    expect(await rejection(check(world, node))).toMatchObject({
      code: 106,
      message: expect.stringContaining('Bound'),
    });
  });

  test('is 11 while the API is away', async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node);
    world.before = failing(() => true, unreachable);
    expect((await rejection(check(world, node))).code).toBe(11);
  });
});

describe('GC', () => {
  const LATER = 601_000;
  const gc = (
    world: World,
    node: TestNode,
    valid: readonly string[] | null | undefined,
    more: object = {},
  ): Promise<void> =>
    world.finish(
      node.parts.attachments.gc(
        world.parsed('GC', {
          config: {
            'cni.dev/valid-attachments':
              valid === undefined || valid === null
                ? valid
                : valid.map((containerID) => ({ containerID, ifname: 'eth0' })),
            ...more,
          },
        }),
      ),
    );

  test.each([undefined, null])('a list that is %j is refused with 7 and deletes nothing', async (list) => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node);
    await world.pass(LATER);
    expect((await rejection(gc(world, node, list))).code).toBe(7);
    expect(world.table).toHaveLength(1);
  });

  test('releases pod attachments of the network that are not in the union of both lists', async () => {
    const { world, node } = await start();
    await using _ = world;
    for (const container of ['c1', 'c2', 'c3']) {
      await world.pod(container);
      await add(world, node, { container, pod: container });
    }
    await add(world, node, { container: 'c4', name: 'other' });
    await add(world, node, { container: 'c5', pod: undefined, uid: undefined });
    await world.pass(LATER);
    await gc(world, node, ['c1'], { 'cni.dev/attachments': [{ containerID: 'c2', ifname: 'eth0' }] });
    expect(world.table.map((line) => line.split(' ')[2])).toEqual(['c1', 'c2', 'c4', 'c5']);
  });

  test('spares what is younger than 10 minutes', async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node);
    await world.pass(600_000);
    await gc(world, node, []);
    expect(world.table).toHaveLength(1);
    await world.pass(1);
    await gc(world, node, []);
    expect(world.table).toEqual([]);
  });

  test('judges again when it has the lock: what was released and added anew meanwhile is spared', async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node);
    await world.pass(LATER);
    const { attachments } = node.parts;
    const [, , again] = await world.finish(
      Promise.all([
        attachments.del(world.parsed('DEL')),
        attachments.add(world.parsed('ADD')),
        attachments.gc(world.parsed('GC', { config: { 'cni.dev/valid-attachments': [] } })),
      ]),
    );
    expect(again).toBeUndefined();
    expect(world.table).toHaveLength(1);
  });

  test('while the API is away is accepted, and done later', async () => {
    const { world, node } = await start();
    await using _ = world;
    node.work();
    for (const container of ['c1', 'c2', 'c3']) {
      await world.pod(container);
      await add(world, node, { container, pod: container });
    }
    await world.pass(LATER);
    world.before = failing(isWrite, unreachable);
    await gc(world, node, []);
    expect(node.journal.state.releasing.size).toBe(3);
    world.before = undefined;
    await world.pass(20_000);
    expect(world.table).toEqual([]);
  });
});
