/**
 * Compares what the runtimes know with what the API server has. It knows nothing of how Berth works, only what it promises:
 * one owner for an address, a reservation for every live attachment, and nothing left over at rest.
 */
import type { IPReservation } from '../../crds/types.ts';
import { type Attachment, isProtected, keyOf, type Overlap } from './ledger.ts';
import type { ConflictEvent } from './reports.ts';

/** An etcd that was put back to an older state. All times on the ledger's clock. */
export interface Restore {
  /** Before the snapshot was begun. */
  readonly snapshotAt: number;
  /** Before the servers were stopped. */
  readonly from: number;
  /** When the API server was ready again. */
  readonly to: number;
}

/** Milliseconds after a restore in which agents find out: at their first reconnect, or when they are started again. */
export const NOTICE_MS = 60_000;

export interface Missing {
  readonly attachment: Attachment;
  readonly line: string;
}

export interface Differences {
  /** Addresses of live attachments that are not Bound to them. */
  readonly missing: readonly Missing[];
  /** Reservations that are nobody's. */
  readonly leaked: readonly string[];
}

/** Compares attachments with reservations; empty where both are the same, exactly. */
export function differences(live: readonly Attachment[], reservations: Iterable<IPReservation>): Differences {
  const owned = new Map(
    live.flatMap((attachment) => attachment.addresses.map((address) => [address, attachment] as const)),
  );
  const leaked: string[] = [];
  const seen = new Set<string>();
  for (const { spec } of reservations) {
    const { address, state, owner, pool } = spec;
    const attachment = owned.get(address);
    if (state === 'Bound' && attachment !== undefined && isOf(attachment, spec)) {
      if (seen.has(address)) leaked.push(`${address}: a second reservation of it`);
      seen.add(address);
      continue;
    }
    const whose = `pod ${owner?.name} (${owner?.uid}) on ${owner?.node}, ${owner?.containerID}/${owner?.ifname}`;
    leaked.push(`${address} of pool ${pool}: ${state} of ${whose}`);
  }
  const missing = [...owned]
    .filter(([address]) => !seen.has(address))
    .map(([address, attachment]) => ({ attachment, line: `${address} of ${describe(attachment)}` }));
  return { missing, leaked };
}

function isOf({ pod, containerID, ifname }: Attachment, { owner }: IPReservation['spec']): boolean {
  return (
    owner?.uid === pod.uid &&
    owner.node === pod.node &&
    owner.containerID === containerID &&
    owner.ifname === ifname
  );
}

function describe(attachment: Attachment): string {
  const { pod } = attachment;
  return `${keyOf(attachment)} (pod ${pod.name}, ${pod.uid}, on ${pod.node})`;
}

export interface Duplicates {
  /** Made between a restore and its discovery, and reported. */
  readonly afterRestore: readonly string[];
  /** As those, but no Event or metric tells of them. */
  readonly unreported: readonly string[];
  /** As those, but the older attachment ended before its agent could find out, so that there was nothing to report. */
  readonly endedFirst: readonly string[];
  /** All others. */
  readonly forbidden: readonly string[];
}

export interface DuplicateEvidence {
  readonly overlaps: readonly Overlap[];
  readonly restores: readonly Restore[];
  readonly events: readonly ConflictEvent[];
  readonly conflictsOn: (node: string) => number;
}

/** Which of the addresses that two attachments had at the same time were duplicates, and which of those are known. */
export function judge({ overlaps, restores, events, conflictsOn }: DuplicateEvidence): Duplicates {
  const afterRestore: string[] = [];
  const unreported: string[] = [];
  const endedFirst: string[] = [];
  const forbidden: string[] = [];
  for (const { address, older, newer } of overlaps) {
    const at = newer.addedAt;
    // Its pod had been removed by force: the address was free to be taken back.
    if (older.goneAt !== undefined && older.goneAt <= at) continue;
    const line = `${address}: ${describe(older)} had it, ${describe(newer)} got it`;
    const cause = restores.find(
      ({ snapshotAt, from, to }) =>
        older.addedAt >= snapshotAt && older.addedAt <= to && from <= at && at <= to + NOTICE_MS,
    );
    if (cause === undefined) {
      forbidden.push(line);
    } else if (
      events.some(({ uid, message }) => uid === older.pod.uid && message.includes(address)) &&
      conflictsOn(older.pod.node) > 0
    ) {
      afterRestore.push(line);
    } else if ((older.endedAt ?? older.goneAt ?? Number.POSITIVE_INFINITY) <= cause.to + NOTICE_MS) {
      endedFirst.push(line);
    } else {
      unreported.push(line);
    }
  }
  return { afterRestore, unreported, endedFirst, forbidden };
}

/** Live attachments whose pods exist: those that Berth owes their addresses. */
export function protectedOnes(live: readonly Attachment[]): Attachment[] {
  return live.filter(isProtected);
}
