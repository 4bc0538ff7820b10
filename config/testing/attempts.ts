/** What an agent may try on a reservation, and the owners and states that the cases of the policy are made of. */
import { API_VERSION, ipReservations } from '../../crds/resources.ts';
import type { IPReservation, IPReservationSpec } from '../../crds/types.ts';
import { parseAddress } from '../../ipam/address.ts';
import { reservationName } from '../../ipam/name.ts';
import type { Owner } from '../../ipam/owner.ts';
import {
  type Binding,
  bindNew,
  type PatchOp,
  type Release,
  takeHeld,
  takeReleased,
} from '../../ipam/reservation.ts';
import type { ObjectMeta } from '../../kube/api.ts';
import type { RestApi } from '../../kube/client.ts';

export const NOW: number = Date.parse('2026-01-31T10:00:00Z');
export const POOL = 'blue';
export const NETWORK = 'default';
/** The node of the agent that tries, and another one. */
export const MINE = 'node-a';
export const OTHERS = 'node-b';

function pod(node: string, more: Partial<Owner> = {}): Owner {
  return {
    kind: 'Pod',
    namespace: 'shop',
    name: 'db-2',
    uid: `uid-${node}`,
    node,
    containerID: 'c1',
    ifname: 'net1',
    cniNetwork: 'storage',
    ...more,
  };
}

export const mine: Owner = pod(MINE);
export const others: Owner = pod(OTHERS);
/** The holders that both owners may be. */
export const HOLDER = 'StatefulSet/shop/db/2';
export const POD_HOLDER = 'Pod/shop/db-2';
export const hostOwner: Owner = { kind: 'Node', node: MINE, containerID: 'c1', ifname: 'eth0' };

/** A reservation but for its address. */
export type State = Omit<IPReservationSpec, 'network' | 'address' | 'pool'>;

export function bound(owner: Owner, holder?: string): State {
  return { state: 'Bound', owner, since: '2026-01-31T09:00:00Z', ...(holder !== undefined && { holder }) };
}

/** Of another node's pod. */
export const released: State = { ...bound(others), state: 'Released' };

export function held(holder: string, owner?: Owner): State {
  return { state: 'Held', holder, ...(owner !== undefined && { owner }) };
}

export function object(spec: IPReservationSpec, metadata: ObjectMeta = {}): IPReservation {
  const name = reservationName(spec.network, parseAddress(spec.address));
  return { apiVersion: API_VERSION, kind: 'IPReservation', metadata: { ...metadata, name }, spec };
}

/** An agent's write, and what it is tried on. */
export interface Attempt {
  /** What is there before, made by a person; absent: nothing. */
  readonly from?: State;
  readonly metadata?: ObjectMeta;
  readonly act: (
    agent: RestApi,
    spec: IPReservationSpec,
    there: IPReservation | undefined,
  ) => Promise<unknown>;
}

/** The patch of a step. @throws Error if the step is a delete */
export function patchOf(step: Release): PatchOp[] {
  if (step.action === 'delete') throw new Error('a patch was expected, and it is a delete');
  return step.patch;
}

/** A patch of the one that is there; `patch` gets its spec. */
export function patches(
  from: State,
  patch: (spec: IPReservationSpec) => readonly PatchOp[],
  metadata: ObjectMeta = {},
): Attempt {
  return {
    from,
    metadata,
    act: (agent, spec, there) =>
      agent.patch(ipReservations, { name: there?.metadata.name ?? '' }, patch(spec)),
  };
}

export function creates(state: (address: string) => IPReservationSpec, metadata: ObjectMeta = {}): Attempt {
  return { act: (agent, { address }) => agent.create(ipReservations, object(state(address), metadata)) };
}

export function binds(owner: Owner, holder?: string): Attempt {
  return creates((address) =>
    bindNew({
      network: NETWORK,
      address: parseAddress(address),
      pool: POOL,
      owner,
      now: NOW,
      ...(holder !== undefined && { holder }),
    }),
  );
}

export function deletes(from: State): Attempt {
  return {
    from,
    act: (agent, _spec, there) => {
      const { name = '', uid, resourceVersion } = there?.metadata ?? {};
      if (uid === undefined || resourceVersion === undefined) throw new Error('there is nothing to delete');
      return agent.delete(ipReservations, { name }, { preconditions: { uid, resourceVersion } });
    },
  };
}

export function replaces(path: string, value: unknown): () => readonly PatchOp[] {
  return () => [{ op: 'add', path, value }];
}

/** The patch that takes a Released one for `mine`, unless told otherwise. */
export function takes(spec: IPReservationSpec, more: Partial<Binding> = {}): PatchOp[] {
  return takeReleased(spec, { pool: POOL, owner: mine, now: NOW, ...more }).patch;
}

/** The same without its guards: what somebody would send who does not care. */
export function seizes(spec: IPReservationSpec, more: Partial<Binding> = {}): PatchOp[] {
  return takes(spec, more).filter(({ op }) => op !== 'test');
}

/** The patch that takes a Held one. */
export function takesHeld(holder: string, owner: Owner = mine): (spec: IPReservationSpec) => PatchOp[] {
  return (spec) => takeHeld(spec, { pool: POOL, owner, now: NOW, holder }).patch;
}
