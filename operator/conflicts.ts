/**
 * Which addresses have two users, so that their pools can say so.
 *
 * Only the agent of the pod that has lost its reservation knows: it tells it by Events on both pods, again and again while
 * it lasts, and once when it is over; those on that pod name the reservation (`plugin/agent/conflicts.ts`). An Event is a
 * hint and nothing more: a conflict counts only while the caches show that its pod lives and that the reservation is
 * somebody else's.
 */
import { EVENT_ADDRESS_CONFLICT, ipReservations } from '../crds/resources.ts';
import type { IPReservation, IPReservationSpec } from '../crds/types.ts';
import type { Clock } from '../kube/clock.ts';
import { type Event, hasUid, type Pod } from '../kube/core.ts';
import type { ReadonlyStore } from '../kube/store.ts';
import { POD_BY_UID } from './caches.ts';

/** Milliseconds after which a conflict that nobody tells any more is forgotten: an agent tells one every ten minutes. */
export const FORGOTTEN_AFTER_MS = 1_800_000;

/** An address that two use. */
export interface Conflict {
  readonly address: string;
  /** Who has the reservation, and the pod that has the address as well: `pod shop/web`. */
  readonly users: readonly [owner: string, other: string];
}

export interface ConflictOptions {
  readonly clock: Pick<Clock, 'now'>;
  readonly reservations: ReadonlyStore<IPReservation>;
  /** With the index POD_BY_UID. */
  readonly pods: ReadonlyStore<Pod>;
  /** Whether the Events have been read. */
  readonly synced: () => boolean;
  /** Told of each pool whose conflicts have changed. */
  readonly onChange: (pool: string) => void;
}

/** What has been told of one pod and one reservation. */
interface Told {
  readonly uid: string;
  readonly reservation: string;
  /** By the Event's name: an agent that was restarted writes another one. */
  readonly events: Map<string, { readonly isOver: boolean; readonly at: number }>;
}

export class ConflictIndex {
  readonly #options: ConflictOptions;
  readonly #told = new Map<string, Told>();
  #byPool: ReadonlyMap<string, readonly Conflict[]> = new Map();

  constructor(options: ConflictOptions) {
    this.#options = options;
  }

  /** An Event is new or was told again. Others than those of conflicts are left alone. */
  put(event: Event): void {
    const pair = pairOf(event);
    if (pair === undefined) return;
    const key = JSON.stringify(pair);
    const told = this.#told.get(key) ?? { ...pair, events: new Map() };
    const at = Date.parse(event.lastTimestamp ?? event.firstTimestamp ?? '');
    told.events.set(event.metadata.name ?? '', { isOver: event.type === 'Normal', at: at || 0 });
    this.#told.set(key, told);
    this.refresh();
  }

  /** An Event is gone. */
  delete(event: Event): void {
    const pair = pairOf(event);
    if (pair === undefined) return;
    const key = JSON.stringify(pair);
    const told = this.#told.get(key);
    told?.events.delete(event.metadata.name ?? '');
    if (told?.events.size === 0) this.#told.delete(key);
    this.refresh();
  }

  /** A reservation, or the pod of a UID, has changed. */
  touched(what: { readonly reservation?: string; readonly uids?: readonly string[] }): void {
    const { reservation, uids = [] } = what;
    for (const told of this.#told.values()) {
      if (told.reservation === reservation || uids.includes(told.uid)) {
        this.refresh();
        return;
      }
    }
  }

  /** Judges everything anew. */
  refresh(): void {
    const before = this.#byPool;
    const after = new Map<string, Conflict[]>();
    for (const told of this.#told.values()) {
      const judged = this.#judge(told);
      if (judged !== undefined) {
        const [pool, conflict] = judged;
        after.set(pool, [...(after.get(pool) ?? []), conflict]);
      }
    }
    for (const conflicts of after.values()) conflicts.sort(byAddress);
    this.#byPool = after;
    for (const pool of new Set([...before.keys(), ...after.keys()])) {
      if (JSON.stringify(before.get(pool)) !== JSON.stringify(after.get(pool))) this.#options.onChange(pool);
    }
  }

  /** The addresses of the pool that have two users, in the order of their text; undefined while that is not known. */
  of(pool: string): readonly Conflict[] | undefined {
    return this.#options.synced() ? (this.#byPool.get(pool) ?? []) : undefined;
  }

  #judge({ uid, reservation, events }: Told): [pool: string, conflict: Conflict] | undefined {
    const { clock, reservations, pods } = this.#options;
    const [newest] = [...events.values()].toSorted(
      (a, b) => b.at - a.at || Number(b.isOver) - Number(a.isOver),
    );
    if (newest === undefined || newest.isOver || clock.now() - newest.at > FORGOTTEN_AFTER_MS)
      return undefined;
    const [pod] = pods.byIndex(POD_BY_UID, uid);
    const spec = reservations.get(reservation)?.spec;
    if (pod === undefined || isTerminal(pod) || spec === undefined || spec.state === 'Released')
      return undefined;
    if (spec.state === 'Bound' && hasUid(pod.metadata, spec.owner?.uid ?? '')) return undefined;
    const { namespace, name } = pod.metadata;
    return [spec.pool, { address: spec.address, users: [userOf(spec), `pod ${namespace}/${name}`] }];
  }
}

function pairOf({ reason, involvedObject, related }: Event): Pick<Told, 'uid' | 'reservation'> | undefined {
  const { kind, uid } = involvedObject;
  const isOne = reason === EVENT_ADDRESS_CONFLICT && kind === 'Pod' && related?.kind === ipReservations.kind;
  return isOne && uid !== undefined && related.name !== undefined
    ? { uid, reservation: related.name }
    : undefined;
}

function isTerminal({ status }: Pod): boolean {
  return status?.phase === 'Succeeded' || status?.phase === 'Failed';
}

function userOf({ state, owner, holder }: IPReservationSpec): string {
  if (state === 'Held') return `what it is held for (${holder ?? owner?.name ?? 'a person'})`;
  return owner?.kind === 'Pod' ? `pod ${owner.namespace}/${owner.name}` : `node ${owner?.node ?? '(none)'}`;
}

function byAddress(a: Conflict, b: Conflict): number {
  return a.address < b.address ? -1 : Number(a.address > b.address);
}
