/** Attachments that were made long ago, as an agent finds them that starts on a node where others have worked. */
import { API_VERSION, ipReservations } from '../../../crds/resources.ts';
import type { IPReservationSpec } from '../../../crds/types.ts';
import { parseAddress } from '../../../ipam/address.ts';
import { reservationName } from '../../../ipam/name.ts';
import { bindNew } from '../../../ipam/reservation.ts';
import type { Subject } from './subject.ts';

/** Older than what GC spares. */
const AGE_MS = 20 * 60_000;
const PREFIX = 'old-';

export interface OldAttachment {
  /** Begins with `old-`. */
  readonly containerID: string;
  readonly cniNetwork: string;
  /** True: its owner is the node, not a pod. */
  readonly ofNode?: boolean;
}

/** True for the reservation of an attachment that `bindOld` made. */
export function isOld({ owner }: Pick<IPReservationSpec, 'owner'>): boolean {
  return owner?.containerID?.startsWith(PREFIX) ?? false;
}

/**
 * Makes the reservations, of live pods and with a `since` of 20 minutes ago, and starts the agent anew, which adopts
 * them (docs/adr/0007).
 */
export async function bindOld(subject: Subject, attachments: readonly OldAttachment[]): Promise<void> {
  const { node } = subject.agent;
  const now = Date.now() - AGE_MS;
  for (const [index, { containerID, cniNetwork, ofNode = false }] of attachments.entries()) {
    const pod = ofNode ? undefined : await subject.pod();
    const at = { node, containerID, ifname: 'net1', cniNetwork };
    const owner =
      pod === undefined
        ? { kind: 'Node' as const, ...at }
        : { kind: 'Pod' as const, namespace: pod.namespace, name: pod.name, uid: pod.uid, ...at };
    const address = parseAddress(`10.1.0.${200 + index}`);
    await subject.cluster.api.create(ipReservations, {
      apiVersion: API_VERSION,
      kind: 'IPReservation',
      metadata: { name: reservationName('conf', address) },
      spec: bindNew({ network: 'conf', address, pool: 'v4', owner, now }),
    });
  }
  await subject.agent.program.stop();
  await subject.agent.program.start();
}
