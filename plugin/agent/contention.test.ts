/** Ten agents on one small pool, with an API that takes its time: what the last addresses cost. Counted, not timed. */
import { expect, test } from 'vitest';
import { encodeOccupancy } from '../../crds/occupancy.ts';
import type { IPPool } from '../../crds/types.ts';
import { parseAddress } from '../../ipam/address.ts';
import { AddressBitmap } from '../../ipam/bitmap.ts';
import { compilePool } from '../../ipam/pool.ts';
import { ApiError } from '../../kube/errors.ts';
import { MOST_CONFLICTS } from './claim.ts';
import { CniError } from './errors.ts';
import { aPool, type TestNode, World } from './testing/world.ts';

const NODES = 10;
const ADDRESSES = 100;
const SPEC = { subnet: '10.0.0.0/24', ranges: ['10.0.0.1-10.0.0.100'], cooldown: '30s' } as const;
const COMPILED = compilePool('blue', SPEC);

interface Crowd {
  readonly world: World;
  readonly nodes: readonly TestNode[];
  /** ADD or DEL of one pod each, all at the same time; gives the failures. */
  readonly all: (command: 'ADD' | 'DEL', generation: string) => Promise<CniError[]>;
  /** The same, so many of each node at a time, and a failed one again after a second. */
  readonly inTurn: (atATime: number, command: 'ADD' | 'DEL', generation: string) => Promise<void>;
  /** The pool's status as the operator would write it now. */
  readonly publish: () => void;
}

async function crowd(spec: object = {}): Promise<Crowd> {
  const world = new World(7);
  const full = { ...SPEC, ...spec };
  world.pool('blue', full);
  const nodes = Array.from({ length: NODES }, (_, i) => world.node(`node-${i}`));
  for (const node of nodes) {
    await world.pod(`pod-${node.name}`, { node: node.name });
    await node.parts.sync.compare();
  }
  world.takeCalls();
  world.before = () => world.clock.sleep(1 + Math.floor(world.random.next() * 20));
  const call = async (
    command: 'ADD' | 'DEL',
    i: number,
    generation: string,
  ): Promise<CniError | undefined> => {
    const node = nodes[i % NODES];
    if (node === undefined) throw new Error('no node');
    const pod = `pod-${node.name}`;
    const shape = { pod, container: `c${i}-${generation}`, ifname: `net${i}` };
    try {
      const request = world.parsed(command, shape);
      await (command === 'ADD' ? node.parts.attachments.add(request) : node.parts.attachments.del(request));
      return undefined;
    } catch (error) {
      if (error instanceof CniError) return error;
      throw error;
    }
  };
  return {
    world,
    nodes,
    all: async (command, generation) => {
      const calls = Array.from({ length: ADDRESSES }, (_, i) => call(command, i, generation));
      const failures = await world.finish(Promise.all(calls), 120_000, 5);
      return failures.filter((failure) => failure !== undefined);
    },
    inTurn: async (atATime, command, generation) => {
      const work = async (node: number, worker: number): Promise<void> => {
        for (let i = node + worker * NODES; i < ADDRESSES; i += atATime * NODES) {
          while ((await call(command, i, generation)) !== undefined) await world.clock.sleep(1_000);
        }
      };
      const workers = Array.from({ length: atATime * NODES }, (_, n) =>
        work(n % NODES, Math.floor(n / NODES)),
      );
      await world.finish(Promise.all(workers), 120_000, 5);
    },
    publish: () => {
      const [taken, released] = [new AddressBitmap(), new AddressBitmap()];
      for (const { spec: has } of world.reservations) {
        const { value } = parseAddress(has.address);
        taken.set(value);
        if (has.state === 'Released') released.set(value);
      }
      const occupancy = encodeOccupancy({
        taken: taken.plane(COMPILED.dynamic),
        released: released.plane(COMPILED.dynamic),
        time: world.clock.now(),
      });
      const pool = aPool('blue', { default: true, ...full });
      const published: IPPool = { ...pool, status: { ...pool.status, occupancy } };
      for (const node of nodes) node.parts.pools.set(published);
    },
  };
}

/** How often each verb was called. */
function countCalls(world: World): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { verb } of world.calls.splice(0)) counts[verb] = (counts[verb] ?? 0) + 1;
  return counts;
}

const bound = (world: World): number =>
  new Set(world.reservations.filter(({ spec }) => spec.state === 'Bound').map(({ spec }) => spec.address))
    .size;

