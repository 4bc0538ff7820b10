import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseAddress } from './address.ts';
import type { Owner } from './owner.ts';
import type { PatchOp, Release, ReservationSpec, Transition } from './reservation.ts';
import {
  bindNew,
  cooldownOver,
  endHold,
  formatSince,
  isOwnedBy,
  rebind,
  releaseOf,
  sinceMs,
  takeHeld,
  takeReleased,
  undoOf,
} from './reservation.ts';
import { applyPatch } from './testing/jsonpatch.ts';
import { refusal } from './testing/refusal.ts';

const NOW = Date.UTC(2026, 0, 31, 10, 0, 0, 999);
const SINCE = '2026-01-31T10:00:00Z';

const owner: Owner = {
  kind: 'Pod',
  namespace: 'shop',
  name: 'web-1',
  uid: 'u1',
  node: 'n1',
  containerID: 'c1',
  ifname: 'net1',
  cniNetwork: 'storage-macvlan',
};
const other: Owner = { ...owner, name: 'web-2', uid: 'u2', node: 'n2', containerID: 'c2' };
const nodeOwner: Owner = { kind: 'Node', node: 'n1', containerID: 'c1', ifname: 'eth0' };
const handmadeOwner: Owner = { kind: 'Node', node: 'n1' };

const bound: ReservationSpec = {
  network: 'storage',
  address: '10.20.1.7',
  pool: 'storage-v4',
  state: 'Bound',
  owner,
  since: '2026-01-01T00:00:00Z',
};
const HOLDER = 'StatefulSet/shop/db/2';

/** What the API server would store; throws where it would answer 422. */
function applied(spec: ReservationSpec, { patch }: { readonly patch: readonly PatchOp[] }): unknown {
  const document = { metadata: { name: 'storage.10.20.1.7', resourceVersion: '7' }, spec: { ...spec } };
  const { spec: result, ...rest } = applyPatch(document, patch);
  expect(rest).toEqual({ metadata: document.metadata });
  return result;
}

function patched(release: Release): Transition {
  if (release.action !== 'patch') throw new Error('expected a patch');
  return release;
}

function without(spec: ReservationSpec, ...fields: ('owner' | 'holder' | 'since')[]): ReservationSpec {
  const copy: { -readonly [K in keyof ReservationSpec]: ReservationSpec[K] } = { ...spec };
  for (const field of fields) delete copy[field];
  return copy;
}

function withOwner(spec: ReservationSpec, change: Partial<Owner>): ReservationSpec {
  return { ...spec, owner: { ...(spec.owner ?? owner), ...change } };
}

/** Every way in which somebody may have been first with a Bound one. */
function rivals(spec: ReservationSpec): [string, ReservationSpec][] {
  return [
    ['released', { ...spec, state: 'Released' }],
    ['held', { ...spec, state: 'Held', holder: HOLDER }],
    ['another containerID', withOwner(spec, { containerID: 'cX' })],
    ['another interface', withOwner(spec, { ifname: 'netX' })],
    ['another pod', withOwner(spec, { uid: 'uX', containerID: 'cX' })],
    ['the same container of another pod', { ...spec, owner: { ...owner, uid: 'uX' } }],
    ['another kind of owner', { ...spec, owner: { kind: 'External' } }],
    ['no owner', without(spec, 'owner')],
  ];
}

describe('bindNew', () => {
  const binding = {
    network: 'storage',
    address: parseAddress('10.20.1.7'),
    pool: 'storage-v4',
    owner,
    now: NOW,
  };

  test('names exactly the attachment', () => {
    expect(bindNew(binding)).toEqual({ ...bound, since: SINCE });
  });

  test('writes the address canonically, and a holder only if there is one', () => {
    const spec = bindNew({ ...binding, address: parseAddress('FD00:0::11'), holder: HOLDER });
    expect(spec).toMatchObject({ address: 'fd00::11', holder: HOLDER });
    expect(bindNew(binding)).not.toHaveProperty('holder');
  });

  test('refuses an owner that the CRD would refuse', () => {
    expect(refusal(() => bindNew({ ...binding, owner: { ...owner, uid: '' } })).code).toBe('InvalidOwner');
    expect(refusal(() => bindNew({ ...binding, owner: { kind: 'External' } })).message).toContain(
      'cannot be bound',
    );
  });
});

