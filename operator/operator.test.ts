/** What wakes which reconciler; what they do then is tested beside each of them. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ipPools, ipReservations } from '../crds/resources.ts';
import type { KubeObject, Resource } from '../kube/api.ts';
import { events, nodes, type Pod, pods } from '../kube/core.ts';
import { ApiError } from '../kube/errors.ts';
import { silentLog } from '../kube/log.ts';
import { settle } from '../kube/testing/fakeclock.ts';
import { type OperatorMetrics, operatorMetrics } from './metrics.ts';
import { Operator } from './operator.ts';
import { aNode, anOwner, aPod, aPool, aReservation } from './testing/objects.ts';
import { World } from './testing/world.ts';

const GRACE_MS = 60_000;
const SCAN_MS = 3_600_000;
const NAME = 'default.10.0.0.9';

let world: World;
let stop: AbortController;
let running: Promise<void> | undefined;

beforeEach(() => {
  world = new World();
  stop = new AbortController();
});

afterEach(async () => {
  stop.abort();
  await running;
  running = undefined;
});

function start(metrics: OperatorMetrics = operatorMetrics()): Operator {
  const operator = new Operator({
    api: world.api,
    clock: world.clock,
    random: () => 0,
    log: silentLog,
    metrics,
    report: () => undefined,
    orphanGraceMs: GRACE_MS,
    scanIntervalMs: SCAN_MS,
    dryRun: false,
  });
  running = operator.run(stop.signal);
  return operator;
}

const create = <T extends KubeObject>(resource: Resource<T>, object: T): Promise<T> =>
  world.create(resource, object);
const pass = (ms: number): Promise<void> => world.clock.advance(ms);
const state = (): string | undefined => world.reservation(NAME)?.spec.state;

/** As `pass`, with the bookmarks by which the API server keeps watches from being renewed. */
async function passWithBookmarks(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 30_000) {
    world.api.bookmark();
    await pass(30_000);
  }
}

/** A pool, a node, a running pod and its address, while the operator runs and has seen them. */
async function running1(): Promise<Pod> {
  await create(ipPools, aPool('blue'));
  await create(nodes, aNode());
  const pod = await create(pods, aPod());
  await create(
    ipReservations,
    aReservation('10.0.0.9', { owner: { ...anOwner, uid: pod.metadata.uid ?? '' } }),
  );
  start();
  await pass(10_000);
  expect(world.pool('blue')?.status).toMatchObject({ bound: '1' });
  return pod;
}

const deletePod = (): Promise<void> => world.api.delete(pods, { namespace: 'shop', name: 'web' });

describe('without waiting for a scan', () => {
  test('a deleted pod gives its address back after the grace, and it is free after the cooldown', async () => {
    await running1();
    await deletePod();
    await pass(GRACE_MS - 1);
    expect(state()).toBe('Bound');
    await pass(1);
    expect(state()).toBe('Released');
    await pass(30_000);
    expect(state()).toBeUndefined();
    await pass(5_000);
    expect(world.pool('blue')?.status).toMatchObject({ bound: '0', released: '0', free: '254' });
  });

  test('so does one that finishes', async () => {
    const pod = await running1();
    await world.api.update(pods, { ...pod, status: { phase: 'Succeeded' } }, { subresource: 'status' });
    await pass(GRACE_MS);
    expect(state()).toBe('Released');
  });

  test('so does a Terminating one when its node is deleted', async () => {
    await running1();
    await world.api.patch(pods, { namespace: 'shop', name: 'web' }, [
      { op: 'add', path: '/metadata/finalizers', value: ['example.com/slow'] },
    ]);
    await deletePod();
    await pass(GRACE_MS * 2);
    expect(state()).toBe('Bound');
    await world.api.delete(nodes, { name: 'node-1' });
    await pass(GRACE_MS);
    expect(state()).toBe('Released');
  });

  test('a reservation that appears after its pod is gone is found', async () => {
    start();
    await pass(1_000);
    await create(ipReservations, aReservation('10.0.0.9'));
    await pass(GRACE_MS);
    // There is no such pool, and so no cooldown.
    expect(state()).toBeUndefined();
  });

  test('a deleted pool lets its last address go and then goes itself', async () => {
    await running1();
    await world.api.delete(ipPools, { name: 'blue' });
    await deletePod();
    await pass(GRACE_MS);
    expect(state()).toBe('Released');
    expect(world.pool('blue')).toBeDefined();
    await pass(30_000 + 11_000);
    expect(state()).toBeUndefined();
    expect(world.pool('blue')).toBeUndefined();
  });

  test('a shorter cooldown applies to what is resting already', async () => {
    await create(ipPools, aPool('blue', { cooldown: '24h' }));
    await create(ipReservations, aReservation('10.0.0.9', { state: 'Released' }));
    start();
    await pass(60_000);
    expect(state()).toBe('Released');
    await world.api.patch(ipPools, { name: 'blue' }, [
      { op: 'replace', path: '/spec/cooldown', value: '1s' },
    ]);
    await pass(0);
    expect(state()).toBeUndefined();
  });
});

