import { beforeEach, describe, expect, test } from 'vitest';
import { decodeOccupancy, type Hint } from '../crds/occupancy.ts';
import { CONDITION_READY, FINALIZER_IN_USE, ipPools, ipReservations } from '../crds/resources.ts';
import type { Condition, IPPool } from '../crds/types.ts';
import { formatAddress } from '../ipam/address.ts';
import { AddressBitmap } from '../ipam/bitmap.ts';
import { compilePool } from '../ipam/pool.ts';
import type { Outcome } from '../kube/controller.ts';
import { ApiError } from '../kube/errors.ts';
import { silentLog } from '../kube/log.ts';
import type { MemoryCall } from '../kube/memory.ts';
import { type OperatorMetrics, operatorMetrics } from './metrics.ts';
import { PoolCatalog } from './poolcatalog.ts';
import { EMPTY_COUNTS_APART_MS, PoolReconciler } from './poolreconciler.ts';
import { aPool, aReservation } from './testing/objects.ts';
import { World } from './testing/world.ts';
import { UsageIndex } from './usageindex.ts';

let world: World;
let usage: UsageIndex;
let metrics: OperatorMetrics;
let reconciler: PoolReconciler;
let synced: boolean;
let calls: MemoryCall[];

beforeEach(() => {
  world = new World();
  usage = new UsageIndex(() => undefined);
  metrics = operatorMetrics();
  synced = true;
  calls = [];
  world.api.hooks = { before: (call) => void calls.push(call) };
  reconciler = new PoolReconciler({
    ...world.parts(),
    log: silentLog,
    catalog: new PoolCatalog(world.pools),
    usage,
    conflicts: { of: () => [] },
    synced: () => synced,
    dryRun: false,
    metrics,
  });
});

const reconcile = (name = 'blue'): Promise<Outcome> =>
  reconciler.reconcile(name, new AbortController().signal);
const live = (): IPPool | undefined => world.pool('blue');
const condition = (type = CONDITION_READY): Condition | undefined =>
  live()?.status?.conditions?.find((each) => each.type === type);
const writes = (): string[] =>
  calls.map(({ verb, subresource }) => [verb, subresource].filter(Boolean).join(' '));

/** Brings the caches up to date, and the usage with them. */
function sync(): void {
  const before = world.reservations.keys();
  world.sync();
  for (const name of before) {
    if (world.reservations.get(name) === undefined) usage.delete(name);
  }
  for (const { metadata, spec } of world.reservations.list()) usage.put(metadata.name ?? '', spec);
}

/** A pool that has its finalizer and its first status. */
async function readyPool(spec: Parameters<typeof aPool>[1] = {}): Promise<void> {
  await world.create(ipPools, aPool('blue', spec));
  sync();
  await reconcile();
  sync();
  await reconcile();
  sync();
  calls = [];
}

describe('a new pool', () => {
  test('gets the finalizer first, and Ready only when the cache has brought it back', async () => {
    await world.create(ipPools, aPool('blue'));
    sync();
    calls = [];
    await reconcile();
    expect(live()?.metadata.finalizers).toEqual([FINALIZER_IN_USE]);
    expect(live()?.status).toBeUndefined();
    // The cache is still behind: no second patch.
    await reconcile();
    expect(writes()).toEqual(['patch']);
    sync();
    expect(await reconcile()).toEqual({ type: 'done' });
    expect(writes()).toEqual(['patch', 'update status']);
    expect(condition()).toMatchObject({ status: 'True', reason: 'Usable' });
  });

  test("keeps other people's finalizers", async () => {
    const pool = aPool('blue');
    await world.create(ipPools, {
      ...pool,
      metadata: { ...pool.metadata, finalizers: ['example.com/mine'] },
    });
    sync();
    await reconcile();
    expect(live()?.metadata.finalizers).toEqual(['example.com/mine', FINALIZER_IN_USE]);
  });

  test('a finalizer that somebody adds at the same time is not lost', async () => {
    await world.create(ipPools, aPool('blue'));
    sync();
    await world.api.patch(ipPools, { name: 'blue' }, [
      { op: 'add', path: '/metadata/finalizers', value: ['example.com/mine'] },
    ]);
    expect(await reconcile()).toMatchObject({ type: 'requeueAfter' });
    expect(live()?.metadata.finalizers).toEqual(['example.com/mine']);
    sync();
    await reconcile();
    expect(live()?.metadata.finalizers).toEqual(['example.com/mine', FINALIZER_IN_USE]);
  });

  test('of no use is Ready False, and has the finalizer all the same', async () => {
    await readyPool({ subnet: '127.0.0.0/8' });
    expect(condition()).toMatchObject({ status: 'False', reason: 'SubnetNotUnicast' });
    expect(live()?.metadata.finalizers).toEqual([FINALIZER_IN_USE]);
  });

  test('whose spec cannot be compiled is Ready False InvalidSpec', async () => {
    await readyPool({ subnet: '10.0.0.1/24' });
    expect(condition()).toMatchObject({ status: 'False', reason: 'InvalidSpec' });
    expect(condition()?.message).toContain('spec.subnet');
  });

  test('waits until the reservations have been read', async () => {
    await world.create(ipPools, aPool('blue'));
    sync();
    synced = false;
    calls = [];
    expect(await reconcile()).toMatchObject({ type: 'requeueAfter' });
    expect(calls).toEqual([]);
  });
});

