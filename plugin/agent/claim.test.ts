import { describe, expect, test } from 'vitest';
import { ipReservations } from '../../crds/resources.ts';
import { pods } from '../../kube/core.ts';
import { ApiError } from '../../kube/errors.ts';
import { rejection } from './testing/refusal.ts';
import {
  type CallShape,
  failing,
  isWrite,
  outcomeUnknown,
  type TestNode,
  unreachable,
  World,
} from './testing/world.ts';

const add = (world: World, node: TestNode, shape: CallShape = {}): Promise<string[]> =>
  world.finish(
    node.parts.attachments
      .add(world.parsed('ADD', shape))
      .then((result) => result.ips.map((ip) => ip.address.split('/')[0] ?? '')),
  );

async function start(spec: object = {}): Promise<{ world: World; node: TestNode }> {
  const world = new World();
  world.pool('blue', {
    subnet: '10.0.0.0/24',
    ranges: ['10.0.0.2-10.0.0.9'],
    allocation: 'Ascending',
    ...spec,
  });
  const node = world.node();
  await world.pod('web');
  await node.parts.sync.compare();
  world.takeCalls();
  return { world, node };
}

describe('a dynamic address', () => {
  test('after a conflict is another one; after four conflicts one list tells what is free', async () => {
    const { world, node } = await start();
    await using _ = world;
    for (const n of [2, 3, 4, 5, 6, 7, 8]) await world.reservation(`10.0.0.${n}`);
    expect(await add(world, node)).toEqual(['10.0.0.9']);
    expect(world.takeCalls()).toEqual([
      'create default.10.0.0.2',
      'create default.10.0.0.3',
      'create default.10.0.0.4',
      'create default.10.0.0.5',
      'list ipreservations',
      'create default.10.0.0.9',
    ]);
    const metrics = await node.metrics.registry.metrics();
    expect(metrics).toContain('berth_agent_create_conflicts_total 4');
  });

  test('that rests by an API server which was restored is not taken from another pod of the node', async () => {
    const { world, node } = await start({ ranges: ['10.0.0.2-10.0.0.2'], cooldown: '1h' });
    await using _ = world;
    await world.pod('second');
    expect(await add(world, node)).toEqual(['10.0.0.2']);
    await world.direct(() =>
      world.api.patch(ipReservations, { name: 'default.10.0.0.2' }, [
        { op: 'replace', path: '/spec/state', value: 'Released' },
      ]),
    );
    const refused = await rejection(add(world, node, { pod: 'second', container: 'c2' }));
    expect(refused.code).toBe(101);
    expect(world.table).toEqual(['10.0.0.2 Released c1']);
    // With its pod deleted it is the operator that has released it.
    const gone = world.api.objects(pods).find(({ metadata }) => metadata.name === 'web');
    if (gone === undefined) throw new Error('no pod web');
    node.parts.ended.deleted(gone);
    await world.pass(3_000);
    expect(await add(world, node, { pod: 'second', container: 'c2' })).toEqual(['10.0.0.2']);
  });

  test('that could not be written is free for the next ADD', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.before = failing(isWrite, () => new ApiError('Forbidden', 'no'), 1);
    expect((await rejection(add(world, node))).code).toBe(11);
    expect(await add(world, node)).toEqual(['10.0.0.2']);
  });

  test('in doubt is not offered to anybody else', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.before = failing(isWrite, outcomeUnknown);
    expect((await rejection(add(world, node))).code).toBe(11);
    world.before = undefined;
    expect(await add(world, node, { container: 'c2', ifname: 'net1' })).toEqual(['10.0.0.3']);
  });

  test('goes to one caller each, however many ask at once', async () => {
    const { world, node } = await start();
    await using _ = world;
    const calls = [1, 2, 3, 4, 5, 6, 7, 8].map((n) =>
      add(world, node, { container: `c${n}`, ifname: `net${n}` }),
    );
    const got = (await Promise.all(calls)).flat();
    expect(new Set(got).size).toBe(8);
    expect(world.takeCalls()).toHaveLength(8);
  });

  test('from the first pool with room', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.pool('full', { subnet: '10.0.1.0/24', ranges: ['10.0.1.2'] });
    await world.reservation('10.0.1.2', { pool: 'full' });
    expect(await add(world, node, { ipam: { pools: ['full', 'blue'] } })).toEqual(['10.0.0.2']);
    expect(
      await add(world, node, { ipam: { pools: ['blue', 'full'] }, container: 'c2', ifname: 'n' }),
    ).toEqual(['10.0.0.3']);
  });

  test('where others are always first is 11 at the deadline, not 101', async () => {
    const { world, node } = await start({ ranges: ['10.0.0.0/24'] });
    await using _ = world;
    world.before = async (call) => {
      if (call.verb === 'create') {
        await world.clock.sleep(500);
        throw new ApiError('AlreadyExists', 'somebody was first');
      }
    };
    const error = await rejection(add(world, node));
    expect(error).toMatchObject({ code: 11, message: expect.stringContaining('contended') });
    expect(world.clock.monotonic()).toBeLessThanOrEqual(25_000);
  });
});

