/**
 * The life of a reservation, as pure functions: from a state to a guarded JSON patch and the state that it makes.
 *
 * | from     | event                                                  | to       | guard (tests of the patch)          | function       |
 * | -------- | ------------------------------------------------------ | -------- | ----------------------------------- | -------------- |
 * | (absent) | ADD                                                    | Bound    | the name is new (create)            | `bindNew`      |
 * | Bound    | DEL, GC or owner proved gone; it has a holder          | Held     | state, owner (3), holder            | `releaseOf`    |
 * | Bound    | the same; no holder, cooldown > 0                      | Released | state, owner (3), no holder         | `releaseOf`    |
 * | Bound    | the same; no holder, cooldown 0                        | (absent) | resourceVersion and uid (DELETE)    | `releaseOf`    |
 * | Bound    | ADD, same pod UID and ifname, new containerID          | Bound    | state, uid, containerID, ifname     | `rebind`       |
 * | Released | cooldown over                                          | (absent) | resourceVersion and uid (DELETE)    | `cooldownOver` |
 * | Released | ADD, and nothing else is free                          | Bound    | state                               | `takeReleased` |
 * | Held     | ADD of its holder                                      | Bound    | state, holder                       | `takeHeld`     |
 * | Held     | its holder is proved gone, and it has a last owner     | Released | state, holder, owner                | `endHold`      |
 * | Held     | the same, cooldown 0                                   | (absent) | resourceVersion and uid (DELETE)    | `endHold`      |
 * | Bound    | the ADD that created it fails                          | (absent) | resourceVersion and uid (DELETE)    | `undoOf`       |
 * | Bound    | the ADD that took it from Released fails               | Released | state, uid, containerID, ifname     | `undoOf`       |
 * | Bound    | the ADD that took it from Held fails                   | Held     | state, uid, containerID, ifname     | `undoOf`       |
 *
 * The guards make every step safe against everybody else's without a read before it: of many that try the same step,
 * one wins. The `test` operations come first, and a patch is applied whole or not at all.
 * owner (3): uid, containerID and ifname. A person may give a Bound one a holder at any time, which a release must see.
 * `network` and `address` never change. Released keeps the last owner. Held does not: one with a last owner is one that Berth
 * keeps for its holder by itself, and may end (docs/adr/0020).
 */

import type { Address } from './address.ts';
import { formatAddress } from './address.ts';
import { IpamError, quote } from './errors.ts';
import type { Attachment, Owner } from './owner.ts';
import { checkOwner, ownerIs } from './owner.ts';

export type { Attachment, HolderSource, Owner } from './owner.ts';
export { holdersOf } from './owner.ts';

/** Bound: in use. Released: cooling down. Held: nobody on it, waiting for its holder. */
export type ReservationState = 'Bound' | 'Released' | 'Held';

/** `spec` of an IPReservation, as its CRD has it. */
export interface ReservationSpec {
  readonly network: string;
  readonly address: string;
  readonly pool: string;
  readonly state: ReservationState;
  readonly owner?: Owner;
  readonly holder?: string;
  /** When it entered this state: UTC, whole seconds. */
  readonly since?: string;
}

/** RFC 6902, the operations used here. */
export type PatchOp =
  | { readonly op: 'test' | 'replace' | 'add'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string };

/** A step to a state that still is an object: the patch, and the spec that it makes. */
export interface Transition {
  readonly patch: PatchOp[];
  readonly to: ReservationSpec;
}

/** A step out of Bound. A delete carries `preconditions.resourceVersion` and uid instead of tests. */
export type Release = { readonly action: 'delete' } | ({ readonly action: 'patch' } & Transition);

/** How an ADD came by its reservation, which decides how it is undone. */
export type Origin = 'created' | 'released' | 'held';

/** Who takes an address, and when (milliseconds since the Unix epoch). */
export interface Binding {
  readonly pool: string;
  readonly owner: Owner;
  /** The identity that the address goes back to when its pod ends. Absent: none. */
  readonly holder?: string;
  readonly now: number;
}

/**
 * The spec of a new reservation.
 * @throws IpamError InvalidOwner
 */
export function bindNew(
  binding: Binding & { readonly network: string; readonly address: Address },
): ReservationSpec {
  return bound(binding.network, formatAddress(binding.address), binding);
}

/**
 * Gives an address back: Held if it has a holder, else Released if the pool has a cooldown, else deleted.
 * @throws IpamError InvalidTransition unless it is Bound
 */