test.each(['Random', 'Ascending'] as const)(
  'a hundred ADDs on ten nodes share a hundred addresses (%s), however they collide',
  async (allocation) => {
    const { world, all } = await crowd({ allocation });
    await using _ = world;
    expect(await all('ADD', 'a')).toEqual([]);
    expect(bound(world)).toBe(ADDRESSES);
  },
);

test('with a hint now and then, a 1:1 fill costs at most 1.5 requests an ADD on average', async () => {
  const { world, nodes, publish } = await crowd();
  await using _ = world;
  const waves = Array.from({ length: 10 }, (_, wave) => wave);
  for (const wave of waves) {
    const adds = nodes.map((node, i) =>
      node.parts.attachments.add(
        world.parsed('ADD', { pod: `pod-${node.name}`, container: `c${wave}-${i}`, ifname: `net${wave}` }),
      ),
    );
    await world.finish(Promise.all(adds), 60_000, 5);
    publish();
    await world.pass(1_500);
  }
  expect(bound(world)).toBe(ADDRESSES);
  const { create = 0, list = 0, patch = 0 } = countCalls(world);
  expect(create + list + patch).toBeLessThanOrEqual(1.5 * ADDRESSES);
});

test('a full pool is rebuilt at once, every pod at its first try, from the addresses that rest in the hint', async () => {
  const { world, all, publish } = await crowd();
  await using _ = world;
  expect(await all('ADD', 'old')).toEqual([]);
  expect(await all('DEL', 'old')).toEqual([]);
  expect(bound(world)).toBe(0);
  await world.pass(2_000);
  publish();
  world.calls.splice(0);
  expect(await all('ADD', 'new')).toEqual([]);
  expect(bound(world)).toBe(ADDRESSES);
  const { create = 0, list = 0, patch = 0 } = countCalls(world);
  // Nothing is free, so nothing is created; every address that rests is taken by one patch that has an effect.
  expect(create).toBe(0);
  expect(patch).toBeLessThanOrEqual(4 * ADDRESSES);
  expect(list).toBeLessThanOrEqual(2 * NODES);
});

test('a storm of ADDs on an exhausted pool is one list for each agent, and none within 3 s after it', async () => {
  const { world, all } = await crowd();
  await using _ = world;
  for (let n = 1; n <= ADDRESSES; n += 1) await world.reservation(`10.0.0.${n}`);
  const failures = await all('ADD', 'a');
  expect(failures.map(({ code }) => code)).toEqual(Array.from({ length: ADDRESSES }, () => 101));
  const { create = 0, list = 0 } = countCalls(world);
  expect(list).toBe(NODES);
  // What each agent tried in vain before it listed: every caller at most four times.
  expect(create).toBeLessThanOrEqual(4 * ADDRESSES);
  expect(await all('ADD', 'b')).toHaveLength(ADDRESSES);
  expect(countCalls(world)).toEqual({});
});

test('an ADD tries at most 32 addresses of a pool that others are always faster in, and leaves it to the runtime', async () => {
  const { world, nodes } = await crowd();
  await using _ = world;
  const [node] = nodes;
  world.before = async (call) => {
    if (call.verb !== 'create') return;
    // Somebody else is first, and gone again before anybody lists.
    throw new ApiError('AlreadyExists', 'somebody was first');
  };
  const request = world.parsed('ADD', { pod: 'pod-node-0' });
  const add = node?.parts.attachments.add(request) ?? Promise.reject(new Error('no node'));
  await expect(world.finish(add)).rejects.toMatchObject({
    code: 11,
    message: expect.stringContaining('contended'),
  });
  const { create = 0, list = 0 } = countCalls(world);
  expect({ create, list }).toEqual({ create: MOST_CONFLICTS, list: MOST_CONFLICTS / 4 });
});

test('a full pool whose pods are replaced one after the other costs few more patches than one for each ADD and DEL', async () => {
  const { world, all, inTurn, publish } = await crowd();
  await using _ = world;
  expect(await all('ADD', 'old')).toEqual([]);
  await world.pass(2_000);
  publish();
  world.calls.splice(0);
  await Promise.all([inTurn(3, 'DEL', 'old'), inTurn(3, 'ADD', 'new')]);
  expect(bound(world)).toBe(ADDRESSES);
  // 200 are needed, and more than 280 where every agent goes for the oldest.
  expect(countCalls(world)['patch']).toBeLessThanOrEqual(275);
});