describe('the hint', () => {
  const hint = (): Hint | undefined => {
    const pool = live();
    return pool && decodeOccupancy(pool.status?.occupancy, compilePool('blue', pool.spec).dynamic);
  };
  const addresses = (plane: Uint8Array | undefined): string[] => {
    const { dynamic } = compilePool('blue', live()?.spec ?? { subnet: '10.0.0.0/24' });
    const bitmap = new AddressBitmap();
    bitmap.setPlane(dynamic, plane ?? new Uint8Array());
    return Array.from({ length: Number(dynamic.size) }, (_, i) => dynamic.at(BigInt(i)))
      .filter((value) => bitmap.has(value))
      .map((value) => formatAddress({ family: 4, value }));
  };
  const eight = { subnet: '10.0.0.0/28', ranges: ['10.0.0.1-10.0.0.8'] };
  const take = async (...last: number[]): Promise<void> => {
    for (const n of last) await world.create(ipReservations, aReservation(`10.0.0.${n}`));
    sync();
  };

  test('comes with half of the addresses, says which are taken in the network and which rest, and when', async () => {
    await readyPool(eight);
    await take(1, 2);
    await world.create(ipReservations, aReservation('10.0.0.3', { pool: 'green', state: 'Released' }));
    await world.create(ipReservations, aReservation('10.0.0.4', { network: 'other' }));
    await world.create(ipReservations, aReservation('10.0.0.9'));
    sync();
    await world.clock.advance(60_000);
    await reconcile();
    expect(hint()).toBeUndefined();
    await take(7);
    await world.clock.advance(60_000);
    await reconcile();
    expect(addresses(hint()?.taken)).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.7']);
    expect(addresses(hint()?.released)).toEqual(['10.0.0.3']);
    expect(hint()?.time).toBe(world.clock.now());
    sync();
    await reconcile();
    await world.clock.advance(2_000);
    expect(await metrics.registry.metrics()).toMatch(/^berth_pool_hint_age_seconds\{pool="blue"\} \d/m);
  });

  test('is written at once with the half, then when something has changed, each a while after the one before', async () => {
    await readyPool(eight);
    await world.clock.advance(5_000);
    await take(1, 2, 3, 4);
    await reconcile();
    expect(writes()).toContain('update status');
    sync();
    calls = [];
    await world.clock.advance(60_000);
    expect(await reconcile()).toEqual({ type: 'done' });
    await take(5);
    await reconcile();
    expect(addresses(hint()?.taken)).toHaveLength(5);
    await take(6);
    const outcome = await reconcile();
    expect(outcome).toMatchObject({ type: 'requeueAfter' });
    expect(outcome.type === 'requeueAfter' && outcome.ms).toBeGreaterThanOrEqual(1_000);
    expect(writes().filter((write) => write === 'update status')).toHaveLength(1);
  });

  test('follows a reservation that only changes its state', async () => {
    await readyPool(eight);
    await take(1, 2, 3, 4);
    await world.clock.advance(60_000);
    await reconcile();
    sync();
    await world.api.patch(ipReservations, { name: 'default.10.0.0.2' }, [
      { op: 'replace', path: '/spec/state', value: 'Released' },
    ]);
    sync();
    await world.clock.advance(60_000);
    await reconcile();
    expect(addresses(hint()?.released)).toEqual(['10.0.0.2']);
  });

  test('goes when less than half is taken', async () => {
    await readyPool(eight);
    await take(1, 2, 3, 4);
    await world.clock.advance(60_000);
    await reconcile();
    expect(hint()).toBeDefined();
    await world.api.delete(ipReservations, { name: 'default.10.0.0.1' });
    sync();
    await world.clock.advance(60_000);
    await reconcile();
    expect(live()?.status?.occupancy).toBeUndefined();
    expect(live()?.status?.bound).toBe('3');
  });

  test('is of the ranges of the generation that the status is about', async () => {
    await readyPool(eight);
    await take(1, 2, 3, 4, 9);
    await world.clock.advance(60_000);
    await reconcile();
    await world.api.patch(ipPools, { name: 'blue' }, [
      { op: 'replace', path: '/spec/ranges', value: ['10.0.0.4-10.0.0.11'] },
    ]);
    sync();
    await reconcile();
    expect(live()?.status?.occupancy).toBeUndefined();
    await take(5, 6);
    await world.clock.advance(60_000);
    await reconcile();
    expect(addresses(hint()?.taken)).toEqual(['10.0.0.4', '10.0.0.5', '10.0.0.6', '10.0.0.9']);
  });
});