export function releaseOf(spec: ReservationSpec, cooldownMs: number, now: number): Release {
  const guards = [...ownerGuards(spec, 'release'), holderIs(spec.holder)];
  if (spec.holder !== undefined && spec.holder !== '') return leave(spec, guards, 'Held', now);
  return cooldownMs > 0 ? leave(spec, guards, 'Released', now) : { action: 'delete' };
}

/**
 * The same pod's interface in a new sandbox: keeps the address, changes the containerID. `since` starts anew, so that
 * GC, which spares what is young, spares the new attachment.
 * @throws IpamError InvalidTransition unless it is Bound to the same pod UID and ifname; InvalidOwner
 */
export function rebind(spec: ReservationSpec, owner: Owner, now: number): Transition {
  const guards = ownerGuards(spec, 'rebind');
  checkOwner(owner);
  if (owner.uid === undefined || owner.uid !== spec.owner?.uid || owner.ifname !== spec.owner.ifname) {
    const present = `pod UID ${quote(spec.owner?.uid ?? '')} and interface ${quote(spec.owner?.ifname ?? '')}`;
    throw misstep(spec, `it is bound to ${present}; only the same pod's same interface may rebind it`);
  }
  const since = formatSince(now);
  return {
    patch: [
      ...guards,
      { op: 'replace', path: '/spec/owner', value: owner },
      { op: 'add', path: '/spec/since', value: since },
    ],
    to: { ...spec, owner, since },
  };
}

/**
 * Takes an address that cools down. Whoever had it, only its state matters.
 * @throws IpamError InvalidOwner
 */
export function takeReleased(
  from: Pick<ReservationSpec, 'network' | 'address'>,
  binding: Binding,
): Transition {
  return take(from, [stateIs('Released')], binding);
}

/**
 * Takes an address held for the binding's holder, which it keeps.
 * @throws IpamError InvalidTransition if it has no holder or another one; InvalidOwner
 */
export function takeHeld(
  from: Pick<ReservationSpec, 'network' | 'address' | 'holder'>,
  binding: Binding & { readonly holder: string },
): Transition {
  if (binding.holder === '' || from.holder !== binding.holder) {
    const holder = from.holder === undefined ? 'nobody' : quote(from.holder);
    throw misstep({ ...from, state: 'Held' }, `it is held for ${holder}, not for ${quote(binding.holder)}`);
  }
  return take(from, [stateIs('Held'), { op: 'test', path: '/spec/holder', value: binding.holder }], binding);
}

/**
 * Takes a failed ADD's reservation back to where it came from, whatever the pool's cooldown: to nothing, to Released
 * (without a holder), or to Held.
 * @throws IpamError InvalidTransition unless it is Bound, and with a holder if it was held
 */
export function undoOf(origin: Origin, spec: ReservationSpec, now: number): Release {
  const guards = ownerGuards(spec, 'undo');
  if (origin === 'created') return { action: 'delete' };
  if (origin === 'released') return leave(spec, guards, 'Released', now);
  if (spec.holder === undefined)
    throw misstep(spec, 'it has no holder to be held for; undo it as "released"');
  return leave(spec, guards, 'Held', now);
}

/**
 * Ends a hold that nobody waits for any more: Released if the pool has a cooldown, else deleted.
 * @throws IpamError InvalidTransition unless it is Held, with a holder and a last owner: any other is a person's
 */
export function endHold(spec: ReservationSpec, cooldownMs: number, now: number): Release {
  const { state, holder, owner } = spec;
  if (state !== 'Held' || holder === undefined || owner === undefined) {
    throw misstep(spec, 'only one that is Held, with a holder and a last owner, has a hold to end');
  }
  if (cooldownMs <= 0) return { action: 'delete' };
  const guards: PatchOp[] = [
    stateIs('Held'),
    holderIs(holder),
    { op: 'test', path: '/spec/owner', value: owner },
  ];
  return leave(spec, guards, 'Released', now);
}

/** True if the reservation is Bound to this attachment; the UID counts only where the attachment has one. */
export function isOwnedBy(spec: ReservationSpec, attachment: Attachment): boolean {
  return spec.state === 'Bound' && ownerIs(spec.owner, attachment);
}

/**
 * True if a Released address has rested long enough. Timed from when the caller first saw it Released, on one clock of
 * the caller's own: `since` was written by another machine, whose clock may be off.
 * @param firstSeen milliseconds on the same clock as `now`
 */
export function cooldownOver(
  spec: Pick<ReservationSpec, 'state'>,
  cooldownMs: number,
  firstSeen: number,
  now: number,
): boolean {
  return spec.state === 'Released' && now - firstSeen >= cooldownMs;
}