test('what was wrong before the operator started is found, and ends with its pool or with itself', async () => {
  const metrics = operatorMetrics();
  const findings = async (): Promise<string[]> =>
    (await metrics.auditFindings.get()).values
      .filter(({ value }) => value > 0)
      .map(({ labels, value }) => `${labels.kind} ${value}`);
  const keptFor = { state: 'Held', holder: 'Pod/shop/vip' } as const;
  await create(ipReservations, aReservation('10.0.0.9', keptFor));
  await create(ipReservations, aReservation('10.9.9.9', { ...keptFor, pool: 'red' }));
  start(metrics);
  await pass(1_000);
  expect(await findings()).toEqual(['PoolMissing 2']);
  await create(ipPools, aPool('blue'));
  await create(ipPools, aPool('red', { subnet: '10.1.0.0/24' }));
  await pass(1_000);
  expect(await findings()).toEqual(['PoolMismatch 1']);
  await world.api.delete(ipReservations, { name: 'default.10.9.9.9' });
  await pass(1_000);
  expect(await findings()).toEqual([]);
});

test('what was an orphan before the operator started is found when it starts', async () => {
  await create(ipReservations, aReservation('10.0.0.9'));
  start();
  await pass(GRACE_MS);
  expect(state()).toBeUndefined();
});

test('while pods cannot be read nothing is judged, and the operator says so', async () => {
  world.api.hooks = {
    before: ({ verb, target }) => {
      if (verb === 'list' && target.startsWith('pods')) throw new ApiError('Forbidden', 'no pods for you');
    },
  };
  await create(ipPools, aPool('blue', { cooldown: '0s' }));
  await create(ipReservations, aReservation('10.0.0.9'));
  const operator = start();
  await pass(GRACE_MS * 5);
  expect(operator.why()).toBe('not yet read: pods');
  expect(state()).toBe('Bound');
  world.api.hooks = {};
  await pass(60_000);
  expect(operator.why()).toBeUndefined();
  await pass(GRACE_MS);
  expect(state()).toBeUndefined();
});

describe('an address that an agent reports to have two users', () => {
  const conflict = (): string | undefined =>
    world.pool('blue')?.status?.conditions?.find(({ type }) => type === 'Conflict')?.status;

  /** The reservation is of pod web; pod loser has its address as well. */
  async function reported(): Promise<void> {
    await running1();
    const loser = await create(pods, aPod({ name: 'loser' }));
    await create(events, {
      metadata: { namespace: 'shop', name: 'loser.1' },
      involvedObject: { kind: 'Pod', namespace: 'shop', name: 'loser', uid: loser.metadata.uid ?? '' },
      related: { kind: 'IPReservation', name: NAME },
      type: 'Warning',
      reason: 'AddressConflict',
      message: 'in use twice',
      lastTimestamp: new Date(world.clock.now()).toISOString(),
    });
    await pass(5_000);
  }

  test.each([
    ['the one', 'loser'],
    ['the other', 'web'],
  ])('is shown on its pool until %s pod is gone', async (_which, name) => {
    await reported();
    expect(conflict()).toBe('True');
    await world.api.delete(pods, { namespace: 'shop', name });
    // That of the reservation's owner counts until it is collected.
    await pass(5_000);
    expect(conflict()).toBe(name === 'web' ? 'True' : 'False');
    await pass(GRACE_MS);
    expect(conflict()).toBe('False');
  });

  test('is still shown when another process leads, and while that one may not read Events', async () => {
    await reported();
    stop.abort();
    await running;
    stop = new AbortController();
    world.api.hooks = {
      before: ({ verb, target }) => {
        if (verb === 'list' && target.startsWith('events'))
          throw new ApiError('Forbidden', 'no events for you');
      },
    };
    const operator = start();
    await pass(10_000);
    expect(operator.why()).toBeUndefined();
    await world.api.delete(pods, { namespace: 'shop', name: 'loser' });
    await pass(10_000);
    expect(conflict()).toBe('True');
    world.api.hooks = {};
    await pass(60_000);
    expect(conflict()).toBe('False');
  });
});

test('an API server that fails for a while ends nothing', async () => {
  await running1();
  let failing = true;
  world.api.hooks = {
    before: () => {
      if (failing) throw new ApiError('Unreachable', 'away');
    },
  };
  world.api.failWatches();
  await pass(300_000);
  failing = false;
  await deletePod();
  await pass(60_000 + GRACE_MS);
  expect(state()).not.toBe('Bound');
});

test('the scan comes back to one that was given up, though no event tells of it', async () => {
  await running1();
  let refusals = 1;
  world.api.hooks = {
    before: ({ verb, target }) => {
      if (verb === 'patch' && target.startsWith('ipreservations') && refusals-- > 0) {
        throw new ApiError('TestFailed', 'somebody was first');
      }
    },
  };
  await deletePod();
  await passWithBookmarks(SCAN_MS - 30_000);
  expect(state()).toBe('Bound');
  await passWithBookmarks(GRACE_MS * 2);
  expect(state()).not.toBe('Bound');
});

test('it stops when it is told to, and leaves no timer behind', async () => {
  await running1();
  await deletePod();
  await pass(1_000);
  stop.abort();
  await running;
  await settle();
  expect(world.clock.pendingTimers).toBe(0);
  expect(world.api.watches).toBe(0);
});