describe('status', () => {
  test('nothing is written when nothing has changed', async () => {
    await readyPool();
    expect(await reconcile()).toEqual({ type: 'done' });
    await world.clock.advance(600_000);
    expect(await reconcile()).toEqual({ type: 'done' });
    expect(calls).toEqual([]);
  });

  test('counts alone wait until 5 s after the last write', async () => {
    await readyPool();
    await world.clock.advance(2_000);
    await world.create(ipReservations, aReservation('10.0.0.9'));
    sync();
    calls = [];
    expect(await reconcile()).toEqual({ type: 'requeueAfter', ms: 3_000 });
    expect(calls).toEqual([]);
    await world.clock.advance(3_000);
    await reconcile();
    expect(live()?.status).toMatchObject({ bound: '1', free: '253' });
  });

  test('a condition waits at most 1 s', async () => {
    await readyPool();
    await world.create(ipReservations, aReservation('10.9.9.9'));
    sync();
    expect(await reconcile()).toEqual({ type: 'requeueAfter', ms: 1_000 });
    await world.clock.advance(1_000);
    await reconcile();
    expect(condition('Drained')).toMatchObject({ status: 'False' });
  });

  test('a new spec is observed at once', async () => {
    await readyPool();
    const pool = live();
    await world.api.patch(ipPools, { name: 'blue' }, [
      { op: 'add', path: '/spec/ranges', value: ['10.0.0.8/29'] },
    ]);
    sync();
    await reconcile();
    expect(live()?.status).toMatchObject({ observedGeneration: 2, capacity: '8', free: '8' });
    expect(pool?.status?.observedGeneration).toBe(1);
  });

  test('shrunk ranges count anew, and what is outside is told', async () => {
    await readyPool();
    await world.create(ipReservations, aReservation('10.0.0.9'));
    await world.create(ipReservations, aReservation('10.0.0.99'));
    await world.api.patch(ipPools, { name: 'blue' }, [
      { op: 'add', path: '/spec/ranges', value: ['10.0.0.8/29'] },
    ]);
    sync();
    await reconcile();
    expect(live()?.status).toMatchObject({ bound: '2', capacity: '8', free: '7' });
    expect(condition('Drained')?.message).toMatch(/^1 reservation outside/);
  });

  test('a pod on the gateway is a conflict, a person who keeps it is none', async () => {
    await readyPool({ gateway: '10.0.0.1' });
    await world.create(
      ipReservations,
      aReservation('10.0.0.1', { state: 'Held', owner: { kind: 'External' } }),
    );
    sync();
    await world.clock.advance(5_000);
    await reconcile();
    expect(condition('Conflict')).toMatchObject({ status: 'False' });
    await world.api.patch(ipReservations, { name: 'default.10.0.0.1' }, [
      { op: 'replace', path: '/spec', value: aReservation('10.0.0.1').spec },
    ]);
    sync();
    await world.clock.advance(5_000);
    await reconcile();
    expect(condition('Conflict')).toMatchObject({ status: 'True', reason: 'GatewayInUse' });
  });

  test('a write that meets a newer object is done again from the newer one', async () => {
    await readyPool();
    await world.api.patch(ipPools, { name: 'blue' }, [{ op: 'add', path: '/spec/disabled', value: true }]);
    sync();
    await world.api.patch(ipPools, { name: 'blue' }, [
      { op: 'add', path: '/metadata/labels', value: { a: 'b' } },
    ]);
    expect(await reconcile()).toMatchObject({ type: 'requeueAfter' });
    expect(condition()?.reason).toBe('Usable');
    sync();
    await reconcile();
    expect(condition()?.reason).toBe('Disabled');
    expect(live()?.metadata.labels).toEqual({ a: 'b' });
  });

  test('any other failure is thrown, to be tried again', async () => {
    await world.create(ipPools, aPool('blue'));
    sync();
    world.api.hooks = {
      before: () => {
        throw new ApiError('Unreachable', 'nobody there');
      },
    };
    await expect(reconcile()).rejects.toThrow('nobody there');
  });

  test('the metric follows at once and goes with the pool', async () => {
    await readyPool();
    await world.create(ipReservations, aReservation('10.0.0.9'));
    sync();
    await reconcile();
    expect(await metrics.registry.metrics()).toContain('berth_pool_addresses{pool="blue",state="bound"} 1');
    world.pools.delete('blue');
    await reconcile();
    expect(await metrics.registry.metrics()).not.toContain('pool="blue"');
  });
});

