import { describe, expect, test } from 'vitest';
import type { Condition, IPPoolSpec, IPPoolStatus } from '../crds/types.ts';
import { compilePool } from '../ipam/pool.ts';
import type { Conflict } from './conflicts.ts';
import { poolStatus, type StatusInput, urgencyOf } from './poolstatus.ts';
import { aPool } from './testing/objects.ts';
import type { Usage } from './usageindex.ts';

const NOW = Date.parse('2026-01-01T00:00:00.900Z');
const LATER = Date.parse('2026-01-01T01:00:00Z');
const unused: Usage = { bound: 0, held: 0, released: 0, taken: 0, outside: 0 };

function input(
  spec: Partial<IPPoolSpec>,
  usage: Partial<Usage> = {},
  more: Partial<StatusInput> = {},
): StatusInput {
  return {
    understood: { pool: compilePool('blue', aPool('blue', spec).spec), problems: [] },
    generation: 3,
    terminating: false,
    usage: { ...unused, ...usage },
    waiting: [],
    gatewayReservation: undefined,
    conflicts: [],
    previous: undefined,
    now: NOW,
    ...more,
  };
}

function aConflict(last: number): Conflict {
  return { address: `10.0.0.${last}`, users: ['pod a/b', 'pod a/c'] };
}

function condition(status: IPPoolStatus, type: string): Condition | undefined {
  return status.conditions?.find((each) => each.type === type);
}

describe('counts', () => {
  test('are decimal strings, and free is what the ranges have left', () => {
    const status = poolStatus(input({}, { bound: 4, held: 1, released: 2, taken: 6, outside: 1 }));
    expect(status).toMatchObject({
      observedGeneration: 3,
      capacity: '254',
      bound: '4',
      held: '1',
      released: '2',
      free: '248',
    });
  });

  test('of an IPv6 /64 are exact', () => {
    expect(poolStatus(input({ subnet: 'fd00::/64' }, { taken: 1 }))).toMatchObject({
      capacity: '18446744073709551615',
      free: '18446744073709551614',
    });
  });
});

describe('conditions', () => {
  const rows: { title: string; status: StatusInput; type: string; want: string }[] = [
    { title: 'a usable pool', status: input({}), type: 'Ready', want: 'True Usable' },
    { title: 'a disabled pool', status: input({ disabled: true }), type: 'Ready', want: 'True Disabled' },
    {
      title: 'a deleted pool',
      status: input({}, {}, { terminating: true }),
      type: 'Ready',
      want: 'False Terminating',
    },
    { title: 'a pool with room', status: input({}), type: 'Exhausted', want: 'False FreeAddresses' },
    {
      title: 'only released addresses left',
      status: input({ subnet: '10.0.0.0/30' }, { taken: 2, released: 1 }),
      type: 'Exhausted',
      want: 'False OnlyReleasedAddresses',
    },
    {
      title: 'nothing left',
      status: input({ subnet: '10.0.0.0/30' }, { taken: 2, bound: 2 }),
      type: 'Exhausted',
      want: 'True NoFreeAddress',
    },
    { title: 'static only', status: input({ ranges: [] }), type: 'Exhausted', want: 'True StaticOnly' },
    { title: 'nothing outside', status: input({}), type: 'Drained', want: 'True NothingOutside' },
    {
      title: 'something outside',
      status: input({}, { outside: 2 }),
      type: 'Drained',
      want: 'False ReservationsOutside',
    },
    {
      title: 'a free gateway',
      status: input({ gateway: '10.0.0.1' }),
      type: 'Conflict',
      want: 'False NoConflict',
    },
    {
      title: 'a gateway in use',
      status: input({ gateway: '10.0.0.1' }, {}, { gatewayReservation: 'default.10.0.0.1' }),
      type: 'Conflict',
      want: 'True GatewayInUse',
    },
    {
      title: 'a pool of which an address has two users',
      status: input({}, {}, { conflicts: [aConflict(9)] }),
      type: 'Conflict',
      want: 'True AddressInUseTwice',
    },
  ];
  test.each(rows)('$title: $type is $want', ({ status, type, want }) => {
    const found = condition(poolStatus(status), type);
    expect(`${found?.status} ${found?.reason}`).toBe(want);
    expect(found).toMatchObject({ observedGeneration: 3, lastTransitionTime: '2026-01-01T00:00:00Z' });
  });

  test('Conflict names the users of each address, up to ten of them', () => {
    const message = (count: number): string | undefined => {
      const conflicts = Array.from({ length: count }, (_, i) => aConflict(i));
      return condition(poolStatus(input({}, {}, { conflicts })), 'Conflict')?.message;
    };
    expect(message(1)).toBe('in use twice: 10.0.0.0 by pod a/b and pod a/c: delete one of the two pods');
    expect(message(12)).toMatch(/10\.0\.0\.9 by pod a\/b and pod a\/c; and 2 more addresses: delete/);
  });

  test('Conflict stays as it was while it is not known which addresses have two users', () => {
    const found = (previous: IPPoolStatus | undefined): string | undefined =>
      condition(poolStatus(input({}, {}, { previous, conflicts: undefined })), 'Conflict')?.reason;
    expect(found(undefined)).toBe('NoConflict');
    expect(found(poolStatus(input({}, {}, { conflicts: [aConflict(9)] })))).toBe('AddressInUseTwice');
  });

  test('Drained False says how many are outside', () => {
    expect(condition(poolStatus(input({}, { outside: 2 })), 'Drained')?.message).toMatch(
      /^2 reservations outside/,
    );
  });

  test('a spec that cannot be compiled is Ready False with the message, and the rest Unknown', () => {
    const problems = [{ reason: 'InvalidSpec' as const, message: 'spec.subnet: broken' }];
    const status = poolStatus(input({}, { bound: 1 }, { understood: { pool: undefined, problems } }));
    expect(status).toMatchObject({ capacity: '0', free: '0', bound: '1' });
    expect(condition(status, 'Ready')).toMatchObject({
      status: 'False',
      reason: 'InvalidSpec',
      message: 'spec.subnet: broken',
    });
    for (const type of ['Exhausted', 'Drained', 'Conflict']) {
      expect(condition(status, type)).toMatchObject({ status: 'Unknown', reason: 'InvalidSpec' });
    }
  });

  test('lastTransitionTime stays while the status stays, though reason and message change', () => {
    const previous = poolStatus(input({}));
    const status = poolStatus(input({ disabled: true }, {}, { previous, now: LATER, generation: 4 }));
    expect(condition(status, 'Ready')).toMatchObject({
      reason: 'Disabled',
      observedGeneration: 4,
      lastTransitionTime: '2026-01-01T00:00:00Z',
    });
  });

  test('lastTransitionTime moves when the status does', () => {
    const previous = poolStatus(input({}));
    const status = poolStatus(input({}, {}, { previous, now: LATER, terminating: true }));
    expect(condition(status, 'Ready')?.lastTransitionTime).toBe('2026-01-01T01:00:00Z');
    expect(condition(status, 'Drained')?.lastTransitionTime).toBe('2026-01-01T00:00:00Z');
  });

  test("somebody else's conditions are kept", () => {
    const foreign: Condition = {
      type: 'Painted',
      status: 'True',
      lastTransitionTime: '2025-01-01T00:00:00Z',
      reason: 'Blue',
      message: '',
    };
    const status = poolStatus(input({}, {}, { previous: { conditions: [foreign] } }));
    expect(condition(status, 'Painted')).toEqual(foreign);
  });
});

