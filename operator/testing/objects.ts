/** Objects for the operator's tests: each with what the rule under test needs, and nothing unusual otherwise. */

import { API_VERSION } from '../../crds/resources.ts';
import type {
  IPPool,
  IPPoolSpec,
  IPReservation,
  IPReservationSpec,
  ReservationOwner,
} from '../../crds/types.ts';
import { parseAddress } from '../../ipam/address.ts';
import { reservationName } from '../../ipam/name.ts';
import { MIRROR_ANNOTATION, type Node, type Pod } from '../../kube/core.ts';
import { OUT_OF_SERVICE_TAINT } from '../liveness.ts';

export function aPool(name: string, spec: Partial<IPPoolSpec> = {}): IPPool {
  return {
    apiVersion: API_VERSION,
    kind: 'IPPool',
    metadata: { name },
    spec: { network: 'default', subnet: '10.0.0.0/24', cooldown: '30s', ...spec },
  };
}

export const anOwner: ReservationOwner = {
  kind: 'Pod',
  namespace: 'shop',
  name: 'web',
  uid: 'uid-1',
  node: 'node-1',
  containerID: 'container-1',
  ifname: 'net1',
  cniNetwork: 'storage',
};

export function aReservation(address: string, spec: Partial<IPReservationSpec> = {}): IPReservation {
  const network = spec.network ?? 'default';
  return {
    apiVersion: API_VERSION,
    kind: 'IPReservation',
    metadata: { name: reservationName(network, parseAddress(address)) },
    spec: {
      network,
      address,
      pool: 'blue',
      state: 'Bound',
      owner: anOwner,
      since: '2026-01-01T00:00:00Z',
      ...spec,
    },
  };
}

export interface PodShape {
  readonly name?: string;
  readonly uid?: string;
  readonly node?: string;
  readonly phase?: NonNullable<NonNullable<Pod['status']>['phase']>;
  readonly mirror?: string;
  readonly terminating?: boolean;
}

/** The pod that `anOwner` names, unless told otherwise. */
export function aPod(shape: PodShape = {}): Pod {
  const { name = 'web', uid = 'uid-1', node = 'node-1', phase = 'Running', mirror, terminating } = shape;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: 'shop',
      uid,
      ...(mirror === undefined ? {} : { annotations: { [MIRROR_ANNOTATION]: mirror } }),
      ...(terminating === true ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
    },
    spec: { nodeName: node },
    status: { phase },
  };
}

export function aNode(name = 'node-1', outOfService = false): Node {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name },
    spec: outOfService ? { taints: [{ key: OUT_OF_SERVICE_TAINT, effect: 'NoExecute' }] } : {},
  };
}
