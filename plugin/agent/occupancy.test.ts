import { expect, test } from 'vitest';
import { parseAddress } from '../../ipam/address.ts';
import { EXHAUSTED_FOR_MS, Occupancy } from './occupancy.ts';
import { failing, unreachable, World } from './testing/world.ts';

function occupancy(world: World, own: readonly string[] = []): Occupancy {
  return new Occupancy({ api: world.api, clock: world.clock, own: () => own });
}

const isTaken = (of: Occupancy, address: string): boolean => {
  const { family, value } = parseAddress(address);
  return of.view('default').taken(family).has(value);
};

test('one list serves every caller that waits for it', async () => {
  await using world = new World();
  await world.reservation('10.0.0.2');
  const of = occupancy(world);
  await Promise.all([of.refresh('default'), of.refresh('default'), of.refresh('default')]);
  expect(world.takeCalls()).toEqual(['list ipreservations']);
  expect(isTaken(of, '10.0.0.2')).toBe(true);
  await of.refresh('default');
  expect(world.takeCalls()).toHaveLength(1);
});

test('a list that fails fails for all that wait, leaves the belief as it was, and the next one is asked anew', async () => {
  await using world = new World();
  await world.reservation('10.0.0.2');
  const of = occupancy(world);
  await of.refresh('default');
  world.before = failing(() => true, unreachable, 1);
  const results = await Promise.allSettled([of.refresh('default'), of.refresh('default')]);
  expect(results.map((r) => r.status)).toEqual(['rejected', 'rejected']);
  expect(isTaken(of, '10.0.0.2')).toBe(true);
  await of.refresh('default');
});

test('what the agent itself has or is about to write is taken, whatever a list says', async () => {
  await using world = new World();
  const of = occupancy(world, ['10.0.0.5', 'fd00::5']);
  expect(isTaken(of, '10.0.0.5')).toBe(true);
  await of.refresh('default');
  expect([isTaken(of, '10.0.0.5'), isTaken(of, 'fd00::5')]).toEqual([true, true]);
});

test('counts are by pool and state; released addresses come oldest first', async () => {
  await using world = new World();
  await world.reservation('10.0.0.2');
  await world.reservation('10.0.0.3', { state: 'Held', holder: 'Pod/shop/a' });
  await world.reservation('10.0.0.4', { state: 'Released', since: '2026-01-01T00:00:09Z' });
  await world.reservation('10.0.0.5', { state: 'Released', since: '2026-01-01T00:00:01Z', pool: 'red' });
  await world.reservation('10.0.0.6', { network: 'other' });
  const of = occupancy(world);
  await of.refresh('default');
  const view = of.view('default');
  expect(view.counts('blue')).toEqual({ bound: 1, held: 1, released: 1 });
  expect(view.counts('red')).toEqual({ bound: 0, held: 0, released: 1 });
  expect(view.released[4].map((r) => r.name)).toEqual(['default.10.0.0.5', 'default.10.0.0.4']);
  expect(isTaken(of, '10.0.0.6')).toBe(false);
});

test('a list takes away what is gone', async () => {
  await using world = new World();
  const of = occupancy(world);
  const { family, value } = parseAddress('10.0.0.9');
  of.view('default').taken(family).set(value);
  await of.refresh('default');
  expect(isTaken(of, '10.0.0.9')).toBe(false);
});

test('the held ones of a holder are read by its name', async () => {
  await using world = new World();
  await world.reservation('10.0.0.3', { state: 'Held', holder: 'Pod/shop/a' });
  await world.reservation('10.0.0.4', { holder: 'Pod/shop/a' });
  await world.reservation('10.0.0.5', { state: 'Held', holder: 'Pod/shop/b' });
  const rows = await occupancy(world).heldFor('Pod/shop/a');
  expect(rows.map((row) => row.address)).toEqual(['10.0.0.3']);
});

test('exhausted is remembered for 3 s, and forgotten when something is given back', async () => {
  await using world = new World();
  const of = occupancy(world);
  of.rememberExhausted('blue');
  expect(of.isExhausted('blue')).toBe(true);
  expect(of.isExhausted('red')).toBe(false);
  await world.pass(EXHAUSTED_FOR_MS - 1);
  expect(of.isExhausted('blue')).toBe(true);
  await world.pass(1);
  expect(of.isExhausted('blue')).toBe(false);
  of.rememberExhausted('blue');
  of.forgetExhausted('blue');
  expect(of.isExhausted('blue')).toBe(false);
  expect(EXHAUSTED_FOR_MS).toBe(3000);
});