describe('releaseOf', () => {
  test.each<[string, ReservationSpec, number, string]>([
    ['no holder, cooldown 0: deleted', bound, 0, 'delete'],
    ['no holder, a cooldown: Released', bound, 1, 'Released'],
    ['a holder: Held', { ...bound, holder: HOLDER }, 1, 'Held'],
    ['a holder, cooldown 0: Held', { ...bound, holder: HOLDER }, 0, 'Held'],
    ['an empty holder is none', { ...bound, holder: '' }, 0, 'delete'],
  ])('%s', (_name, spec, cooldownMs, outcome) => {
    const release = releaseOf(spec, cooldownMs, NOW);
    expect(release.action === 'delete' ? 'delete' : release.to.state).toBe(outcome);
  });

  test('Released keeps the last owner, Held keeps the holder alone', () => {
    const { owner: _last, ...rest } = bound;
    expect(patched(releaseOf(bound, 1, NOW)).to).toEqual({ ...bound, state: 'Released', since: SINCE });
    const hold = patched(releaseOf({ ...bound, holder: HOLDER }, 0, NOW));
    expect(hold.to).toEqual({ ...rest, state: 'Held', holder: HOLDER, since: SINCE });
  });

  test.each<[string, Owner, string[]]>([
    [
      'a Pod',
      owner,
      ['/spec/state', '/spec/owner/uid', '/spec/owner/containerID', '/spec/owner/ifname', '/spec/holder'],
    ],
    [
      'a Node with an attachment',
      nodeOwner,
      [
        '/spec/state',
        '/spec/owner/kind',
        '/spec/owner/node',
        '/spec/owner/containerID',
        '/spec/owner/ifname',
        '/spec/holder',
      ],
    ],
    ['a Node that a person bound', handmadeOwner, ['/spec/state', '/spec/owner', '/spec/holder']],
  ])('of %s is guarded', (_name, subject, paths) => {
    const { patch } = patched(releaseOf({ ...bound, owner: subject }, 1, NOW));
    expect(patch.filter(({ op }) => op === 'test').map(({ path }) => path)).toEqual(paths);
  });

  test.each<ReservationSpec>([
    { ...bound, state: 'Released' },
    { ...bound, state: 'Held', holder: HOLDER },
    without(bound, 'owner'),
  ])('is refused unless it is Bound to somebody', (spec) => {
    const error = refusal(() => releaseOf(spec, 1, NOW));
    expect(error.code).toBe('InvalidTransition');
    expect(error.message).toContain(`reservation of "10.20.1.7" is ${spec.state}: only a Bound`);
  });
});

describe('rebind', () => {
  const sandbox = { ...owner, containerID: 'c9' };

  test('keeps everything but the owner, and counts as young again', () => {
    expect(rebind({ ...bound, holder: HOLDER }, sandbox, NOW).to).toEqual({
      ...bound,
      holder: HOLDER,
      owner: sandbox,
      since: SINCE,
    });
  });

  test.each<[string, ReservationSpec, Owner]>([
    ['another pod', bound, { ...sandbox, uid: 'u2' }],
    ['another interface', bound, { ...sandbox, ifname: 'net2' }],
    ['an owner without a UID', { ...bound, owner: nodeOwner }, { ...nodeOwner, containerID: 'c9' }],
    ['a released one', { ...bound, state: 'Released' }, sandbox],
  ])('is refused for %s', (_name, spec, subject) => {
    expect(refusal(() => rebind(spec, subject, NOW)).code).toBe('InvalidTransition');
  });
});