describe('a deleted pool', () => {
  const NAME = 'default.10.0.0.9';

  async function deletedPool(used: boolean): Promise<void> {
    await readyPool();
    if (used) await world.create(ipReservations, aReservation('10.0.0.9'));
    await world.api.delete(ipPools, { name: 'blue' });
    sync();
    calls = [];
  }

  test('is Terminating at once and stays while a reservation is left', async () => {
    await deletedPool(true);
    await reconcile();
    expect(condition()).toMatchObject({ status: 'False', reason: 'Terminating' });
    expect(condition()?.message).toContain('1 reservation left');
    await world.clock.advance(EMPTY_COUNTS_APART_MS * 10);
    sync();
    await reconcile();
    expect(live()).toBeDefined();
  });

  test('goes after two empty counts at least 10 s apart, and not sooner', async () => {
    await deletedPool(false);
    expect(await reconcile()).toEqual({ type: 'requeueAfter', ms: EMPTY_COUNTS_APART_MS });
    sync();
    await world.clock.advance(EMPTY_COUNTS_APART_MS - 1);
    expect(await reconcile()).toEqual({ type: 'requeueAfter', ms: 1 });
    expect(live()).toBeDefined();
    await world.clock.advance(1);
    expect(await reconcile()).toEqual({ type: 'done' });
    expect(live()).toBeUndefined();
  });

  test('a reservation that the cache has not seen keeps it, and the counting begins anew', async () => {
    await deletedPool(false);
    await reconcile();
    sync();
    await world.clock.advance(EMPTY_COUNTS_APART_MS);
    await world.create(ipReservations, aReservation('10.0.0.9'));
    expect(await reconcile()).toMatchObject({ type: 'requeueAfter' });
    expect(live()).toBeDefined();
    await world.api.delete(ipReservations, { name: NAME });
    await world.clock.advance(1_000);
    expect(await reconcile()).toEqual({ type: 'requeueAfter', ms: EMPTY_COUNTS_APART_MS });
  });

  test('one that comes and goes between the counts begins the counting anew', async () => {
    await deletedPool(false);
    await reconcile();
    await world.create(ipReservations, aReservation('10.0.0.9'));
    sync();
    await reconcile();
    await world.api.delete(ipReservations, { name: NAME });
    sync();
    await world.clock.advance(EMPTY_COUNTS_APART_MS);
    expect(await reconcile()).toEqual({ type: 'requeueAfter', ms: EMPTY_COUNTS_APART_MS });
  });

  test("other pools' reservations do not keep it", async () => {
    await deletedPool(false);
    await world.create(ipReservations, aReservation('10.0.0.9', { pool: 'green' }));
    sync();
    await reconcile();
    sync();
    await world.clock.advance(EMPTY_COUNTS_APART_MS);
    await reconcile();
    expect(live()).toBeUndefined();
  });

  test('of which somebody else keeps a finalizer loses only ours', async () => {
    const pool = aPool('blue');
    await world.create(ipPools, {
      ...pool,
      metadata: { ...pool.metadata, finalizers: ['example.com/mine'] },
    });
    sync();
    await reconcile();
    await world.api.delete(ipPools, { name: 'blue' });
    sync();
    await reconcile();
    sync();
    await world.clock.advance(EMPTY_COUNTS_APART_MS);
    await reconcile();
    expect(live()?.metadata.finalizers).toEqual(['example.com/mine']);
  });

  test('and one of the same name that comes after it is a new pool', async () => {
    await deletedPool(false);
    await reconcile();
    sync();
    await world.clock.advance(EMPTY_COUNTS_APART_MS);
    await reconcile();
    await readyPool({ subnet: '10.5.0.0/24' });
    expect(condition()).toMatchObject({ status: 'True' });
    await world.api.delete(ipPools, { name: 'blue' });
    sync();
    expect(await reconcile()).toEqual({ type: 'requeueAfter', ms: EMPTY_COUNTS_APART_MS });
  });
});

test('the status of a pool that a restore has set back to the version that was last replaced is written again', async () => {
  await world.create(ipPools, aPool('blue'));
  sync();
  await reconcile();
  sync();
  await reconcile();
  sync();
  const snapshot = world.api.snapshot();
  await world.create(ipReservations, aReservation('10.0.0.9'));
  sync();
  await world.clock.advance(10_000);
  await reconcile();
  expect(live()?.status?.bound).toBe('1');
  world.api.restore(snapshot);
  await world.create(ipReservations, aReservation('10.0.0.9'));
  sync();
  expect(live()?.status?.bound).toBe('0');
  await world.clock.advance(10_000);
  await reconcile();
  expect(live()?.status?.bound).toBe('1');
});
