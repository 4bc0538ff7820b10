import { describe, expect, test } from 'vitest';
import { ipReservations } from '../../crds/resources.ts';
import type { IPReservation } from '../../crds/types.ts';
import { formatSince } from '../../ipam/reservation.ts';
import { ApiError } from '../../kube/errors.ts';
import { SURPLUS_AGE_MS } from './leftovers.ts';
import { add, endPod, forgetJournal, startOneNode } from './testing/onenode.ts';
import { failing, type TestNode, unreachable, type World } from './testing/world.ts';

const NAME = 'default.10.0.0.2';
/** What `leftOver` makes. */
const LEFT = '10.0.0.5 Bound c7';

/** A reservation of this node's pod web that no journal knows. @param ahead of the time, in milliseconds */
function ofNode(world: World, container: string, address = '10.0.0.2', ahead = 0): Promise<IPReservation> {
  const uid = world.cachedPods.get('shop/web')?.metadata.uid ?? '';
  return world.reservation(address, {
    pool: 'v4',
    since: formatSince(world.clock.now() + ahead),
    owner: {
      kind: 'Pod',
      namespace: 'shop',
      name: 'web',
      uid,
      node: 'node-1',
      containerID: container,
      ifname: 'eth0',
      cniNetwork: 'net',
    },
  });
}

const leftOver = (world: World, ahead = 0): Promise<IPReservation> => ofNode(world, 'c7', '10.0.0.5', ahead);