describe('takeReleased', () => {
  const released: ReservationSpec = { ...bound, state: 'Released', pool: 'old-pool' };
  const binding = { pool: 'storage-v4', owner: other, now: NOW };

  test('tests its state alone, whoever had it', () => {
    const { patch, to } = takeReleased({ network: 'storage', address: '10.20.1.7' }, binding);
    expect(patch.filter(({ op }) => op === 'test')).toEqual([
      { op: 'test', path: '/spec/state', value: 'Released' },
    ]);
    expect(to).toEqual({ ...bound, owner: other, since: SINCE });
    expect(applied(released, { patch })).toEqual(to);
    expect(applied(without(released, 'owner', 'since'), { patch })).toEqual(to);
  });

  test("leaves nothing of the last owner's behind", () => {
    const { patch, to } = takeReleased(released, { ...binding, owner: nodeOwner });
    expect(applied({ ...released, holder: 'Pod/shop/gone' }, { patch })).toEqual(to);
    expect(to.owner).toEqual(nodeOwner);
    expect(to).not.toHaveProperty('holder');
  });

  test.each<ReservationSpec['state']>(['Bound', 'Held'])('fails on a %s one', (state) => {
    const transition = takeReleased(released, binding);
    expect(() => applied({ ...released, state }, transition)).toThrow('test /spec/state: differs');
  });
});

describe('takeHeld', () => {
  const held: ReservationSpec = { ...bound, state: 'Held', holder: HOLDER };
  const binding = { pool: 'storage-v4', owner: other, holder: HOLDER, now: NOW };

  test.each<[string, ReservationSpec]>([
    ['that Berth made', held],
    ['that a person made', without(held, 'owner', 'since')],
    ['that a person made, with an External owner', { ...held, owner: { kind: 'External' } }],
  ])('takes one %s, and keeps the holder', (_name, spec) => {
    const transition = takeHeld(spec, binding);
    expect(transition.to).toEqual({ ...bound, owner: other, holder: HOLDER, since: SINCE });
    expect(applied(spec, transition)).toEqual(transition.to);
  });

  test.each<[string, ReservationSpec]>([
    ['bound meanwhile', { ...held, state: 'Bound' }],
    ['released meanwhile', { ...held, state: 'Released' }],
    ['held for somebody else meanwhile', { ...held, holder: 'Pod/shop/vip' }],
    ['held for nobody meanwhile', without(held, 'holder')],
  ])('fails on one %s', (_name, present) => {
    expect(() => applied(present, takeHeld(held, binding))).toThrow(/^test /);
  });

  test.each<[string, ReservationSpec, string]>([
    ['for somebody else', held, 'Pod/shop/vip'],
    ['for nobody', without(held, 'holder'), HOLDER],
    ['for nobody, asked for by nobody', { ...held, holder: '' }, ''],
  ])('refuses one held %s', (_name, spec, holder) => {
    expect(refusal(() => takeHeld(spec, { ...binding, holder })).code).toBe('InvalidTransition');
  });
});

describe('undoOf', () => {
  test('created: deleted, also with a cooldown and a holder', () => {
    expect(undoOf('created', { ...bound, holder: HOLDER }, NOW)).toEqual({ action: 'delete' });
  });

  test('taken from Released: Released again, without a holder', () => {
    const spec = { ...bound, holder: HOLDER };
    const undo = patched(undoOf('released', spec, NOW));
    expect(undo.to).toEqual({ ...bound, state: 'Released', since: SINCE });
    expect(applied(spec, undo)).toEqual(undo.to);
    expect(patched(undoOf('released', bound, NOW)).to).toEqual(undo.to);
  });

  test('taken from Held: Held again for the same holder', () => {
    const { owner: _last, ...rest } = bound;
    expect(patched(undoOf('held', { ...bound, holder: HOLDER }, NOW)).to).toEqual({
      ...rest,
      state: 'Held',
      holder: HOLDER,
      since: SINCE,
    });
    expect(refusal(() => undoOf('held', bound, NOW)).message).toContain('no holder to be held for');
  });

  test.each(['created', 'released', 'held'] as const)('of %s is refused unless it is Bound', (origin) => {
    expect(refusal(() => undoOf(origin, { ...bound, state: 'Released' }, NOW)).code).toBe(
      'InvalidTransition',
    );
  });
});

