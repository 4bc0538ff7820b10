/** Who has an address. */

import { IpamError, quote } from './errors.ts';

/**
 * `spec.owner` of an IPReservation.
 * - Pod: a pod's interface; all fields but `cniNetwork` are set.
 * - Node: something on the host; `node` is set.
 * - External: something that Berth does not start; only with a Held reservation.
 */
export interface Owner {
  readonly kind: 'Pod' | 'Node' | 'External';
  readonly namespace?: string;
  readonly name?: string;
  /** K8S_POD_UID as the plugin received it. */
  readonly uid?: string;
  readonly node?: string;
  readonly containerID?: string;
  readonly ifname?: string;
  /** `name` of the CNI network configuration. */
  readonly cniNetwork?: string;
}

/** One attachment on one node. `uid` is absent where CNI gave no pod UID. */
export interface Attachment {
  readonly containerID: string;
  readonly ifname: string;
  readonly node: string;
  readonly uid?: string;
}

/** What the holders of a pod are computed from; a Pod object fits. */
export interface HolderSource {
  readonly metadata: {
    readonly namespace?: string;
    readonly name?: string;
    readonly ownerReferences?: readonly {
      readonly apiVersion: string;
      readonly kind: string;
      readonly name: string;
      readonly controller?: boolean;
    }[];
  };
}

const REQUIRED = {
  Pod: ['namespace', 'name', 'uid', 'node', 'containerID', 'ifname'],
  Node: ['node'],
  External: [],
} as const satisfies Record<Owner['kind'], readonly (keyof Owner)[]>;

/**
 * Checks that the owner has the fields that its kind needs, as the CRD demands.
 * @throws IpamError InvalidOwner
 */
export function checkOwner(owner: Owner): void {
  for (const name of REQUIRED[owner.kind]) {
    if (owner[name] === undefined || owner[name] === '') {
      const message = `an owner of kind ${owner.kind} has no ${name}; set ${REQUIRED[owner.kind].join(', ')}`;
      throw new IpamError('InvalidOwner', owner.kind, message);
    }
  }
}

/** True if the owner is this attachment; its UID is compared only where the attachment has one. */
export function ownerIs(owner: Owner | undefined, attachment: Attachment): boolean {
  return (
    owner !== undefined &&
    owner.kind !== 'External' &&
    owner.containerID === attachment.containerID &&
    owner.ifname === attachment.ifname &&
    owner.node === attachment.node &&
    (attachment.uid === undefined || owner.uid === attachment.uid)
  );
}

/**
 * The identities under which addresses may be held for this pod: `Pod/<namespace>/<name>`, and
 * `StatefulSet/<namespace>/<set>/<ordinal>` where a controller owner reference proves that the set made it (a name that
 * looks like one is not enough: anybody may call a pod "db-2").
 * @throws IpamError InvalidOwner if the pod has no name or namespace
 */
export function holdersOf(pod: HolderSource): string[] {
  const { namespace, name, ownerReferences = [] } = pod.metadata;
  if (namespace === undefined || name === undefined) {
    const message = `pod ${quote(`${namespace ?? ''}/${name ?? ''}`)} has no name or namespace; give a pod as the API has it`;
    throw new IpamError('InvalidOwner', `${namespace ?? ''}/${name ?? ''}`, message);
  }
  const holders = [`Pod/${namespace}/${name}`];
  const controller = ownerReferences.find((reference) => reference.controller === true);
  if (controller?.kind === 'StatefulSet' && controller.apiVersion.startsWith('apps/')) {
    const ordinal = name.startsWith(`${controller.name}-`) ? name.slice(controller.name.length + 1) : '';
    if (/^(0|[1-9][0-9]*)$/.test(ordinal))
      holders.push(`StatefulSet/${namespace}/${controller.name}/${ordinal}`);
  }
  return holders;
}
