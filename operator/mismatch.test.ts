import { beforeEach, expect, test } from 'vitest';
import { MismatchReporter } from './mismatch.ts';
import { PoolCatalog } from './poolcatalog.ts';
import { aPool, aReservation } from './testing/objects.ts';
import { World } from './testing/world.ts';

let told: string[];
let reporter: MismatchReporter;

beforeEach(() => {
  const world = new World();
  world.pools.set(aPool('blue'));
  told = [];
  reporter = new MismatchReporter(new PoolCatalog(world.pools), (_about, { reason, message }) =>
    told.push(`${reason}: ${message}`),
  );
});

test('an address outside the subnet of its pool is reported once', () => {
  reporter.check(aReservation('10.9.9.9'));
  reporter.check(aReservation('10.9.9.9'));
  expect(told).toEqual(['PoolMismatch: address 10.9.9.9 is not in subnet 10.0.0.0/24 of its pool blue']);
});

test('a reservation of another network than its pool is reported', () => {
  reporter.check(aReservation('10.0.0.9', { network: 'other' }));
  expect(told).toEqual([
    'PoolMismatch: the reservation is of network other, its pool blue of network default',
  ]);
});

test('an address in the subnet is not reported, nor one whose pool is unknown', () => {
  reporter.check(aReservation('10.0.0.9'));
  reporter.check(aReservation('10.9.9.9', { pool: 'unknown' }));
  expect(told).toEqual([]);
});

test('one that was deleted and made again is reported again', () => {
  reporter.check(aReservation('10.9.9.9'));
  reporter.forget('default.10.9.9.9');
  reporter.check(aReservation('10.9.9.9'));
  expect(told).toHaveLength(2);
});