describe('an exhausted pool', () => {
  test('is 101 with the counts, after one list for all that wait', async () => {
    const { world, node } = await start({ ranges: ['10.0.0.2-10.0.0.4'] });
    await using _ = world;
    await world.reservation('10.0.0.2');
    await world.reservation('10.0.0.3', { state: 'Held', holder: 'Pod/shop/other' });
    await world.reservation('10.0.0.4');
    world.before = (call) => (call.verb === 'list' ? world.clock.sleep(100) : undefined);
    const errors = await Promise.all([
      rejection(add(world, node)),
      rejection(add(world, node, { container: 'c2', ifname: 'net1' })),
    ]);
    for (const error of errors) {
      expect(error).toMatchObject({
        code: 101,
        message: 'pool blue has no free address: 2 bound, 1 held, 0 cooling down, capacity 3',
      });
    }
    expect(world.takeCalls().filter((call) => call === 'list ipreservations')).toHaveLength(1);
  });

  test('names the pools that were passed over in the details', async () => {
    const { world, node } = await start({ ranges: ['10.0.0.2'] });
    await using _ = world;
    world.pool('off', { subnet: '10.0.1.0/24', disabled: true });
    await world.reservation('10.0.0.2');
    const error = await rejection(add(world, node, { ipam: { pools: ['off', 'blue'] } }));
    expect(error.code).toBe(101);
    expect(error.details).toContain('pool off: pool off is disabled');
    world.pool('small', { subnet: '10.0.2.0/24', ranges: [] });
    const both = await rejection(add(world, node, { ipam: { pools: ['blue', 'small'] } }));
    expect(both.message, 'the message has the reason of each pool tried').toMatch(
      /^pool blue has no free address: 1 bound.*; pool small gives addresses only on request/,
    );
  });

  test('is remembered for 3 s, or until this agent gives something back', async () => {
    const { world, node } = await start({ ranges: ['10.0.0.2-10.0.0.3'] });
    await using _ = world;
    await world.reservation('10.0.0.2');
    await add(world, node);
    expect((await rejection(add(world, node, { container: 'c2', ifname: 'net1' }))).code).toBe(101);
    world.takeCalls();
    expect((await rejection(add(world, node, { container: 'c2', ifname: 'net1' }))).code).toBe(101);
    expect(world.takeCalls()).toEqual([]);
    await world.finish(node.parts.attachments.del(world.parsed('DEL')));
    expect(await add(world, node, { container: 'c2', ifname: 'net1' })).toEqual(['10.0.0.3']);
    expect((await rejection(add(world, node, { container: 'c3', ifname: 'n' }))).code).toBe(101);
    await world.direct(() => world.api.delete(ipReservations, { name: 'default.10.0.0.2' }));
    await world.pass(3_000);
    expect(await add(world, node, { container: 'c3', ifname: 'n' })).toEqual(['10.0.0.2']);
  });

  test('is not listed again within 1 s, even when this agent has given something back that is gone again', async () => {
    const { world, node } = await start({ ranges: ['10.0.0.2-10.0.0.3'] });
    await using _ = world;
    await world.reservation('10.0.0.2');
    await add(world, node);
    const another = (): Promise<{ code: number }> =>
      rejection(add(world, node, { container: 'c2', ifname: 'net1' }));
    expect((await another()).code).toBe(101);
    await world.finish(node.parts.attachments.del(world.parsed('DEL')));
    await world.reservation('10.0.0.3');
    world.takeCalls();
    await world.pass(900);
    expect((await another()).code).toBe(101);
    expect(world.takeCalls()).toEqual(['create default.10.0.0.3']);
    node.parts.occupancy.forgetExhausted('blue');
    await world.pass(200);
    expect((await another()).code).toBe(101);
    expect(world.takeCalls()).toEqual(['list ipreservations']);
  });

  test('of static requests only says so', async () => {
    const { world, node } = await start({ ranges: [] });
    await using _ = world;
    expect((await rejection(add(world, node))).message).toContain('only on request');
  });

  test('that can not be listed is 11', async () => {
    const { world, node } = await start({ ranges: ['10.0.0.2'] });
    await using _ = world;
    await world.reservation('10.0.0.2');
    world.before = failing((call) => call.verb === 'list', unreachable);
    expect((await rejection(add(world, node))).code).toBe(11);
  });
});