describe('holders', () => {
  const waiting = (count: number): { holder: string; address: string }[] =>
    Array.from({ length: count }, (_, i) => ({
      holder: `Pod/shop/p${count - i}`,
      address: `10.0.${i >> 8}.${i & 255}`,
    }));

  test('are listed in the order of their names', () => {
    const status = poolStatus(input({}, {}, { waiting: waiting(3) }));
    expect(status.holders?.map(({ holder }) => holder)).toEqual([
      'Pod/shop/p1',
      'Pod/shop/p2',
      'Pod/shop/p3',
    ]);
    expect(status.holdersTruncated).toBeUndefined();
  });

  test('are at most 500, and then it says so', () => {
    expect(poolStatus(input({}, {}, { waiting: waiting(500) })).holdersTruncated).toBeUndefined();
    const status = poolStatus(input({}, {}, { waiting: waiting(501) }));
    expect(status.holders).toHaveLength(500);
    expect(status.holdersTruncated).toBe(true);
  });
});

describe('how urgent a write is', () => {
  const old = poolStatus(input({}));
  const next = (usage: Partial<Usage>, more: Partial<StatusInput> = {}): IPPoolStatus =>
    poolStatus(input({}, usage, { previous: old, now: LATER, ...more }));
  const rows: { title: string; old?: IPPoolStatus; next: IPPoolStatus; want: string }[] = [
    { title: 'the first status', next: old, want: 'now' },
    { title: 'the same', old, next: next({}), want: 'never' },
    { title: 'the same with the keys in another order', old: reordered(old), next: next({}), want: 'never' },
    { title: 'a new generation', old, next: next({}, { generation: 4 }), want: 'now' },
    { title: 'Ready', old, next: next({}, { terminating: true }), want: 'now' },
    { title: 'another condition', old, next: next({ outside: 1 }), want: 'soon' },
    {
      title: 'the holders',
      old,
      next: next({ held: 1 }, { waiting: [{ holder: 'Pod/shop/vip', address: '10.0.0.9' }] }),
      want: 'soon',
    },
    { title: 'counts alone', old, next: next({ bound: 1, taken: 1 }), want: 'later' },
    {
      title: 'the count in a message',
      old: poolStatus(input({}, { outside: 1 })),
      next: next({ outside: 2 }),
      want: 'later',
    },
  ];
  test.each(rows)('$title: $want', (row) => {
    expect(urgencyOf(row.old, row.next)).toBe(row.want);
  });
});

function reordered(status: IPPoolStatus): IPPoolStatus {
  return {
    ...Object.fromEntries(Object.entries(status).toReversed()),
    conditions: (status.conditions ?? []).map(({ message, type, ...rest }) => ({ message, ...rest, type })),
  };
}
