/**
 * What must hold, and what is known to be true: the sandboxes as their runtimes see them, the pods as the API has them,
 * and after every change of a reservation the question whether the two still fit (docs/architecture.md, "What each part
 * promises").
 */
import { ipPools, ipReservations } from '../../crds/resources.ts';
import type { IPReservation, IPReservationSpec } from '../../crds/types.ts';
import { hasUid, nodes, type Pod, pods } from '../../kube/core.ts';
import type { MemoryApi, MemoryCall } from '../../kube/memory.ts';
import { OUT_OF_SERVICE_TAINT } from '../../operator/liveness.ts';
import { ReleasedAddresses } from './released.ts';
import { RestoredState } from './restored.ts';
import type { Caller } from './server.ts';

export const NAMESPACE = 'shop';
/** Milliseconds that an owner must be gone before the operator acts. */
export const ORPHAN_GRACE_MS = 60_000;

/** A pod as CNI knows it. */
export interface PodIdentity {
  readonly name: string;
  /** K8S_POD_UID: of a static pod the kubelet's hash. */
  readonly uid: string;
  readonly node: string;
  readonly isStatic: boolean;
}

export interface Sandbox {
  readonly container: string;
  readonly pod: PodIdentity;
  /** live: an ADD has answered success, and no DEL was called since. */
  state: 'new' | 'live' | 'ended';
  addresses: readonly string[];
  /** Its runtime will never send a DEL for it. */
  isForgotten: boolean;
  /** An ADD of it may have come to its end without its runtime having heard of it. */
  isUnsure: boolean;
}

/** A promise that was broken. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** True if the API has this pod on its node, not ended, not given up with its node. */
export function isAlive(api: MemoryApi, pod: PodIdentity): boolean {
  const found = podObject(api, pod);
  if (found === undefined || found.spec?.nodeName !== pod.node) return false;
  if (found.status?.phase === 'Succeeded' || found.status?.phase === 'Failed') return false;
  if (found.metadata.deletionTimestamp === undefined) return true;
  const node = api.objects(nodes).find(({ metadata }) => metadata.name === pod.node);
  return node !== undefined && node.spec?.taints?.some(({ key }) => key === OUT_OF_SERVICE_TAINT) !== true;
}

export function podObject(api: MemoryApi, pod: PodIdentity): Pod | undefined {
  return api.objects(pods).find(({ metadata }) => metadata.name === pod.name && hasUid(metadata, pod.uid));
}

export class Oracle {
  readonly #api: MemoryApi;
  readonly #now: () => number;
  readonly #note: (text: string) => void;
  readonly #live = new Map<string, Sandbox>();
  /** By pod UID: the sandbox whose addresses the pod's next one must have too. */
  readonly #promised = new Map<string, Sandbox>();
  readonly #restored: RestoredState = new RestoredState();
  #restoredAt = Number.NEGATIVE_INFINITY;
  /** Live sandboxes to the time since when their owner has been gone; 0: for good. */
  readonly #goneSince = new Map<Sandbox, number>();
  /** The same of those that are back, and when they came: nobody may have seen it if they were gone again in that instant. */
  readonly #wereGone = new Map<Sandbox, { readonly since: number; readonly backAt: number }>();
  readonly #released: ReleasedAddresses = new ReleasedAddresses();
  /** Names of reservations that people made, as they did. */
  readonly #peoples = new Map<string, Partial<IPReservationSpec>>();
  /** Every address that a pool has ever given. */
  readonly usable: Set<string> = new Set();
  /** Writes that named an attachment's container, by container. */
  readonly writes: Map<string, number> = new Map();
  #version = '';
  #violation: Violation | undefined;
  /** Looks at reservations so far. */
  checks = 0;

  constructor(api: MemoryApi, now: () => number, note: (text: string) => void) {
    this.#api = api;
    this.#now = now;
    this.#note = note;
  }

  /** The first promise that was broken. */
  get violation(): Violation | undefined {
    return this.#violation;
  }

  get live(): ReadonlyMap<string, Sandbox> {
    return this.#live;
  }

  /** What restores of the API server have taken from live sandboxes. */
  get restored(): RestoredState {
    return this.#restored;
  }

  /** True if whoever uses the addresses of this sandbox may rely on them. */
  isProtected(sandbox: Sandbox): boolean {
    if (sandbox.state !== 'live') return false;
    const since = this.#goneSince.get(sandbox);
    if (since === undefined) return true;
    // A mirror pod that vanishes for a moment is no proof: the kubelet makes it again.
    return sandbox.pod.isStatic && since > 0 && this.#now() - since < ORPHAN_GRACE_MS;
  }

  broken(message: string): void {
    this.#note(`BROKEN: ${message}`);
    this.#violation ??= new Violation(message);
  }

