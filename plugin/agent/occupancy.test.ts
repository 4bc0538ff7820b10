import { describe, expect, test } from 'vitest';
import type { Hint } from '../../crds/occupancy.ts';
import { parseAddress } from '../../ipam/address.ts';
import { AddressBitmap } from '../../ipam/bitmap.ts';
import { compilePool } from '../../ipam/pool.ts';
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
  const pool = compilePool('blue', { subnet: '10.0.0.0/24' });
  const first = (): number => 0;
  expect([1, 2, 3].map(() => view.resting.take(pool, first, world.clock.monotonic()))).toEqual([
    parseAddress('10.0.0.5').value,
    parseAddress('10.0.0.4').value,
    undefined,
  ]);
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

describe('a hint', () => {
  const pool = compilePool('blue', { subnet: '10.0.0.0/28' });

  function hint(taken: readonly string[], released: readonly string[], time: number): Hint {
    const plane = (texts: readonly string[]): Uint8Array => {
      const bitmap = new AddressBitmap();
      for (const text of texts) bitmap.set(parseAddress(text).value);
      return bitmap.plane(pool.dynamic);
    };
    return { taken: plane(taken), released: plane(released), time };
  }

  test('says what is taken and what is not, and nothing of other pools', async () => {
    await using world = new World();
    const of = occupancy(world);
    await world.pass(60_000);
    for (const text of ['10.0.0.2', '10.0.1.2']) {
      of.view('default').taken(4).set(parseAddress(text).value);
    }
    of.learn(pool, hint(['10.0.0.3'], [], world.clock.now()));
    expect(['10.0.0.2', '10.0.0.3', '10.0.1.2'].map((text) => isTaken(of, text))).toEqual([
      false,
      true,
      true,
    ]);
  });

  test('is older than what the agent has seen since', async () => {
    await using world = new World();
    const of = occupancy(world);
    of.taken('default', parseAddress('10.0.0.2'));
    of.freed('default', parseAddress('10.0.0.3'));
    await world.pass(10_000);
    const time = world.clock.now();
    await world.pass(10_000);
    of.taken('default', parseAddress('10.0.0.4'));
    of.freed('default', parseAddress('10.0.0.5'));
    of.released('default', parseAddress('10.0.0.6'));
    await world.pass(5_000);
    of.learn(pool, hint(['10.0.0.3', '10.0.0.5'], [], time));
    const addresses = [2, 3, 4, 5, 6].map((n) => `10.0.0.${n}`);
    expect(addresses.map((text) => isTaken(of, text))).toEqual([false, true, true, false, true]);
    expect(of.view('default').resting.take(pool, () => 0, world.clock.monotonic())).toBe(
      parseAddress('10.0.0.6').value,
    );
  });

  test('never unmarks what the agent has, or is about to write', async () => {
    await using world = new World();
    const of = occupancy(world, ['10.0.0.5']);
    of.freed('default', parseAddress('10.0.0.5'));
    of.learn(pool, hint([], [], world.clock.now()));
    expect(isTaken(of, '10.0.0.5')).toBe(true);
  });

  test('that is older than the last list says nothing; a later one does', async () => {
    await using world = new World();
    const of = occupancy(world);
    await world.reservation('10.0.0.2');
    const before = world.clock.now();
    await world.pass(5_000);
    await of.refresh('default');
    await world.pass(1_000);
    of.learn(pool, hint([], ['10.0.0.2'], before));
    expect(isTaken(of, '10.0.0.2')).toBe(true);
    expect(of.view('default').resting.take(pool, () => 0, world.clock.monotonic())).toBeUndefined();
    await world.pass(5_000);
    of.learn(pool, hint([], [], world.clock.now()));
    expect(isTaken(of, '10.0.0.2')).toBe(false);
  });

  test.each([
    ['an hour behind', -3_600_000],
    ['an hour ahead', 3_600_000],
  ])(
    'of an operator whose clock is %s does not undo what was seen a moment ago for long, nor now',
    async (_how, skew) => {
      await using world = new World();
      const of = occupancy(world);
      await world.pass(60_000);
      of.taken('default', parseAddress('10.0.0.2'));
      of.learn(pool, hint([], [], world.clock.now() + skew));
      expect(isTaken(of, '10.0.0.2')).toBe(true);
      await world.pass(31_000);
      of.learn(pool, hint([], [], world.clock.now() + skew));
      expect(isTaken(of, '10.0.0.2')).toBe(false);
    },
  );

  test('that comes again with another status is not learned again', async () => {
    await using world = new World();
    const of = occupancy(world);
    await world.pass(60_000);
    const same = hint(['10.0.0.3'], [], world.clock.now());
    of.learn(pool, same);
    of.freed('default', parseAddress('10.0.0.3'));
    await world.pass(40_000);
    of.learn(pool, same);
    expect(isTaken(of, '10.0.0.3')).toBe(false);
  });

  test('gives each address that rests once, in random order, before those that the agent released itself', async () => {
    await using world = new World();
    const of = occupancy(world);
    await world.pass(60_000);
    const resting = ['10.0.0.3', '10.0.0.7', '10.0.0.9'];
    of.learn(pool, hint(resting, resting, world.clock.now()));
    of.released('default', parseAddress('10.0.0.12'));
    const view = of.view('default');
    const taken = [0.5, 0.5, 0.5, 0.5, 0.5].map((roll) =>
      view.resting.take(pool, () => roll, world.clock.monotonic()),
    );
    const order = ['10.0.0.9', '10.0.0.3', '10.0.0.7', '10.0.0.12'].map((text) => parseAddress(text).value);
    expect(taken).toEqual([...order, undefined]);
  });

  test('of a pool that is gone is forgotten', async () => {
    await using world = new World();
    const of = occupancy(world);
    of.learn(pool, hint(['10.0.0.3'], ['10.0.0.3'], world.clock.now()));
    of.forgetPool('default', 'blue');
    expect(of.view('default').resting.take(pool, () => 0, world.clock.monotonic())).toBeUndefined();
  });
});

test('what the agent saw while a list was under way is newer than the list', async () => {
  await using world = new World();
  await world.reservation('10.0.0.2');
  const of = occupancy(world);
  world.after = () => world.clock.sleep(1_000);
  const list = of.refresh('default');
  await world.pass(500);
  of.freed('default', parseAddress('10.0.0.2'));
  of.taken('default', parseAddress('10.0.0.3'));
  await world.finish(list);
  expect([isTaken(of, '10.0.0.2'), isTaken(of, '10.0.0.3')]).toEqual([false, true]);
});

test('a list that was begun after the question is new enough', async () => {
  await using world = new World();
  const of = occupancy(world);
  await world.pass(10);
  await of.refresh('default');
  await of.refresh('default', world.clock.monotonic() - 5);
  expect(world.takeCalls()).toEqual(['list ipreservations']);
  await of.refresh('default', world.clock.monotonic());
  expect(world.takeCalls()).toEqual(['list ipreservations']);
});