describe('a reservation that no attachment has', () => {
  test('is adopted if the journal is new; ADD then answers it, DEL gives it back', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    await add(world, node, 'c1', 'net1');
    await endPod(world);
    forgetJournal(node);
    await node.parts.sync.compare();
    world.takeCalls();
    const again = await node.parts.attachments.add(world.parsed('ADD'));
    expect(again.ips).toEqual([{ family: 4, address: '10.0.0.2/29', gateway: '10.0.0.1' }]);
    expect(world.takeCalls()).toEqual([]);
    await world.finish(node.parts.attachments.del(world.parsed('DEL')));
    expect(world.table).toEqual(['10.0.0.3 Bound c1']);
  });

  test('is adopted also after a crash in the middle of the first comparison', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await add(world, node);
    await add(world, node, 'c1', 'net1');
    await endPod(world);
    await world.pass(SURPLUS_AGE_MS * 2);
    forgetJournal(node);
    world.before = failing((call) => call.target.endsWith('10.0.0.3'), unreachable, 1);
    await expect(node.parts.sync.compare()).rejects.toThrow(ApiError);
    expect(node.journal.state.attachments.size).toBe(1);
    node.restart();
    await node.parts.sync.compare();
    expect(node.journal.state.attachments.size).toBe(2);
    expect(node.journal.state.isComplete).toBe(true);
  });

  test('is adopted whole: a dual-stack attachment is one again', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    world.pool('v6', { subnet: 'fd00::/125', allocation: 'Ascending' });
    const { ips } = await world.finish(node.parts.attachments.add(world.parsed('ADD')));
    forgetJournal(node);
    await node.parts.sync.compare();
    expect((await node.parts.attachments.add(world.parsed('ADD'))).ips).toEqual(ips);
  });

  test('is adopted if its pod is here without another sandbox, and a new sandbox rebinds it', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await ofNode(world, 'c7');
    await node.parts.sync.compare();
    expect([...node.journal.state.attachments.keys()]).toEqual(['c7/eth0']);
    await add(world, node, 'c8');
    expect(world.table).toEqual(['10.0.0.2 Bound c8']);
  });

  test.each([
    ['its pod is gone', endPod],
    [
      'its pod is here with another sandbox',
      async (world: World, node: TestNode) => void (await add(world, node, 'c8')),
    ],
  ])('is released once it is older than 10 minutes if %s', async (_what, change) => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await change(world, node);
    await leftOver(world);
    await world.pass(SURPLUS_AGE_MS - 1_000);
    await node.parts.sync.compare();
    expect(world.table).toContain(LEFT);
    await world.pass(1_000);
    await node.parts.sync.compare();
    expect(world.table).not.toContain(LEFT);
  });

  describe('and is too young', () => {
    /** Found by a comparison, while its pod has another sandbox. */
    async function found(age: number, ahead = 0): Promise<{ world: World; node: TestNode }> {
      const { world, node } = await startOneNode();
      await add(world, node, 'c8');
      await leftOver(world, ahead);
      await world.pass(age);
      node.work();
      await node.parts.sync.compare();
      world.takeCalls();
      return { world, node };
    }

    test('is released when it is 10 minutes old, without another comparison', async () => {
      const { world } = await found(60_000);
      await using _ = world;
      await world.pass(SURPLUS_AGE_MS - 60_000 - 1);
      expect(world.table).toContain(LEFT);
      expect(world.takeCalls()).toEqual([]);
      await world.pass(1);
      expect(world.table).toEqual(['10.0.0.2 Bound c8']);
      expect(world.takeCalls()).toEqual(['get default.10.0.0.5', 'delete default.10.0.0.5']);
    });

    test('is released 10 minutes after it was seen, if the clock that wrote its time was ahead', async () => {
      const { world, node } = await found(0, 3 * SURPLUS_AGE_MS);
      await using _ = world;
      await world.pass(SURPLUS_AGE_MS / 2);
      await node.parts.sync.compare();
      await world.pass(SURPLUS_AGE_MS / 2 - 1);
      expect(world.table).toContain(LEFT);
      await world.pass(1);
      expect(world.table).toEqual(['10.0.0.2 Bound c8']);
    });

    test('is released when the API server is there again, if it was away at that time', async () => {
      const { world } = await found(0);
      await using _ = world;
      world.before = failing(() => true, unreachable);
      await world.pass(SURPLUS_AGE_MS + 60_000);
      world.before = failing((call) => call.verb === 'delete', unreachable, 1);
      await world.pass(60_000);
      expect(world.table).toEqual(['10.0.0.2 Bound c8']);
    });

    test('is adopted at that time, if its pod has no other sandbox by then', async () => {
      const { world, node } = await found(0);
      await using _ = world;
      await world.finish(node.parts.attachments.del(world.parsed('DEL', { container: 'c8' })));
      await world.pass(SURPLUS_AGE_MS);
      expect(world.table).toEqual([LEFT]);
      expect([...node.journal.state.attachments.keys()]).toEqual(['c7/eth0']);
    });

    test('and was released and bound again begins anew', async () => {
      const { world } = await found(60_000);
      await using _ = world;
      await world.direct(() => world.api.delete(ipReservations, { name: 'default.10.0.0.5' }));
      await leftOver(world);
      await world.pass(SURPLUS_AGE_MS - 1);
      expect(world.table).toContain(LEFT);
      await world.pass(1);
      expect(world.table).toEqual(['10.0.0.2 Bound c8']);
    });
  });

  test('but an ADD in flight or a doubt has, is left alone', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    const { owner } = (await ofNode(world, 'c7')).spec;
    if (owner?.node === undefined || owner.containerID === undefined || owner.ifname === undefined)
      throw new Error('the reservation has an attachment');
    const { node: on, containerID, ifname } = owner;
    node.journal.append({
      t: 'intent',
      intent: {
        name: NAME,
        network: 'default',
        address: '10.0.0.2',
        pool: 'v4',
        origin: 'created',
        owner: { ...owner, node: on, containerID, ifname },
      },
    });
    await world.pass(SURPLUS_AGE_MS * 2);
    world.takeCalls();
    await node.parts.sync.compare();
    expect(world.takeCalls()).toEqual(['list ipreservations']);
  });

  test('and no attachment can have (made by a person) is left alone', async () => {
    const { world, node } = await startOneNode();
    await using _ = world;
    await world.reservation('10.0.0.2', { owner: { kind: 'Node', node: 'node-1' } });
    await world.pass(SURPLUS_AGE_MS * 2);
    await node.parts.sync.compare();
    expect(world.reservations).toHaveLength(1);
    expect(node.journal.state.attachments.size).toBe(0);
  });
});