describe('a released address', () => {
  test('is taken only when nothing else is free', async () => {
    const { world, node } = await start({ ranges: ['10.0.0.2-10.0.0.3'], cooldown: '1h' });
    await using _ = world;
    await world.reservation('10.0.0.2', { state: 'Released' });
    expect(await add(world, node)).toEqual(['10.0.0.3']);
    expect(await add(world, node, { container: 'c2', ifname: 'n' })).toEqual(['10.0.0.2']);
    expect(world.table).toEqual(['10.0.0.2 Bound c2', '10.0.0.3 Bound c1']);
  });

  test('that somebody else takes first is another one', async () => {
    const { world, node } = await start({ ranges: ['10.0.0.2-10.0.0.3'] });
    await using _ = world;
    for (const n of [2, 3]) await world.reservation(`10.0.0.${n}`, { state: 'Released' });
    world.before = failing(
      (call) => call.verb === 'patch',
      () => new ApiError('TestFailed', 'first'),
      1,
    );
    expect(await add(world, node)).toHaveLength(1);
    expect(world.takeCalls().filter((call) => call.startsWith('patch'))).toHaveLength(2);
  });

  test('goes back to Released when its ADD fails', async () => {
    const { world, node } = await start({ ranges: ['10.0.0.2'] });
    await using _ = world;
    world.pool('v6', { subnet: 'fd00::/64', ranges: ['fd00::2'] });
    await world.reservation('10.0.0.2', { state: 'Released' });
    await world.reservation('fd00::2', { pool: 'v6' });
    expect((await rejection(add(world, node))).code).toBe(101);
    expect(world.table).toEqual(['10.0.0.2 Released c1', 'fd00::2 Bound c-other']);
  });
});

