import { describe, expect, test } from 'vitest';
import { ipReservations } from '../../crds/resources.ts';
import type { IPReservation } from '../../crds/types.ts';
import { bindNew } from '../../ipam/reservation.ts';
import { ApiError } from '../../kube/errors.ts';
import { type AddContext, Settler } from './settle.ts';
import type { Intent } from './state.ts';
import { rejection } from './testing/refusal.ts';
import { failing, isWrite, outcomeUnknown, throttled, unreachable, World } from './testing/world.ts';

const intent: Intent = {
  name: 'default.10.0.0.2',
  network: 'default',
  address: '10.0.0.2',
  pool: 'blue',
  origin: 'created',
  owner: {
    kind: 'Pod',
    namespace: 'shop',
    name: 'web',
    uid: 'u1',
    node: 'n',
    containerID: 'c1',
    ifname: 'eth0',
  },
};

interface Run {
  readonly context: AddContext;
  readonly result: Promise<IPReservation | undefined>;
}

interface Shape {
  readonly deadline?: number;
  readonly doubts?: readonly string[];
  readonly origin?: Intent['origin'];
}

function write(world: World, { deadline = 20_000, doubts = [], origin = 'created' }: Shape = {}): Run {
  const { api, clock } = world;
  const settler = new Settler({ api, clock, random: () => 0.5 });
  const context: AddContext = { deadline, doubts: new Set(doubts) };
  const spec = bindNew({
    network: 'default',
    address: { family: 4, value: 0x0a000002n },
    pool: 'blue',
    owner: intent.owner,
    now: clock.now(),
  });
  const result = settler.write({ ...intent, origin }, context, (timeoutMs) =>
    api.create(ipReservations, { metadata: { name: intent.name }, spec }, { timeoutMs }),
  );
  return { context, result: world.finish(result) };
}

const creates = (world: World): number =>
  world.takeCalls().filter((call) => call.startsWith('create')).length;

test('an answer at once is one write, no read and no doubt', async () => {
  await using world = new World();
  const { context, result } = write(world);
  expect(await result).toMatchObject({ metadata: { name: intent.name } });
  expect(world.takeCalls()).toEqual([`create ${intent.name}`]);
  expect(context.doubts.size).toBe(0);
});

test("somebody else's is one write and no read", async () => {
  await using world = new World();
  await world.reservation('10.0.0.2');
  const { result } = write(world);
  expect(await result).toBeUndefined();
  expect(world.takeCalls()).toEqual([`create ${intent.name}`]);
});

describe('after an unknown outcome the same name is written again', () => {
  test('until 201; the doubt stays, for the first write may commit after a release', async () => {
    await using world = new World();
    world.before = failing(isWrite, outcomeUnknown, 3);
    const { context, result } = write(world);
    expect(await result).toBeDefined();
    expect(creates(world)).toBe(4);
    expect([...context.doubts]).toEqual([intent.name]);
  });

  test('until 409, and it is its own', async () => {
    await using world = new World();
    world.after = failing(isWrite, outcomeUnknown, 1);
    const { context, result } = write(world);
    expect((await result)?.spec.owner).toEqual(intent.owner);
    expect(world.takeCalls()).toEqual([
      `create ${intent.name}`,
      `create ${intent.name}`,
      `get ${intent.name}`,
    ]);
    expect([...context.doubts]).toEqual([intent.name]);
  });

  test("until 409, and it is somebody else's: the doubt stays", async () => {
    await using world = new World();
    await world.reservation('10.0.0.2');
    world.before = failing(isWrite, outcomeUnknown, 1);
    const { context, result } = write(world);
    expect(await result).toBeUndefined();
    expect([...context.doubts]).toEqual([intent.name]);
  });

  test('also when it was taken at the write and free at the look', async () => {
    await using world = new World();
    await world.reservation('10.0.0.2');
    let looks = 0;
    let sent = 0;
    world.before = async (call) => {
      if (call.verb === 'create' && sent++ === 0) throw outcomeUnknown();
      if (call.verb === 'get') {
        looks += 1;
        await world.direct(() => world.api.delete(ipReservations, { name: intent.name }));
      }
    };
    const { result } = write(world);
    expect((await result)?.spec.owner).toEqual(intent.owner);
    expect(looks).toBe(1);
  });

  test('a doubt of an earlier ADD counts as one', async () => {
    await using world = new World();
    await world.reservation('10.0.0.2', { owner: { ...intent.owner } });
    const { result } = write(world, { doubts: [intent.name] });
    expect((await result)?.spec.owner).toEqual(intent.owner);
  });

  test('a take that finds the reservation gone has lost', async () => {
    await using world = new World();
    await world.reservation('10.0.0.2');
    world.before = async (call) => {
      if (call.verb === 'get')
        await world.direct(() => world.api.delete(ipReservations, { name: intent.name }));
    };
    const { result } = write(world, { doubts: [intent.name], origin: 'released' });
    expect(await result).toBeUndefined();
  });

  test('a look that is not answered is tried again as well', async () => {
    await using world = new World();
    world.after = failing(isWrite, outcomeUnknown, 1);
    world.before = failing((call) => call.verb === 'get', unreachable, 2);
    expect(await write(world).result).toBeDefined();
  });
});