  /** A person's reservation, which nobody but the person may take away. */
  personMade(name: string, spec: Partial<IPReservationSpec>): void {
    this.#peoples.set(name, spec);
  }

  /** A node was deleted: what was bound to it may be taken back, if it stays away or not. */
  nodeGone(node: string): void {
    for (const [name, { owner }] of this.#peoples) {
      if (owner?.kind === 'Node' && owner.node === node) this.#peoples.delete(name);
    }
  }

  /** Nobody else relies on what is given, and what others of the node have is theirs. */
  #robsNobody(sandbox: Sandbox, addresses: readonly string[], calledAt: number): void {
    for (const other of this.#live.values()) {
      if (other === sandbox || !this.isProtected(other)) continue;
      // What is answered a second time was judged when it was given.
      const isNew = (address: string): boolean =>
        sandbox.state !== 'live' || !sandbox.addresses.includes(address);
      const both = addresses.find((address) => other.addresses.includes(address) && isNew(address));
      const isOfAnotherNode = other.pod.node !== sandbox.pod.node;
      const isExcused = isOfAnotherNode && both !== undefined && this.#restored.isLost(other, both);
      if (both !== undefined && (isExcused || calledAt <= this.#restoredAt)) {
        if (sandbox.state !== 'live') this.#restored.counts.doubled += 1;
      } else if (both !== undefined) {
        this.broken(`${both} was given to ${sandbox.container} while ${other.container} has it`);
      }
      if (!isOfAnotherNode && this.#restored.mustHaveMended(other, calledAt)) {
        this.broken(
          `${sandbox.container} was served although ${other.container} of its node had lost what it has`,
        );
      }
    }
  }

  /** An ADD has answered success. @param calledAt when it was called, in milliseconds */
  added(sandbox: Sandbox, addresses: readonly string[], calledAt: number): void {
    this.#robsNobody(sandbox, addresses, calledAt);
    for (const address of addresses) {
      if (!this.usable.has(address)) this.broken(`${address}, given to ${sandbox.container}, is in no pool`);
    }
    if (sandbox.state === 'live') {
      if (String(sandbox.addresses) !== String(addresses)) {
        this.broken(
          `ADD of ${sandbox.container} again: ${addresses.join()} instead of ${sandbox.addresses.join()}`,
        );
      }
      return;
    }
    this.#keepsPromise(sandbox, addresses);
    this.#promised.set(sandbox.pod.uid, sandbox);
    sandbox.addresses = addresses;
    sandbox.state = 'live';
    this.#live.set(sandbox.container, sandbox);
    // It may have been written before the restore, and answered after it.
    if (calledAt <= this.#restoredAt) this.#lookForLost(sandbox);
    this.podsChanged();
    this.look('the answer to an ADD');
  }

  /** A restarted sandbox has what the one before had. */
  #keepsPromise(sandbox: Sandbox, addresses: readonly string[]): void {
    const before = this.#promised.get(sandbox.pod.uid);
    if (before !== undefined && String(before.addresses) !== String(addresses)) {
      this.broken(
        `the restarted ${sandbox.container} has ${addresses.join()}, and ${before.container} had ${before.addresses.join()}`,
      );
    }
  }

  /** From here on another sandbox of these pods may have other addresses. */
  promiseNothing(isMeant: (sandbox: Sandbox) => boolean): void {
    for (const [uid, sandbox] of this.#promised) {
      if (isMeant(sandbox)) this.#promised.delete(uid);
    }
  }