describe('a held address of the pod', () => {
  const held = (...addresses: string[]): object => ({
    holders: addresses.map((address) => ({ holder: 'Pod/shop/web', address })),
  });
  const pool = { subnet: '10.0.0.0/24', ranges: ['10.0.0.2-10.0.0.9'] };

  test('comes before a dynamic one, the lowest first, and goes back to Held', async () => {
    const { world, node } = await start();
    await using _ = world;
    for (const n of [7, 10])
      await world.reservation(`10.0.0.${n}`, { state: 'Held', holder: 'Pod/shop/web' });
    world.pool('blue', pool, held('10.0.0.10', '10.0.0.7'));
    expect(await add(world, node)).toEqual(['10.0.0.7']);
    expect(world.takeCalls()).toEqual(['patch default.10.0.0.7']);
    expect(await add(world, node, { container: 'c2', ifname: 'net1' })).toEqual(['10.0.0.10']);
    await world.finish(node.parts.attachments.del(world.parsed('DEL')));
    expect(world.table).toEqual(['10.0.0.10 Bound c2', '10.0.0.7 Held -']);
  });

  test.each([
    ['of another subnet', '10.9.0.1'],
    ['of the other family', 'fd00::7'],
    ['that is excluded', '10.0.0.6'],
    ['that is the gateway', '10.0.0.1'],
    ['that is the broadcast address', '10.0.0.255'],
  ])('%s is not given: the pool could not give it to anybody', async (_what, address) => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation(address, { state: 'Held', holder: 'Pod/shop/web' });
    world.pool('blue', { ...pool, gateway: '10.0.0.1', excludes: ['10.0.0.6'] }, held(address));
    expect(await add(world, node)).not.toEqual([address]);
    expect(world.table).toContain(`${address} Held c-other`);
  });

  test('is read from the API where the pool lists not all of them', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation('10.0.0.7', { state: 'Held', holder: 'Pod/shop/web' });
    world.pool('blue', pool, { holdersTruncated: true });
    expect(await add(world, node)).toEqual(['10.0.0.7']);
    expect(world.takeCalls()).toEqual(['list ipreservations', 'patch default.10.0.0.7']);
  });

  test("of a set's pod is known by its controller, not by its name", async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation('10.0.0.7', { state: 'Held', holder: 'StatefulSet/shop/db/2' });
    world.pool('blue', pool, { holders: [{ holder: 'StatefulSet/shop/db/2', address: '10.0.0.7' }] });
    await world.pod('db-2');
    expect(await add(world, node, { pod: 'db-2' })).not.toEqual(['10.0.0.7']);
    const ref = { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'dbx', uid: 'u', controller: true };
    await world.pod('dbx-2', { ownerReferences: [ref] });
    await world.reservation('10.0.0.8', { state: 'Held', holder: 'StatefulSet/shop/dbx/2' });
    world.pool('blue', pool, { holders: [{ holder: 'StatefulSet/shop/dbx/2', address: '10.0.0.8' }] });
    expect(await add(world, node, { pod: 'dbx-2', container: 'c2' })).toEqual(['10.0.0.8']);
  });

  test('that somebody else took is no obstacle', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation('10.0.0.7', { holder: 'Pod/shop/web' });
    world.pool('blue', pool, held('10.0.0.7'));
    expect(await add(world, node)).toHaveLength(1);
    expect(world.reservations).toHaveLength(2);
  });

  test.each([
    ['outside the subnet', '10.9.0.7', {}],
    ['of the other family', 'fd00::7', {}],
    ['excluded', '10.0.0.7', { excludes: ['10.0.0.7'] }],
    ['the gateway', '10.0.0.7', { gateway: '10.0.0.7' }],
  ])('that is %s is not given: no pool gives what it does not have', async (_why, address, spec) => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation(address, { state: 'Held', holder: 'Pod/shop/web' });
    world.pool('blue', { ...pool, allocation: 'Ascending', ...spec }, held(address));
    expect(await add(world, node)).toEqual(['10.0.0.2']);
    expect(world.takeCalls()).toEqual(['create default.10.0.0.2']);
  });

  test('is Held again also by GC', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation('10.0.0.7', { state: 'Held', holder: 'Pod/shop/web' });
    world.pool('blue', pool, held('10.0.0.7'));
    await add(world, node);
    await world.pass(601_000);
    const gc = world.parsed('GC', { config: { 'cni.dev/valid-attachments': [] } });
    await world.finish(node.parts.attachments.gc(gc));
    expect(world.reservations[0]?.spec).toMatchObject({ state: 'Held', holder: 'Pod/shop/web' });
  });

  test('is had from a pool that was just found full', async () => {
    const { world, node } = await start({ ranges: ['10.0.0.2'] });
    await using _ = world;
    await world.reservation('10.0.0.2');
    expect((await rejection(add(world, node))).code).toBe(101);
    await world.reservation('10.0.0.7', { state: 'Held', holder: 'Pod/shop/web' });
    world.pool('blue', { ...pool, ranges: ['10.0.0.2'] }, held('10.0.0.7'));
    node.parts.occupancy.rememberExhausted('blue');
    expect(await add(world, node)).toEqual(['10.0.0.7']);
  });
});

