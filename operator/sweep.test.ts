import { beforeEach, expect, test } from 'vitest';
import { ipReservations } from '../crds/resources.ts';
import type { Outcome } from '../kube/controller.ts';
import { silentLog } from '../kube/log.ts';
import { RateLimiter } from '../kube/ratelimiter.ts';
import { operatorMetrics } from './metrics.ts';
import { SweepReconciler } from './sweep.ts';
import { anOwner, aReservation } from './testing/objects.ts';
import { World } from './testing/world.ts';

const NAME = 'default.10.0.0.9';
const COOLDOWN_MS = 30_000;

let world: World;
let cooldownMs: number;
let synced: boolean;

beforeEach(() => {
  world = new World();
  cooldownMs = COOLDOWN_MS;
  synced = true;
});

function sweeper(dryRun = false): SweepReconciler {
  return new SweepReconciler({
    ...world.parts(),
    log: silentLog,
    cooldownOf: () => cooldownMs,
    synced: () => synced,
    limiter: new RateLimiter({ clock: world.clock, perSecond: 100, burst: 10 }),
    dryRun,
    metrics: operatorMetrics(),
  });
}

async function released(since = '2026-01-01T00:00:00Z'): Promise<void> {
  await world.create(ipReservations, aReservation('10.0.0.9', { state: 'Released', since }));
  world.sync();
}

function reconcile(sweep: SweepReconciler): Promise<Outcome> {
  return sweep.reconcile(NAME, new AbortController().signal);
}

/** What the watch would bring. */
function observe(sweep: SweepReconciler): boolean {
  const reservation = world.reservations.get(NAME);
  return reservation !== undefined && sweep.observe(reservation);
}

test('a released address is free when its cooldown is over, and not sooner', async () => {
  await released();
  const sweep = sweeper();
  expect(observe(sweep)).toBe(true);
  await world.clock.advance(COOLDOWN_MS - 1);
  expect(await reconcile(sweep)).toEqual({ type: 'requeueAfter', ms: 1 });
  expect(world.reservation(NAME)).toBeDefined();
  await world.clock.advance(1);
  expect(await reconcile(sweep)).toEqual({ type: 'done' });
  expect(world.reservation(NAME)).toBeUndefined();
});

test.each(['2000-01-01T00:00:00Z', '2099-01-01T00:00:00Z', 'nonsense'])(
  'the time that the node wrote does not count: %s',
  async (since) => {
    await released(since);
    const sweep = sweeper();
    expect(await reconcile(sweep)).toEqual({ type: 'requeueAfter', ms: COOLDOWN_MS });
  },
);

test('without a cooldown, as of a pool that is gone, it is free at once', async () => {
  cooldownMs = 0;
  await released();
  expect(await reconcile(sweeper())).toEqual({ type: 'done' });
  expect(world.reservation(NAME)).toBeUndefined();
});

test('a cooldown that was shortened counts from when the address was released', async () => {
  await released();
  const sweep = sweeper();
  await reconcile(sweep);
  await world.clock.advance(5_000);
  cooldownMs = 6_000;
  expect(await reconcile(sweep)).toEqual({ type: 'requeueAfter', ms: 1_000 });
});

test('an address that was taken in the meantime is not deleted, though the cache says Released', async () => {
  await released();
  const sweep = sweeper();
  await reconcile(sweep);
  await world.clock.advance(COOLDOWN_MS);
  await world.api.patch(ipReservations, { name: NAME }, [
    { op: 'replace', path: '/spec/state', value: 'Bound' },
  ]);
  expect(await reconcile(sweep)).toEqual({ type: 'done' });
  expect(world.reservation(NAME)?.spec.state).toBe('Bound');
});

test('one that was taken and released again rests anew', async () => {
  await released();
  const sweep = sweeper();
  observe(sweep);
  await world.clock.advance(COOLDOWN_MS - 1);
  const again = { ...anOwner, containerID: 'container-2' };
  await world.api.patch(ipReservations, { name: NAME }, [
    { op: 'replace', path: '/spec/owner', value: again },
  ]);
  world.sync();
  observe(sweep);
  expect(await reconcile(sweep)).toEqual({ type: 'requeueAfter', ms: COOLDOWN_MS });
});

test('a label that somebody sets does not start the cooldown anew', async () => {
  await released();
  const sweep = sweeper();
  observe(sweep);
  await world.clock.advance(COOLDOWN_MS - 1);
  await world.api.patch(ipReservations, { name: NAME }, [
    { op: 'add', path: '/metadata/labels', value: { seen: 'yes' } },
  ]);
  world.sync();
  observe(sweep);
  expect(await reconcile(sweep)).toEqual({ type: 'requeueAfter', ms: 1 });
});

test('Bound and Held ones are not its business', async () => {
  await world.create(ipReservations, aReservation('10.0.0.9'));
  world.sync();
  const sweep = sweeper();
  expect(observe(sweep)).toBe(false);
  expect(await reconcile(sweep)).toEqual({ type: 'done' });
  expect(world.reservation(NAME)).toBeDefined();
});

test('one that is gone already is done', async () => {
  cooldownMs = 0;
  await released();
  await world.api.delete(ipReservations, { name: NAME });
  expect(await reconcile(sweeper())).toEqual({ type: 'done' });
});

test('a pool that has not been read yet is no pool that is gone', async () => {
  cooldownMs = 0;
  synced = false;
  await released();
  expect(await reconcile(sweeper())).toMatchObject({ type: 'requeueAfter' });
  expect(world.reservation(NAME)).toBeDefined();
});

test('a dry run deletes nothing', async () => {
  cooldownMs = 0;
  await released();
  expect(await reconcile(sweeper(true))).toEqual({ type: 'done' });
  expect(world.reservation(NAME)).toBeDefined();
});
