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

const V6 = 'fd00-0000-0000-0000-0000-0000-0000-0001';

const add = (world: World, node: TestNode, shape: CallShape = {}): Promise<string[]> =>
  world.finish(
    node.parts.attachments
      .add(world.parsed('ADD', shape))
      .then((result) => result.ips.map((ip) => ip.address)),
  );

/** A dual-stack attachment of sandbox c1. */
async function start(): Promise<{ world: World; node: TestNode; old: string[] }> {
  const world = new World();
  world.pool('v4', { subnet: '10.0.0.0/29', gateway: '10.0.0.1', allocation: 'Ascending' });
  world.pool('v6', { subnet: 'fd00::/125', allocation: 'Ascending' });
  const node = world.node();
  await world.pod('web');
  await node.parts.sync.compare();
  node.work();
  const old = await add(world, node);
  world.takeCalls();
  return { world, node, old };
}

const keys = (node: TestNode): string[] => [...node.journal.state.attachments.keys()];

describe('a restarted sandbox', () => {
  test('keeps its addresses with one guarded write each and no read, also in a closed pool', async () => {
    const { world, node, old } = await start();
    await using _ = world;
    world.pool('v4', { subnet: '10.0.0.0/29', disabled: true });
    expect(await add(world, node, { container: 'c2' })).toEqual(old);
    expect(world.takeCalls()).toEqual(['patch default.10.0.0.2', `patch default.${V6}`]);
    expect(world.table).toEqual(['10.0.0.2 Bound c2', 'fd00::1 Bound c2']);
    expect(keys(node)).toEqual(['c2/eth0']);
    node.restart();
    expect(keys(node)).toEqual(['c2/eth0']);
  });

  test('is not disturbed by the late DEL of the old one, and has its own', async () => {
    const { world, node } = await start();
    await using _ = world;
    await add(world, node, { container: 'c2' });
    world.takeCalls();
    await world.finish(node.parts.attachments.del(world.parsed('DEL')));
    expect(world.takeCalls()).toEqual([]);
    await world.finish(node.parts.attachments.del(world.parsed('DEL', { container: 'c2' })));
    expect(world.table).toEqual([]);
  });

  test('is not robbed by an ADD of an older sandbox that was under way when it was set up', async () => {
    const { world, node } = await start();
    await using _ = world;
    const uid = world.cachedPods.get('shop/web')?.metadata.uid;
    world.cachedPods.clear();
    let looks = 0;
    world.before = async ({ verb }) => {
      looks += 1;
      if (verb === 'get' && looks === 1) await world.clock.sleep(3_000);
    };
    const slow = rejection(add(world, node, { container: 'c2', uid }));
    const addresses = await add(world, node, { container: 'c3', uid });
    expect(await slow).toMatchObject({ code: 11 });
    expect(addresses).toHaveLength(2);
    expect(world.table).toEqual(['10.0.0.2 Bound c3', 'fd00::1 Bound c3']);
    expect(keys(node)).toEqual(['c3/eth0']);
  });

  test('has the addresses also where the ADD of a sandbox in between is taking them over at that moment', async () => {
    const { world, node, old } = await start();
    await using _ = world;
    let writes = 0;
    world.before = async (call) => {
      if (isWrite(call) && (writes += 1) <= 2) await world.clock.sleep(3_000);
    };
    const between = add(world, node, { container: 'c2' });
    expect(await add(world, node, { container: 'c3' })).toEqual(old);
    await between;
    await world.pass(1_000);
    expect(world.table).toEqual(['10.0.0.2 Bound c3', 'fd00::1 Bound c3']);
    expect(keys(node)).toEqual(['c3/eth0']);
  });

  test('is not robbed by an older one that waited for it to get the addresses', async () => {
    const { world, node, old } = await start();
    await using _ = world;
    const uid = world.cachedPods.get('shop/web')?.metadata.uid;
    world.cachedPods.clear();
    let looks = 0;
    world.before = async (call) => {
      if (call.verb === 'get' && (looks += 1) === 1) await world.clock.sleep(2_000);
      if (isWrite(call)) await world.clock.sleep(5_000);
    };
    const older = rejection(add(world, node, { container: 'c2', uid }));
    expect(await add(world, node, { container: 'c3', uid })).toEqual(old);
    expect(await older).toMatchObject({ code: 11, message: expect.stringContaining('newer sandbox') });
    await world.pass(1_000);
    expect(world.table).toEqual(['10.0.0.2 Bound c3', 'fd00::1 Bound c3']);
    expect(keys(node)).toEqual(['c3/eth0']);
  });

  test('has nothing of what another pod of the node was given meanwhile, whatever a restored API server says', async () => {
    const { world, node } = await start();
    await using _ = world;
    const [had] = node.journal.state.attachments.values();
    if (had === undefined) throw new Error('c1 is there');
    // The operator took one address back, as the pod was gone; then the API server was restored to before.
    const owner = { ...had.owner, name: 'other', uid: 'u-other', containerID: 'c9' };
    node.journal.append({
      t: 'bound',
      attachment: { owner, claims: had.claims.slice(0, 1), addedAt: had.addedAt },
    });
    expect(await add(world, node, { container: 'c2' })).not.toContain('10.0.0.2/29');
    expect(world.table).toContain('10.0.0.2 Bound c1');
    expect(world.table).not.toContain('fd00::1 Bound c1');
    expect(keys(node)).toEqual(['c9/eth0', 'c2/eth0']);
  });

  test('is not accompanied by an older one whose ADD wrote its addresses at the same time', async () => {
    const world = new World();
    await using _ = world;
    world.pool('v4', { subnet: '10.0.0.0/29', allocation: 'Ascending' });
    const node = world.node();
    await world.pod('web');
    node.work();
    world.before = async ({ object }) => {
      if (JSON.stringify({ object }).includes('"containerID":"c1"')) await world.clock.sleep(3_000);
    };
    const slow = rejection(add(world, node));
    const [address = ''] = await add(world, node, { container: 'c2' });
    expect(await slow).toMatchObject({ code: 11, message: expect.stringContaining('newer sandbox') });
    await world.pass(1_000);
    expect(world.table).toEqual([`${address.replace('/29', '')} Bound c2`]);
    expect(keys(node)).toEqual(['c2/eth0']);
  });

  test('ends every earlier sandbox of its interface, not only the one whose addresses it gets', async () => {
    const world = new World();
    await using _ = world;
    world.pool('v4', { subnet: '10.0.0.0/29' });
    const node = world.node();
    const uid = (await world.pod('web')).metadata.uid ?? '';
    const owner = {
      kind: 'Pod' as const,
      namespace: 'shop',
      name: 'web',
      uid,
      node: 'node-1',
      ifname: 'eth0',
    };
    for (const [address, containerID, since] of [
      ['10.0.0.2', 'c1', '2026-01-01T00:00:00Z'],
      ['10.0.0.3', 'c2', '2026-01-01T00:00:05Z'],
    ] as const) {
      const bound = { ...owner, containerID, cniNetwork: 'net' };
      await world.reservation(address, { pool: 'v4', owner: bound, since });
    }
    // The journal is new: both are adopted.
    await world.finish(node.parts.sync.compare());
    expect(keys(node)).toEqual(['c1/eth0', 'c2/eth0']);
    node.work();
    expect(await add(world, node, { container: 'c3' })).toEqual(['10.0.0.3/29']);
    await world.pass(1_000);
    expect(world.table).toEqual(['10.0.0.3 Bound c3']);
    expect(keys(node)).toEqual(['c3/eth0']);
  });

  test('of another interface, another network or another pod is a new attachment', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.pod('other');
    await add(world, node, { container: 'c2', ifname: 'net1' });
    await add(world, node, { container: 'c3', name: 'other' });
    await add(world, node, { container: 'c4', pod: 'other' });
    expect(keys(node)).toHaveLength(4);
  });

  test('that lost one address to somebody else gets new ones, and the rest is given back', async () => {
    const { world, node } = await start();
    await using _ = world;
    await world.direct(() => world.api.delete(ipReservations, { name: 'default.10.0.0.2' }));
    await world.reservation('10.0.0.2');
    expect(await add(world, node, { container: 'c2' })).not.toContain('10.0.0.2/29');
    expect(world.reservations.filter(({ spec }) => spec.owner?.containerID === 'c2')).toHaveLength(2);
    expect(world.reservations).toHaveLength(3);
    expect(keys(node)).toEqual(['c2/eth0']);
  });

  test('while the API is away is 11 and changes nothing: the next try keeps the addresses', async () => {
    const { world, node, old } = await start();
    await using _ = world;
    world.before = failing(isWrite, unreachable);
    expect((await rejection(add(world, node, { container: 'c2' }))).code).toBe(11);
    expect(keys(node)).toEqual(['c1/eth0']);
    world.before = undefined;
    expect(await add(world, node, { container: 'c3' })).toEqual(old);
    expect(world.table).toEqual(['10.0.0.2 Bound c3', 'fd00::1 Bound c3']);
  });

  test('whose answer gets lost finds out that it was done', async () => {
    const { world, node, old } = await start();
    await using _ = world;
    world.after = failing(isWrite, outcomeUnknown, 2);
    expect(await add(world, node, { container: 'c2' })).toEqual(old);
    await world.pass(100_000);
    expect(world.table).toEqual(['10.0.0.2 Bound c2', 'fd00::1 Bound c2']);
    expect(node.journal.state.intents.size).toBe(0);
  });

  test('that fails half way goes back to the old one, from which the next sandbox has the same', async () => {
    const { world, node, old } = await start();
    await using _ = world;
    world.before = failing(
      (call) => call.target.endsWith(V6) && isWrite(call),
      () => new ApiError('Forbidden', 'no'),
    );
    expect((await rejection(add(world, node, { container: 'c2' }))).code).toBe(11);
    expect(world.table).toEqual(['10.0.0.2 Bound c1', 'fd00::1 Bound c1']);
    expect([keys(node), node.journal.state.intents.size]).toEqual([['c1/eth0'], 0]);
    world.before = undefined;
    expect(await add(world, node, { container: 'c3' })).toEqual(old);
    expect(world.table).toEqual(['10.0.0.2 Bound c3', 'fd00::1 Bound c3']);
  });

  test('whose undo has no answer is 11 to the same sandbox, and no matter to the next one', async () => {
    const { world, node, old } = await start();
    await using _ = world;
    world.before = failing(
      (call) => call.target.endsWith(V6) && isWrite(call),
      () => new ApiError('Forbidden', 'no'),
    );
    // The second write of the other address is the undo.
    let writes = 0;
    world.after = (call) => {
      if (call.target.endsWith('10.0.0.2') && isWrite(call) && (writes += 1) === 2) throw outcomeUnknown();
    };
    expect((await rejection(add(world, node, { container: 'c2' }))).code).toBe(11);
    world.before = undefined;
    world.after = undefined;
    const again = await rejection(add(world, node, { container: 'c2' }));
    expect(again.message).toContain('still being given back by an earlier try');
    expect(await add(world, node, { container: 'c3' })).toEqual(old);
    await world.pass(120_000);
    expect(world.table).toEqual(['10.0.0.2 Bound c3', 'fd00::1 Bound c3']);
    expect(node.journal.state.intents.size).toBe(0);
  });

  test('whose undo comes after the DEL of the old one leaves nothing behind', async () => {
    const { world, node } = await start();
    await using _ = world;
    let writes = 0;
    world.before = async (call) => {
      if (!isWrite(call)) return;
      if (call.target.endsWith(V6)) throw new ApiError('Forbidden', 'no');
      if ((writes += 1) === 2) await world.clock.sleep(30_000);
    };
    const adding = rejection(add(world, node, { container: 'c2' }));
    await world.pass(6_000);
    expect((await adding).code).toBe(11);
    world.before = undefined;
    await world.finish(node.parts.attachments.del(world.parsed('DEL')));
    await world.pass(120_000);
    expect(world.table).toEqual([]);
    expect(node.journal.state.intents.size).toBe(0);
  });

  test('that the journal can not take leaves nothing behind after its DEL', async () => {
    const { world, node } = await start();
    await using _ = world;
    node.onAppend = (record) => {
      if (record.t === 'bound') throw new Error('ENOSPC');
    };
    await expect(add(world, node, { container: 'c2' })).rejects.toThrow('ENOSPC');
    node.onAppend = undefined;
    await world.finish(node.parts.attachments.del(world.parsed('DEL')));
    await world.pass(120_000);
    expect(world.table).toEqual([]);
    expect(node.journal.state.attachments.size).toBe(0);
  });
});