describe('endHold', () => {
  const hold: ReservationSpec = { ...bound, state: 'Held', holder: HOLDER };

  test('rests for the cooldown without its holder, and is deleted without a cooldown', () => {
    const ended = patched(endHold(hold, 1, NOW));
    expect(ended.to).toEqual({ ...bound, state: 'Released', since: SINCE });
    expect(applied(hold, ended)).toEqual(ended.to);
    expect(endHold(hold, 0, NOW)).toEqual({ action: 'delete' });
  });

  test.each<[string, ReservationSpec]>([
    ['bound to its holder meanwhile', { ...hold, state: 'Bound' }],
    ['held for somebody else meanwhile', { ...hold, holder: 'Pod/shop/vip' }],
    ["made a person's meanwhile", without(hold, 'owner')],
    ['used and held again meanwhile', { ...hold, owner: { ...owner, containerID: 'c9' } }],
  ])('does nothing to one that was %s', (_name, present) => {
    expect(() => applied(present, patched(endHold(hold, 1, NOW)))).toThrow(/^test /);
  });

  test.each<[string, ReservationSpec]>([
    ['a Bound one', { ...hold, state: 'Bound' }],
    ["a person's, without a last owner", without(hold, 'owner')],
    ['one without a holder', without(hold, 'holder')],
  ])('refuses %s', (_name, spec) => {
    expect(refusal(() => endHold(spec, 1, NOW)).code).toBe('InvalidTransition');
  });
});

describe('every step out of Bound', () => {
  const sandbox = { ...owner, containerID: 'c9' };
  const steps: [string, ReservationSpec, (spec: ReservationSpec) => Transition][] = [
    ['release', bound, (spec) => patched(releaseOf(spec, 1, NOW))],
    ['hold', { ...bound, holder: HOLDER }, (spec) => patched(releaseOf(spec, 1, NOW))],
    ['rebind', bound, (spec) => rebind(spec, sandbox, NOW)],
    ['undo to Released', bound, (spec) => patched(undoOf('released', spec, NOW))],
    [
      'undo to Released, with a holder',
      { ...bound, holder: HOLDER },
      (spec) => patched(undoOf('released', spec, NOW)),
    ],
    ['undo to Held', { ...bound, holder: HOLDER }, (spec) => patched(undoOf('held', spec, NOW))],
    ['release by a Node', { ...bound, owner: nodeOwner }, (spec) => patched(releaseOf(spec, 1, NOW))],
    ['release for a person', { ...bound, owner: handmadeOwner }, (spec) => patched(releaseOf(spec, 1, NOW))],
  ];

  test.each(steps)('%s: its patch makes exactly its `to`, with or without `since`', (_name, spec, step) => {
    for (const from of [spec, without(spec, 'since')]) {
      const before = structuredClone(from);
      const transition = step(from);
      expect(applied(from, transition)).toEqual(transition.to);
      expect(from).toEqual(before);
    }
  });

  test.each(steps)('%s: fails as soon as somebody was first', (_name, spec, step) => {
    const transition = step(spec);
    for (const [rival, present] of rivals(spec)) {
      expect(() => applied(present, transition), rival).toThrow(/^test /);
    }
  });

  test.each(steps)('%s: of two that try it, one wins', (_name, spec, step) => {
    const transition = step(spec);
    applied(spec, transition);
    expect(() => applied(transition.to, transition)).toThrow(/^test /);
  });

  test.each(steps)('%s: its tests come first', (_name, spec, step) => {
    const ops = step(spec).patch.map(({ op }) => op);
    expect(ops.lastIndexOf('test')).toBeLessThan(ops.findIndex((op) => op !== 'test'));
  });
});

test.each<[string, ReservationSpec, ReservationSpec]>([
  ['given', bound, { ...bound, holder: HOLDER }],
  ['changed', { ...bound, holder: HOLDER }, { ...bound, holder: 'Pod/shop/vip' }],
  ['taken away', { ...bound, holder: HOLDER }, bound],
])(
  'a holder that a person has %s meanwhile fails the release: it must be looked at',
  (_what, known, present) => {
    expect(() => applied(present, patched(releaseOf(known, 1, NOW)))).toThrow(/^test \/spec\/holder/);
  },
);

test('a late DEL of the old sandbox does not release the rebound address', () => {
  const late = patched(releaseOf(bound, 1, NOW));
  const rebound = rebind(bound, { ...owner, containerID: 'c9' }, NOW);
  expect(() => applied(rebound.to, late)).toThrow('test /spec/owner/containerID: differs');
});

