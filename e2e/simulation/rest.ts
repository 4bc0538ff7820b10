/** What must not be there when everything has been well for long enough. */
import { ipPools, ipReservations } from '../../crds/resources.ts';
import type { IPReservationSpec } from '../../crds/types.ts';
import { events, MIRROR_ANNOTATION } from '../../kube/core.ts';
import type { Cluster } from './cluster.ts';
import type { PodIdentity } from './oracle.ts';
import { addressOf, HIGHEST } from './schedule.ts';

/** One line for each thing that is lost or left over; empty: all is as it must be. */
export function leftovers(cluster: Cluster): string[] {
  return [...reservations(cluster), ...tables(cluster), ...waiting(cluster)];
}

function expected(cluster: Cluster): Set<string> {
  return new Set(
    [...cluster.oracle.live.values()].flatMap(({ addresses, container }) =>
      addresses.map((address) => `${address} ${container}`),
    ),
  );
}

function reservations(cluster: Cluster): string[] {
  const live = expected(cluster);
  const left: string[] = [];
  for (const { spec } of cluster.server.memory.objects(ipReservations)) {
    const { address, state, owner } = spec;
    if (isPersons(spec)) continue;
    const text = `${address} ${owner?.containerID ?? 'nobody'}`;
    if (state === 'Bound' && live.delete(text)) continue;
    // An ADD that can not have all that it needs takes it out of its rest, and gives it back to begin anew.
    if (state === 'Released' && isSomebodyWaiting(cluster)) continue;
    left.push(`${state} ${text}`);
  }
  for (const text of live) {
    if (mayLack(cluster, text) || isReportedConflict(cluster, text)) continue;
    left.push(`missing: ${text}`);
  }
  return left;
}

/** Kept for a holder or for something outside, or bound to a node. */
function isPersons({ state, owner, holder }: IPReservationSpec): boolean {
  if (state === 'Held') return holder !== undefined || owner?.kind === 'External';
  return state === 'Bound' && owner?.kind === 'Node' && owner.containerID === undefined;
}

/** Of a static pod whose mirror can not be made, as a restore has brought back another pod of that name: it counts as gone. */
function mayLack({ oracle }: Cluster, text: string): boolean {
  const sandbox = oracle.live.get(text.split(' ')[1] ?? '');
  return sandbox?.pod.isStatic === true && !oracle.isProtected(sandbox);
}

/** After a restore the address was given to somebody who lives too: then people know of it. */
function isReportedConflict({ oracle, server }: Cluster, text: string): boolean {
  const [address = '', container = ''] = text.split(' ');
  const sandbox = oracle.live.get(container);
  const isAnothers = [...oracle.live.values()].some(
    (other) => other !== sandbox && other.addresses.includes(address),
  );
  if (sandbox === undefined || !oracle.restored.isLost(sandbox, address) || !isAnothers) return false;
  return server.memory
    .objects(events)
    .some(
      ({ reason, message, involvedObject }) =>
        reason === 'AddressConflict' &&
        involvedObject.name === sandbox.pod.name &&
        message.includes(`address ${address} `),
    );
}

function tables(cluster: Cluster): string[] {
  const live = expected(cluster);
  const left: string[] = [];
  for (const [node, { journal }] of cluster.machines) {
    if (journal === undefined) {
      left.push(`no agent runs on ${node}`);
      continue;
    }
    const { attachments, intents, releasing } = journal.state;
    for (const { owner, claims } of attachments.values()) {
      for (const { address } of claims) {
        const text = `${address} ${owner.containerID}`;
        if (!live.delete(text)) left.push(`in the table of ${node}: ${text}`);
      }
    }
    for (const key of intents.keys()) left.push(`in doubt on ${node}: ${key}`);
    for (const key of releasing.keys()) left.push(`being released on ${node}: ${key}`);
  }
  for (const text of live) if (!mayLack(cluster, text)) left.push(`in no table: ${text}`);
  return left;
}

/** A pod that waits although there is room for it. */
function waiting(cluster: Cluster): string[] {
  const left: string[] = [];
  const hasRoom = cluster.setup.pools.every((pool) => roomOf(cluster, pool) > 0);
  for (const [node, { workers }] of cluster.kubelets) {
    for (const { pod, wanted, isLive, containers } of workers.values()) {
      if (wanted !== 'run' && containers.length > 0) left.push(`pod ${pod.name} is not yet ended on ${node}`);
      else if (wanted === 'run' && !isLive && hasRoom && mayHave(cluster, pod))
        left.push(`pod ${pod.name} waits although there is room`);
    }
  }
  return left;
}

function isSomebodyWaiting({ kubelets }: Cluster): boolean {
  return [...kubelets.values()].some(({ workers }) =>
    [...workers.values()].some(({ wanted, isLive }) => wanted === 'run' && !isLive),
  );
}

/** Pod b asks for one address only; and nobody knows a static pod whose mirror can not be made (`mayLack`). */
function mayHave(cluster: Cluster, { name, uid, isStatic }: PodIdentity): boolean {
  const namesake = cluster.pod(name)?.metadata;
  const isUnknown = isStatic && namesake !== undefined && namesake.annotations?.[MIRROR_ANNOTATION] !== uid;
  return !(name === 'b' && cluster.setup.isRequested) && !isUnknown;
}

function roomOf(cluster: Cluster, name: string): number {
  const pool = cluster.server.memory.objects(ipPools).find(({ metadata }) => metadata.name === name);
  if (pool === undefined || pool.metadata.deletionTimestamp !== undefined) return 0;
  const taken = new Set(cluster.server.memory.objects(ipReservations).map(({ spec }) => spec.address));
  const last = pool.spec.ranges?.[0]?.split('-')[1];
  let free = 0;
  for (let n = 2; n <= HIGHEST; n += 1) {
    const address = addressOf(name, n);
    if (!taken.has(address)) free += 1;
    if (address === last) break;
  }
  return free;
}