describe('an agent killed between the writes and the record of a rebind', () => {
  /** The next agent has compared, unless the test does that. */
  async function killed(isCompared = true): Promise<{ world: World; node: TestNode; old: string[] }> {
    const started = await start();
    const { world, node } = started;
    node.onAppend = (record) => {
      if (record.t !== 'bound') return;
      node.kill();
      throw new Error('killed');
    };
    const call = node.parts.attachments.add(world.parsed('ADD', { container: 'c2' }));
    call.catch(() => undefined);
    await world.pass(1_000);
    expect(world.table).toEqual(['10.0.0.2 Bound c2', 'fd00::1 Bound c2']);
    node.onAppend = undefined;
    node.start();
    expect(keys(node)).toEqual(['c1/eth0']);
    if (isCompared) await node.parts.sync.compare();
    return started;
  }

  test('reports no conflict with the pod itself', async () => {
    const { world, node } = await killed();
    await using _ = world;
    expect(world.lines.filter((line) => line.level === 'error')).toEqual([]);
    expect(world.table).toEqual(['10.0.0.2 Bound c2', 'fd00::1 Bound c2']);
    expect(await node.metrics.registry.metrics()).toContain('berth_address_conflicts_total 0');
  });

  test('is no restored API server to the next one, where the pod is gone by then', async () => {
    const { world, node } = await killed(false);
    await using _ = world;
    await world.direct(() => world.api.delete(pods, { namespace: 'shop', name: 'web' }));
    world.cachedPods.clear();
    await world.finish(node.parts.sync.compare({ isFirst: true }));
    expect(world.lines.filter(({ message }) => message.includes('restored'))).toEqual([]);
  });

  test('writes nothing again for a pod that is deleted by then, and whose addresses the operator took back', async () => {
    const { world, node } = await killed();
    await using _ = world;
    const [pod] = world.api.objects(pods);
    if (pod === undefined) throw new Error('the pod is there');
    await world.direct(() => world.api.delete(pods, { namespace: 'shop', name: 'web' }));
    node.parts.ended.deleted(pod);
    for (const name of ['default.10.0.0.2', `default.${V6}`]) {
      await world.direct(() => world.api.delete(ipReservations, { name }));
    }
    await node.parts.sync.compare();
    expect(world.table).toEqual([]);
    expect(node.journal.state.attachments.size).toBe(0);
  });

  test('finishes it when the ADD comes again', async () => {
    const { world, node, old } = await killed();
    await using _ = world;
    expect(await add(world, node, { container: 'c2' })).toEqual(old);
    node.work();
    await world.pass(120_000);
    expect(world.table).toEqual(['10.0.0.2 Bound c2', 'fd00::1 Bound c2']);
    expect(keys(node)).toEqual(['c2/eth0']);
  });

  test('gives the next sandbox the same addresses, whether or not the interrupted one is undone by then', async () => {
    for (const wait of [0, 120_000]) {
      const { world, node, old } = await killed();
      await using _ = world;
      node.work();
      await world.pass(wait);
      expect(world.table[0]).toBe(wait === 0 ? '10.0.0.2 Bound c2' : '10.0.0.2 Bound c1');
      expect(await add(world, node, { container: 'c3' })).toEqual(old);
      await world.pass(120_000);
      expect(world.table).toEqual(['10.0.0.2 Bound c3', 'fd00::1 Bound c3']);
      expect(keys(node)).toEqual(['c3/eth0']);
      expect(node.journal.state.intents.size).toBe(0);
    }
  });

  test('is 11 while nobody can say which of the sandboxes has them', async () => {
    const { world, node } = await killed();
    await using _ = world;
    world.before = failing((call) => call.verb === 'get', unreachable);
    expect((await rejection(add(world, node, { container: 'c3' }))).code).toBe(11);
    expect(keys(node)).toEqual(['c1/eth0']);
  });

  test('gives the addresses back when DELs come instead', async () => {
    const { world, node } = await killed();
    await using _ = world;
    node.work();
    for (const container of ['c2', 'c1']) {
      await world.finish(node.parts.attachments.del(world.parsed('DEL', { container })));
    }
    await world.pass(120_000);
    expect(world.table).toEqual([]);
  });
});