test('whatever happens to a reservation, every patch makes its `to` and only the newest view may change it', () => {
  const owners = fc.record({
    uid: fc.constantFrom('u1', 'u2', 'u3'),
    containerID: fc.constantFrom('c1', 'c2', 'c3'),
  });
  const event = fc.constantFrom('release', 'rebind', 'take', 'undo');
  const moves = fc.array(fc.record({ event, change: owners, holder: fc.boolean(), cooldown: fc.nat(1) }), {
    minLength: 1,
    maxLength: 12,
  });
  fc.assert(
    fc.property(moves, (list) => {
      let present = bindNew({ network: 'n', address: parseAddress('10.0.0.1'), pool: 'p', owner, now: NOW });
      const past: Transition[] = [];
      for (const { event: name, change, holder, cooldown } of list) {
        const step = move(present, name, { ...owner, ...change }, holder, cooldown);
        if (step === 'deleted') return;
        if (step === undefined) continue;
        expect(applied(present, step)).toEqual(step.to);
        expect([step.to.network, step.to.address]).toEqual(['n', '10.0.0.1']);
        if (step.to.state === 'Released') expect(step.to.owner).toEqual(present.owner);
        if (step.to.state === 'Held') expect(step.to.owner).toBeUndefined();
        past.push(step);
        present = step.to;
      }
      // Somebody who last saw an owner that is gone can do nothing to the present one.
      for (const { patch } of past) {
        const guard = patch.find((op) => op.op === 'test' && op.path === '/spec/owner/containerID');
        if (guard?.op !== 'test' || guard.value === present.owner?.containerID) continue;
        expect(() => applied(present, { patch })).toThrow(/^test /);
      }
    }),
    { numRuns: 500 },
  );
});

/** One step of the random walk; undefined where the state machine has none. */
function move(
  present: ReservationSpec,
  event: string,
  next: Owner,
  withHolder: boolean,
  cooldown: number,
): Transition | 'deleted' | undefined {
  const binding = { pool: 'q', owner: next, now: NOW };
  if (present.state === 'Bound') {
    if (event === 'take') return undefined;
    if (event === 'rebind') {
      return rebind(present, { ...present.owner, kind: 'Pod', containerID: `${next.containerID}'` }, NOW);
    }
    const origin = present.holder === undefined ? 'released' : 'held';
    const step = event === 'release' ? releaseOf(present, cooldown, NOW) : undoOf(origin, present, NOW);
    return step.action === 'delete' ? 'deleted' : step;
  }
  if (event !== 'take') return undefined;
  if (present.state === 'Held') return takeHeld(present, { ...binding, holder: present.holder ?? '' });
  return takeReleased(present, withHolder ? { ...binding, holder: HOLDER } : binding);
}

test.each<[string, ReservationSpec, boolean]>([
  ['Bound', bound, true],
  ['Released, though it was the last owner', { ...bound, state: 'Released' }, false],
  ['Held, though it was the last owner', { ...bound, state: 'Held', holder: HOLDER }, false],
  ['Bound to another', { ...bound, owner: other }, false],
])('isOwnedBy: %s', (_name, spec, expected) => {
  expect(isOwnedBy(spec, { containerID: 'c1', ifname: 'net1', node: 'n1', uid: 'u1' })).toBe(expected);
});

test.each<[ReservationSpec['state'], number, number, number, boolean]>([
  ['Released', 30_000, 1000, 30_999, false],
  ['Released', 30_000, 1000, 31_000, true],
  ['Released', 0, 1000, 1000, true],
  ['Bound', 0, 0, 99_000, false],
  ['Held', 0, 0, 99_000, false],
])('cooldownOver: %s, cooldown %i, seen at %i, now %i: %s', (state, cooldown, seen, now, over) => {
  expect(cooldownOver({ state }, cooldown, seen, now)).toBe(over);
});

test('since is UTC in whole seconds, both ways', () => {
  expect(formatSince(NOW)).toBe(SINCE);
  expect(sinceMs({ since: SINCE })).toBe(NOW - 999);
  expect(sinceMs({ since: '2026-01-31T11:00:00.5+01:00' })).toBe(NOW - 499);
  expect([sinceMs({}), sinceMs({ since: 'yesterday' })]).toEqual([undefined, undefined]);
});