  /** The API server has gone back to an older state: what live sandboxes had may be nobody's, or somebody else's. */
  apiRestored(): void {
    this.#version = this.#api.resourceVersion;
    this.#promised.clear();
    this.#released.restored(this.#api.objects(ipReservations));
    this.podsChanged();
    this.#restoredAt = this.#now();
    for (const sandbox of this.#live.values()) this.#lookForLost(sandbox);
  }

  #lookForLost(sandbox: Sandbox): void {
    for (const address of sandbox.addresses) {
      if (!isBoundTo(this.#api, sandbox, address)) this.#restored.lose(sandbox, address);
      else this.#restored.mended(sandbox, address);
    }
  }

  /** The sandbox is no more, or its DEL is called. */
  ended(sandbox: Sandbox): void {
    sandbox.state = 'ended';
    this.#live.delete(sandbox.container);
    this.#goneSince.delete(sandbox);
    this.#wereGone.delete(sandbox);
    this.#restored.ended(sandbox);
  }

  /** To be called after every change of pods and nodes. */
  podsChanged(): void {
    const now = this.#now();
    for (const sandbox of this.#live.values()) {
      const since = this.#goneSince.get(sandbox);
      if (since === 0) continue;
      if (isAlive(this.#api, sandbox.pod)) {
        if (since === undefined || !this.isProtected(sandbox)) continue;
        this.#goneSince.delete(sandbox);
        this.#wereGone.set(sandbox, { since, backAt: now });
      } else if (since === undefined || !this.isProtected(sandbox)) {
        this.promiseNothing((promised) => promised === sandbox);
        const { since: before, backAt } = this.#wereGone.get(sandbox) ?? {};
        const start = before !== undefined && backAt === now ? before : Math.max(1, now);
        this.#goneSince.set(sandbox, sandbox.pod.isStatic && since === undefined ? start : 0);
      }
    }
  }

  /** A call of Berth's is done. */
  committed({ process }: Caller, call: MemoryCall): void {
    if (this.#version === this.#api.resourceVersion) return;
    this.#version = this.#api.resourceVersion;
    if (call.resource !== ipReservations) return;
    const text = JSON.stringify(call.object ?? call.patch ?? '');
    const container = /"containerID":"([^"]+)"/.exec(text)?.[1];
    if (container !== undefined) this.writes.set(container, (this.writes.get(container) ?? 0) + 1);
    this.#note(
      `${process.name}: ${call.verb} ${call.key?.name ?? call.object?.metadata.name}${stateIn(call)}`,
    );
    this.look(`${call.verb} ${call.target} of ${process.name}`);
  }

  /** Compares reservations with what is known. @param after what has just happened */
  look(after: string): void {
    this.checks += 1;
    const all = this.#api.objects(ipReservations);
    const byAddress = new Map<string, IPReservation>();
    for (const each of all) {
      const { network, address } = each.spec;
      if (byAddress.has(`${network} ${address}`))
        this.broken(`two reservations of ${address} after ${after}`);
      byAddress.set(`${network} ${address}`, each);
    }
    this.#lookAtLive(byAddress, after);
    this.#lookAtPeoples(new Map(all.map((each) => [each.metadata.name ?? '', each])), after);
    for (const early of this.#released.look(all, this.#api.objects(ipPools), this.#now())) {
      this.broken(`${early}, after ${after}`);
    }
  }

  #lookAtLive(byAddress: ReadonlyMap<string, IPReservation>, after: string): void {
    for (const sandbox of this.#live.values()) {
      if (!this.isProtected(sandbox)) continue;
      for (const address of sandbox.addresses) {
        const spec = byAddress.get(`default ${address}`)?.spec;
        if (isItsOwn(spec, sandbox)) {
          this.#restored.mended(sandbox, address);
        } else if (!this.#restored.isLost(sandbox, address)) {
          const { container, pod } = sandbox;
          const now = spec === undefined ? 'gone' : `${spec.state} of ${spec.owner?.containerID ?? 'nobody'}`;
          this.broken(`${address} of the live ${container} (pod ${pod.name}) is ${now} after ${after}`);
        }
      }
    }
  }

  #lookAtPeoples(byName: ReadonlyMap<string, IPReservation>, after: string): void {
    for (const [name, { state, holder, owner }] of this.#peoples) {
      const spec = byName.get(name)?.spec;
      const isNodes = owner?.kind === 'Node' && state === 'Bound';
      const isAsMade = !isNodes || (spec?.state === 'Bound' && spec.owner?.node === owner.node);
      if (spec === undefined || spec.state === 'Released' || spec.holder !== holder || !isAsMade) {
        this.broken(`a person's reservation ${name} is ${spec?.state ?? 'gone'} after ${after}`);
      }
    }
  }

  /** People have made a pool. */
  poolMade(name: string): void {
    this.#released.poolMade(name);
  }
}

function isItsOwn(spec: IPReservationSpec | undefined, { container, pod }: Sandbox): boolean {
  const { containerID, ifname, uid, node } = spec?.owner ?? {};
  const isNamed = containerID === container && ifname === 'net1' && uid === pod.uid && node === pod.node;
  return spec?.state === 'Bound' && isNamed;
}

/** True if the API has the address as the sandbox's own. */
function isBoundTo(api: MemoryApi, sandbox: Sandbox, address: string): boolean {
  const found = api.objects(ipReservations).find(({ spec }) => spec.address === address);
  return isItsOwn(found?.spec, sandbox);
}

function stateIn(call: MemoryCall): string {
  const text = JSON.stringify(call.patch ?? call.object ?? '');
  const container =
    /"containerID":"([^"]+)"/.exec(text)?.[1] ?? /containerID","value":"([^"]+)"/.exec(text)?.[1];
  const state = /(?:spec\/state","value|"state)":"(Held|Released)"/.exec(
    text.replace(/"op":"test"[^}]*\}/g, ''),
  )?.[1];
  return [state === undefined ? '' : ` ${state}`, container === undefined ? '' : ` ${container}`].join('');
}