describe('giving up', () => {
  test('an unknown outcome until the deadline is 11, and stays in doubt', async () => {
    await using world = new World();
    world.before = failing(isWrite, outcomeUnknown);
    const { context, result } = write(world);
    expect(await rejection(result)).toMatchObject({
      code: 11,
      message: expect.stringContaining('10.0.0.2 of pool blue'),
    });
    expect([...context.doubts]).toEqual([intent.name]);
    expect(world.clock.monotonic()).toBeGreaterThan(15_000);
    expect(world.clock.monotonic()).toBeLessThanOrEqual(20_050);
  });

  test('a server that can not be reached is waited for 5 s, without a doubt', async () => {
    await using world = new World();
    world.before = failing(isWrite, unreachable);
    const { context, result } = write(world);
    expect((await rejection(result)).code).toBe(11);
    expect(context.doubts.size).toBe(0);
    expect(world.clock.monotonic()).toBeGreaterThan(2_000);
    expect(world.clock.monotonic()).toBeLessThanOrEqual(5_050);
  });

  test('a server that comes back within that is answered', async () => {
    await using world = new World();
    world.before = failing(isWrite, unreachable, 3);
    expect(await write(world).result).toBeDefined();
  });

  test('a server that throttles is waited for as long as it says, up to the deadline', async () => {
    await using world = new World();
    world.before = failing(isWrite, () => throttled(3_000), 2);
    expect(await write(world).result).toBeDefined();
    expect(world.clock.monotonic()).toBeGreaterThanOrEqual(6_000);
    world.before = failing(isWrite, () => throttled(60_000));
    await world.direct(() => world.api.delete(ipReservations, { name: intent.name }));
    const start = world.clock.monotonic();
    const { context, result } = write(world, { deadline: start + 20_000 });
    expect((await rejection(result)).code).toBe(11);
    expect(world.clock.monotonic()).toBeLessThanOrEqual(start + 100);
    expect(context.doubts.size).toBe(0);
  });

  test('after the deadline nothing is sent', async () => {
    await using world = new World();
    expect((await rejection(write(world, { deadline: 0 }).result)).code).toBe(11);
    expect(world.takeCalls()).toEqual([]);
  });

  test.each(['Forbidden', 'Invalid', 'Unexpected'] as const)(
    '%s is 11 at once and says where to look',
    async (kind) => {
      await using world = new World();
      world.before = failing(isWrite, () => new ApiError(kind, 'the policy says no'));
      const { result } = write(world);
      const error = await rejection(result);
      expect(error).toMatchObject({ code: 11, message: expect.stringContaining('the policy says no') });
      expect(error.details).toContain('RBAC');
      expect(creates(world)).toBe(1);
    },
  );

  test('a fault of our own is not hidden, and leaves a doubt', async () => {
    await using world = new World();
    world.before = () => {
      throw new TypeError('a bug');
    };
    const { context, result } = write(world);
    await expect(result).rejects.toThrow(TypeError);
    expect(context.doubts.size).toBe(1);
  });
});
