import { beforeEach, describe, expect, test } from 'vitest';
import { ipReservations } from '../crds/resources.ts';
import { type Event, pods } from '../kube/core.ts';
import { ConflictIndex, FORGOTTEN_AFTER_MS } from './conflicts.ts';
import { anOwner, aPod, aReservation } from './testing/objects.ts';
import { World } from './testing/world.ts';

const NAME = 'default.10.0.0.9';

let world: World;
let index: ConflictIndex;
let changed: string[];
let synced: boolean;
/** UIDs of pods. */
let web: string;
let other: string;

beforeEach(async () => {
  world = new World();
  changed = [];
  synced = true;
  index = new ConflictIndex({
    clock: world.clock,
    reservations: world.reservations,
    pods: world.pods,
    synced: () => synced,
    onChange: (pool) => void changed.push(pool),
  });
  web = (await world.create(pods, aPod())).metadata.uid ?? '';
  other = (await world.create(pods, aPod({ name: 'other', node: 'node-2' }))).metadata.uid ?? '';
  await world.create(
    ipReservations,
    aReservation('10.0.0.9', { owner: { ...anOwner, name: 'other', uid: other, node: 'node-2' } }),
  );
  world.sync();
});

function anEvent(
  pod: 'web' | 'other',
  type: Event['type'] = 'Warning',
  name: string = `${pod}.${type}`,
): Event {
  return {
    metadata: { namespace: 'shop', name },
    involvedObject: { kind: 'Pod', namespace: 'shop', name: pod, uid: pod === 'web' ? web : other },
    related:
      pod === 'web'
        ? { kind: 'IPReservation', name: NAME }
        : { kind: 'Pod', namespace: 'shop', name: 'web', uid: web },
    type,
    reason: 'AddressConflict',
    message: 'in use twice',
    lastTimestamp: new Date(world.clock.now()).toISOString(),
  };
}

/** The caches have caught up. */
function sync(): void {
  world.sync();
  index.refresh();
}

const found = [{ address: '10.0.0.9', users: ['pod shop/other', 'pod shop/web'] }];

describe('an address has two users', () => {
  test('when its agent says so on both pods, and counts once', () => {
    index.put(anEvent('web'));
    index.put(anEvent('other'));
    expect(index.of('blue')).toEqual(found);
    expect(index.of('green')).toEqual([]);
    expect(changed).toEqual(['blue']);
  });

  test('but not before the Events have been read', () => {
    synced = false;
    expect(index.of('blue')).toBeUndefined();
  });

  test('and not because an Event of another kind names it', () => {
    index.put({ ...anEvent('web'), reason: 'AddressTaken' });
    const { related: _related, ...without } = anEvent('web');
    index.put(without);
    expect(index.of('blue')).toEqual([]);
  });

  test('as long as the newest Event says so, whichever agent process wrote it', async () => {
    index.put(anEvent('web'));
    await world.clock.advance(1_000);
    index.put(anEvent('web', 'Normal'));
    expect(index.of('blue')).toEqual([]);
    await world.clock.advance(1_000);
    index.put(anEvent('web', 'Warning', 'web.restarted'));
    expect(index.of('blue')).toEqual(found);
    expect(changed).toEqual(['blue', 'blue', 'blue']);
  });
});

describe('it has no longer', () => {
  beforeEach(() => {
    index.put(anEvent('web'));
    index.put(anEvent('other'));
    changed = [];
  });

  test.each<[string, () => Promise<unknown>]>([
    [
      'the pod that has lost its reservation is gone',
      () => world.api.delete(pods, { namespace: 'shop', name: 'web' }),
    ],
    ['the reservation is gone', () => world.api.delete(ipReservations, { name: NAME })],
    [
      'the reservation is the pod’s own again',
      () =>
        world.api.patch(ipReservations, { name: NAME }, [
          { op: 'add', path: '/spec/owner', value: { ...anOwner, uid: web } },
        ]),
    ],
    [
      'the address rests',
      () =>
        world.api.patch(ipReservations, { name: NAME }, [
          { op: 'add', path: '/spec/state', value: 'Released' },
        ]),
    ],
  ])('when %s', async (_what, happens) => {
    await happens();
    world.sync();
    index.touched({ reservation: NAME, uids: [web] });
    expect(index.of('blue')).toEqual([]);
    expect(changed).toEqual(['blue']);
  });

  test('when nobody has told it for long', async () => {
    await world.clock.advance(FORGOTTEN_AFTER_MS);
    sync();
    expect(index.of('blue')).toEqual(found);
    await world.clock.advance(1_000);
    sync();
    expect(index.of('blue')).toEqual([]);
  });

  test('when the Event is gone', () => {
    index.delete(anEvent('web'));
    expect(index.of('blue')).toEqual([]);
  });
});