/** The second that was asked for last, and its text: many ADDs and DELs lie in the same one. */
let formatted = { second: Number.NaN, text: '' };

/** `spec.since` of a moment in milliseconds since the Unix epoch: UTC, the second it lies in. */
export function formatSince(ms: number): string {
  const second = Math.floor(ms / 1000);
  if (formatted.second !== second) {
    formatted = { second, text: `${new Date(second * 1000).toISOString().slice(0, 19)}Z` };
  }
  return formatted.text;
}

/** Milliseconds since the Unix epoch of `spec.since`; undefined if it is absent or no time. */
export function sinceMs(spec: Pick<ReservationSpec, 'since'>): number | undefined {
  const ms = Date.parse(spec.since ?? '');
  return Number.isNaN(ms) ? undefined : ms;
}

function bound(network: string, address: string, { pool, owner, holder, now }: Binding): ReservationSpec {
  checkOwner(owner);
  if (owner.kind === 'External') {
    const message = 'an owner of kind "External" cannot be bound, only held for; bind a Pod or a Node';
    throw new IpamError('InvalidOwner', owner.kind, message);
  }
  const holderField = holder === undefined ? {} : { holder };
  return { network, address, pool, state: 'Bound', owner, ...holderField, since: formatSince(now) };
}

/** Replaces the whole spec: the last owner, its holder and its pool are all somebody else's now. */
function take(
  from: Pick<ReservationSpec, 'network' | 'address'>,
  guards: readonly PatchOp[],
  binding: Binding,
): Transition {
  const to = bound(from.network, from.address, binding);
  return { patch: [...guards, { op: 'replace', path: '/spec', value: to }], to };
}

/**
 * To nobody's. Released loses its holder, Held its last owner: each hold is one that a person has asked for, and without
 * a last owner it is never collected. `add` sets a field whether or not it is there; `remove` fails unless it is.
 */
function leave(
  spec: ReservationSpec,
  guards: readonly PatchOp[],
  state: 'Released' | 'Held',
  now: number,
): Release {
  const since = formatSince(now);
  const patch: PatchOp[] = [
    ...guards,
    { op: 'replace', path: '/spec/state', value: state },
    { op: 'add', path: '/spec/since', value: since },
  ];
  if (state === 'Held') {
    const { owner: _last, ...kept } = spec;
    patch.push({ op: 'remove', path: '/spec/owner' });
    return { action: 'patch', patch, to: { ...kept, state, since } };
  }
  if (spec.holder === undefined) {
    return { action: 'patch', patch, to: { ...spec, state, since } };
  }
  const { holder: _dropped, ...rest } = spec;
  patch.push({ op: 'remove', path: '/spec/holder' });
  return { action: 'patch', patch, to: { ...rest, state, since } };
}

/** That it has this holder, or none: to the API server a member that is absent equals null in a test. */
function holderIs(holder: string | undefined): PatchOp {
  return { op: 'test', path: '/spec/holder', value: holder ?? null };
}

function stateIs(state: ReservationState): PatchOp {
  return { op: 'test', path: '/spec/state', value: state };
}

/**
 * The tests that it is still Bound to the very same attachment. Without the containerID every racer of a pod that is
 * set up twice would pass. An owner without an attachment (a Node that a person bound) is compared whole.
 */
function ownerGuards(spec: ReservationSpec, step: string): PatchOp[] {
  const { owner } = spec;
  if (spec.state !== 'Bound' || owner === undefined) {
    throw misstep(spec, `only a Bound reservation with an owner has a ${step}`);
  }
  if (owner.containerID === undefined || owner.ifname === undefined) {
    return [stateIs('Bound'), { op: 'test', path: '/spec/owner', value: owner }];
  }
  const who: PatchOp[] =
    owner.uid === undefined
      ? [
          { op: 'test', path: '/spec/owner/kind', value: owner.kind },
          { op: 'test', path: '/spec/owner/node', value: owner.node },
        ]
      : [{ op: 'test', path: '/spec/owner/uid', value: owner.uid }];
  return [
    stateIs('Bound'),
    ...who,
    { op: 'test', path: '/spec/owner/containerID', value: owner.containerID },
    { op: 'test', path: '/spec/owner/ifname', value: owner.ifname },
  ];
}

function misstep(spec: Pick<ReservationSpec, 'address' | 'state'>, reason: string): IpamError {
  const message = `reservation of ${quote(spec.address)} is ${spec.state}: ${reason}`;
  return new IpamError('InvalidTransition', spec.state, message);
}