describe('an address asked for by value', () => {
  const ask = (...ips: string[]): CallShape => ({ config: { args: { cni: { ips } } } });

  test('is one create', async () => {
    const { world, node } = await start();
    await using _ = world;
    expect(await add(world, node, ask('10.0.0.200'))).toEqual(['10.0.0.200']);
    expect(world.takeCalls()).toEqual(['create default.10.0.0.200']);
  });

  test('that is bound is 102 and says to whom, and nothing is given instead', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation('10.0.0.200');
    const error = await rejection(add(world, node, ask('10.0.0.100', '10.0.0.200')));
    expect(error).toMatchObject({
      code: 102,
      message:
        'requested address 10.0.0.200 of pool blue is taken: bound to pod shop/other, interface eth0, on node node-9',
    });
    expect(world.table).toEqual(['10.0.0.200 Bound c-other']);
  });

  test.each([
    ['a node', { owner: { kind: 'Node', node: 'n9', containerID: 'c', ifname: 'e' } }, 'bound to node n9'],
    ['a holder', { state: 'Held', holder: 'Pod/shop/db' }, 'held for Pod/shop/db'],
    ['nobody that Berth knows', { state: 'Held' }, 'held for something outside the cluster'],
  ] as const)('that %s has is 102', async (_whose, spec, words) => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation('10.0.0.200', spec);
    const error = await rejection(add(world, node, ask('10.0.0.200')));
    expect(error).toMatchObject({ code: 102, message: expect.stringContaining(words) });
  });

  test("of the pod's own other interface says so, and shows how to ask by interface", async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.pod('two', { annotations: { 'ipam.berth.dev/ips': '10.0.0.200' } });
    await add(world, node, { pod: 'two', ifname: 'net1' });
    const error = await rejection(add(world, node, { pod: 'two', ifname: 'net2' }));
    expect(error.message).toContain('bound to pod shop/two, interface net1, on node node-1');
    expect(error.details).toContain(
      'it holds for every interface; for one alone write {"net2":["10.0.0.200"]}',
    );
  });

  test('that is taken is 102 also while the other family is known to be full, and nothing is written', async () => {
    const { world, node } = await start();
    await using _ = world;
    world.pool('six', { subnet: 'fd00::/64', ranges: ['fd00::1'] });
    await world.reservation('fd00::1', { pool: 'six' });
    await world.reservation('10.0.0.200');
    const shape = { ...ask('10.0.0.200'), ipam: { pools: ['blue', 'six'] } };
    for (const calls of [['create', 'create', 'get', 'list'], ['get']]) {
      world.takeCalls();
      const error = await rejection(add(world, node, shape));
      expect(error.code).toBe(102);
      expect(error.details).toContain('pool six has no free address');
      const verbs = world.takeCalls().map((call) => call.split(' ')[0] ?? '');
      expect(verbs.toSorted((a, b) => a.localeCompare(b))).toEqual(calls);
    }
    const free = { ...ask('10.0.0.100'), ipam: { pools: ['blue', 'six'] } };
    expect((await rejection(add(world, node, free))).code).toBe(101);
    world.before = failing((call) => call.verb === 'get', unreachable);
    expect((await rejection(add(world, node, shape))).code).toBe(101);
  });

  test('that cools down, or is held for this very pod, is taken', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation('10.0.0.200', { state: 'Released' });
    await world.reservation('10.0.0.201', { state: 'Held', holder: 'Pod/shop/web' });
    expect(await add(world, node, ask('10.0.0.200', '10.0.0.201'))).toEqual(['10.0.0.200', '10.0.0.201']);
    expect(world.reservations.map(({ spec }) => spec.holder)).toEqual([undefined, 'Pod/shop/web']);
  });

  test('that this very attachment has already is its own', async () => {
    const { world, node } = await start();
    await using _ = world;
    const uid = world.cachedPods.get('shop/web')?.metadata.uid;
    const owner = {
      kind: 'Pod',
      namespace: 'shop',
      name: 'web',
      node: 'node-1',
      containerID: 'c1',
      ifname: 'eth0',
    } as const;
    await world.reservation('10.0.0.200', { owner: { ...owner, ...(uid !== undefined && { uid }) } });
    expect(await add(world, node, ask('10.0.0.200'))).toEqual(['10.0.0.200']);
  });

  test('for which others race is 102 in the end', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation('10.0.0.200', { state: 'Released' });
    world.before = failing(
      (call) => call.verb === 'patch',
      () => new ApiError('TestFailed', 'first'),
    );
    expect((await rejection(add(world, node, ask('10.0.0.200')))).code).toBe(102);
  });

  test('whose owner can not be looked up is 11', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.reservation('10.0.0.200');
    world.before = failing((call) => call.verb === 'get', unreachable);
    expect((await rejection(add(world, node, ask('10.0.0.200')))).code).toBe(11);
  });
});
