import { beforeEach, describe, expect, test } from 'vitest';
import { Audit } from './audit.ts';
import { operatorMetrics } from './metrics.ts';
import { PoolCatalog } from './poolcatalog.ts';
import { anOwner, aPod, aPool, aReservation } from './testing/objects.ts';
import { World } from './testing/world.ts';

let world: World;
let told: string[];
let audit: Audit;
let synced: boolean;
let findings: () => Promise<Record<string, number>>;

beforeEach(() => {
  world = new World();
  world.pools.set(aPool('blue'));
  told = [];
  synced = true;
  const metrics = operatorMetrics();
  findings = async () => {
    const { values } = await metrics.auditFindings.get();
    const counts: Record<string, number> = {};
    for (const { labels, value } of values) {
      if (value !== 0) counts[String(labels.kind)] = value;
    }
    return counts;
  };
  audit = new Audit({
    catalog: new PoolCatalog(world.pools),
    pods: world.pods,
    synced: () => synced,
    metrics,
    report: (_about, { type, reason, message }) => told.push(`${type} ${reason}: ${message}`),
  });
});

describe('the pool', () => {
  test('an address outside the subnet of its pool is told once and counted', async () => {
    audit.check(aReservation('10.9.9.9'));
    audit.check(aReservation('10.9.9.9'));
    expect(told).toEqual([
      'Warning PoolMismatch: address 10.9.9.9 is not in subnet 10.0.0.0/24 of its pool blue',
    ]);
    expect(await findings()).toEqual({ PoolMismatch: 1 });
  });

  test('a reservation of another network than its pool is told', () => {
    audit.check(aReservation('10.0.0.9', { network: 'other' }));
    expect(told).toEqual([
      'Warning PoolMismatch: the reservation is of network other, its pool blue of network default',
    ]);
  });

  test('a pool that does not exist is told, until it does', async () => {
    audit.check(aReservation('10.9.9.9', { pool: 'unknown' }));
    expect(told).toEqual(['Warning PoolMissing: there is no pool unknown, which the reservation names']);
    expect(await findings()).toEqual({ PoolMissing: 1 });
    world.pools.set(aPool('unknown', { subnet: '10.9.9.0/24' }));
    audit.check(aReservation('10.9.9.9', { pool: 'unknown' }));
    expect(await findings()).toEqual({});
  });

  test('an address in the subnet is no finding, whatever its state', async () => {
    audit.check(aReservation('10.0.0.9'));
    audit.check(aReservation('10.0.0.10', { state: 'Released' }));
    expect(told).toEqual([]);
    expect(await findings()).toEqual({});
  });
});

describe('the owner', () => {
  test('an owner whose UID is that of a pod of another name is told and counted', async () => {
    world.pods.set(aPod({ name: 'thief' }));
    audit.check(aReservation('10.0.0.9', { holder: 'Pod/shop/web' }));
    expect(told).toEqual([
      'Warning OwnerMismatch: the owner on node node-1 is named shop/web, but the pod with its UID uid-1 is shop/thief',
    ]);
    expect(await findings()).toEqual({ OwnerMismatch: 1 });
  });

  test('the right pod is no finding, nor a static one, nor one that is not there: it is an orphan', async () => {
    world.pods.set(aPod());
    world.pods.set(aPod({ name: 'static', uid: 'uid-2', mirror: 'hash' }));
    audit.check(aReservation('10.0.0.9'));
    audit.check(aReservation('10.0.0.10', { owner: { ...anOwner, name: 'static', uid: 'hash' } }));
    audit.check(aReservation('10.0.0.11', { owner: { ...anOwner, name: 'gone', uid: 'uid-3' } }));
    expect(told).toEqual([]);
    expect(await findings()).toEqual({});
  });

  test('the last owner of what is given back, and a node, are no finding', async () => {
    world.pods.set(aPod({ name: 'thief' }));
    audit.check(aReservation('10.0.0.9', { state: 'Released' }));
    audit.check(aReservation('10.0.0.10', { owner: { kind: 'Node', node: 'node-1' } }));
    expect(await findings()).toEqual({});
  });
});

test('both may be wrong, and each is counted', async () => {
  world.pods.set(aPod({ name: 'thief' }));
  audit.check(aReservation('10.9.9.9'));
  audit.check(aReservation('10.9.9.8'));
  expect(await findings()).toEqual({ PoolMismatch: 2, OwnerMismatch: 2 });
});

test('one that is gone is not counted, and is told again when it was made again', async () => {
  audit.check(aReservation('10.9.9.9'));
  audit.forget('default.10.9.9.9');
  audit.forget('default.10.9.9.9');
  expect(await findings()).toEqual({});
  audit.check(aReservation('10.9.9.9'));
  expect(told).toHaveLength(2);
  expect(await findings()).toEqual({ PoolMismatch: 1 });
});

test('nothing is judged before pools and pods have been read', async () => {
  synced = false;
  audit.check(aReservation('10.9.9.9', { pool: 'unknown' }));
  expect(told).toEqual([]);
  expect(await findings()).toEqual({});
});
