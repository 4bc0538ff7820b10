import { beforeEach, expect, test } from 'vitest';
import type { ObjectReference } from '../kube/core.ts';
import { FakeClock } from '../kube/testing/fakeclock.ts';
import { failOnLeakedTimers } from '../kube/testing/leaks.ts';
import { type Leak, LeakReports } from './leaks.ts';
import type { Happening } from './report.ts';
import { anOwner, aReservation } from './testing/objects.ts';

failOnLeakedTimers();

let clock: FakeClock;
let reports: LeakReports;
let told: (Happening & Pick<ObjectReference, 'kind' | 'name'>)[];

beforeEach(() => {
  clock = new FakeClock();
  told = [];
  reports = new LeakReports(clock, ({ kind, name }, happening) =>
    told.push({ ...(kind && { kind }), ...(name && { name }), ...happening }),
  );
});

function leak(last: number, more: Partial<Leak> = {}): Leak {
  return { reservation: aReservation(`10.0.0.${last}`), reason: 'PodDeleted', became: 'Released', ...more };
}

test('a few are told one by one, each on its reservation, after a moment', async () => {
  reports.add(leak(1));
  reports.add(leak(2, { reason: 'PodFinished', became: 'free' }));
  expect(told).toEqual([]);
  await clock.advance(5_000);
  expect(told).toEqual([
    {
      kind: 'IPReservation',
      name: 'default.10.0.0.1',
      type: 'Normal',
      reason: 'OrphanReleased',
      message: 'took 10.0.0.1 back from pod shop/web (net1): PodDeleted; it is now Released',
    },
    {
      kind: 'IPReservation',
      name: 'default.10.0.0.2',
      type: 'Normal',
      reason: 'OrphanReleased',
      message: 'took 10.0.0.2 back from pod shop/web (net1): PodFinished; it is now free',
    },
  ]);
});

test('many of one pool are one event on the pool, with their number, reasons and examples', async () => {
  for (let last = 1; last <= 200; last += 1) {
    reports.add(leak(last, { reason: last % 4 === 0 ? 'PodFinished' : 'PodDeleted' }));
  }
  reports.add(leak(9, { reservation: aReservation('10.9.0.9', { pool: 'red' }) }));
  await clock.advance(5_000);
  expect(told.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
    'IPPool blue',
    'IPReservation default.10.9.0.9',
  ]);
  expect(told[0]).toMatchObject({
    message:
      'took 200 addresses back (150 PodDeleted, 50 PodFinished), such as 10.0.0.1 back from pod shop/web (net1), ' +
      '10.0.0.2 back from pod shop/web (net1), 10.0.0.3 back from pod shop/web (net1)',
    series: 'blue',
  });
});

test('owners of kind Node and ended holds are named as what they are', async () => {
  const owner = { kind: 'Node' as const, node: 'node-1' };
  reports.add(leak(1, { reservation: aReservation('10.0.0.1', { owner }), reason: 'OwnerNodeDeleted' }));
  const held = aReservation('10.0.0.2', { state: 'Held', holder: 'Pod/shop/web', owner: anOwner });
  reports.add(leak(2, { reservation: held, reason: 'HolderGone' }));
  reports.flush();
  expect(told.map(({ message }) => message)).toEqual([
    'took 10.0.0.1 back from node node-1 (no interface): OwnerNodeDeleted; it is now Released',
    'took 10.0.0.2 back, held for Pod/shop/web: HolderGone; it is now Released',
  ]);
});

test('what is gathered is told at a stop, and then there is nothing to tell', async () => {
  reports.add(leak(1));
  reports.flush();
  reports.flush();
  await clock.advance(60_000);
  expect(told).toHaveLength(1);
});
