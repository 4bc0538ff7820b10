/**
 * Takes back the addresses of owners that are gone.
 *
 * The way of a reservation: its owner is gone in the cache (candidate) → it stays so for the grace → a live read says
 * the same (confirmed) → one guarded write. Whatever the cache says, nothing is written without that live read, and
 * the write itself fails if the reservation is no longer the one that was judged. The cache only ever saves work.
 */

import { ipReservations } from '../crds/resources.ts';
import type { IPReservation } from '../crds/types.ts';
import { type Release, releaseOf } from '../ipam/reservation.ts';
import type { Api } from '../kube/api.ts';
import type { Clock } from '../kube/clock.ts';
import type { Outcome } from '../kube/controller.ts';
import { type Node, nodes, type Pod, pods } from '../kube/core.ts';
import { isApiError } from '../kube/errors.ts';
import type { Log } from '../kube/log.ts';
import type { ReadonlyStore } from '../kube/store.ts';
import { type GoneReason, podHasUid, type Subject, subjectOf, whyPodGone } from './liveness.ts';
import type { OperatorMetrics, OrphanPhase } from './metrics.ts';
import type { Report } from './report.ts';

/** Index of pods by every UID that CNI may know them by. */
export const POD_BY_UID = 'uid';
/** How long to wait for caches that are not there yet. */
const NOT_SYNCED_MS = 1_000;

export interface OrphanOptions {
  readonly api: Pick<Api, 'get' | 'patch' | 'delete'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly reservations: ReadonlyStore<IPReservation>;
  /** With the index POD_BY_UID. */
  readonly pods: ReadonlyStore<Pod>;
  readonly nodes: ReadonlyStore<Node>;
  /** Whether all three stores have been filled. Until then nothing is judged. */
  readonly synced: () => boolean;
  /** Milliseconds that addresses of a pool rest; 0 for a pool that is gone. */
  readonly cooldownOf: (pool: string) => number;
  /** Milliseconds that an owner must be gone before anything is done. */
  readonly graceMs: number;
  /** Log and count, and write nothing. */
  readonly dryRun: boolean;
  readonly metrics: Pick<OperatorMetrics, 'orphans' | 'released'>;
  readonly report: Report;
}

interface Candidate {
  /** Which ownership was judged; another one starts a new grace. */
  readonly ownership: string;
  /** On the clock's monotonic scale. */
  readonly since: number;
  phase: OrphanPhase;
}

export class OrphanReconciler {
  readonly #options: OrphanOptions;
  readonly #candidates = new Map<string, Candidate>();
  readonly #count: Record<OrphanPhase, number> = { candidate: 0, confirmed: 0 };

  constructor(options: OrphanOptions) {
    this.#options = options;
  }

  /** Whether reconciling the reservation could change anything: its owner seems gone, or seemed so before. */
  concerns(reservation: IPReservation): boolean {
    return (
      this.#options.synced() &&
      (this.#candidates.has(reservation.metadata.name ?? '') || this.#whyGone(reservation) !== undefined)
    );
  }

  /** Names of all reservations that `concerns` is true for: one scan over the cache. */
  scan(): string[] {
    const { reservations } = this.#options;
    const present = reservations.list().filter((reservation) => this.concerns(reservation));
    const vanished = [...this.#candidates.keys()].filter((name) => reservations.get(name) === undefined);
    return [...present.map(({ metadata }) => metadata.name ?? ''), ...vanished];
  }

  /**
   * Brings one reservation one step further.
   * @throws ApiError of a live read or of the write; it is tried again with backoff
   */
  async reconcile(name: string, signal: AbortSignal): Promise<Outcome> {
    const { clock, graceMs, log, reservations, synced } = this.#options;
    if (!synced()) {
      return { type: 'requeueAfter', ms: NOT_SYNCED_MS };
    }
    const reservation = reservations.get(name);
    const seeming = reservation && this.#whyGone(reservation);
    if (reservation === undefined || seeming === undefined) {
      this.#drop(name);
      return { type: 'done' };
    }
    const candidate = this.#track(name, ownershipOf(reservation));
    const rest = candidate.since + graceMs - clock.monotonic();
    if (rest > 0) {
      return { type: 'requeueAfter', ms: rest };
    }
    const reason = await this.#confirm(subjectOf(reservation.spec), signal);
    if (reason === undefined) {
      log.warn(
        { reservation: name, seeming, owner: reservation.spec.owner },
        'the cache is behind: owner is alive',
      );
      this.#drop(name);
      return { type: 'done' };
    }
    const isNew = candidate.phase === 'candidate';
    this.#setPhase(name, candidate, 'confirmed');
    if (this.#options.dryRun) {
      if (isNew) {
        const { owner, pool, address } = reservation.spec;
        log.info(
          { reservation: name, pool, address, reason, owner },
          'dry run: this address would be taken back',
        );
      }
      return { type: 'done' };
    }
    return this.#release(name, reservation, reason, signal);
  }

  /** The cache's opinion. */
  #whyGone(reservation: IPReservation): GoneReason | undefined {
    const subject = subjectOf(reservation.spec);
    switch (subject.kind) {
      case 'nobody':
        return undefined;
      case 'node':
        return this.#options.nodes.get(subject.node) === undefined ? 'OwnerNodeDeleted' : undefined;
      case 'pod': {
        const node = this.#options.nodes.get(subject.node);
        const found = this.#options.pods.byIndex(POD_BY_UID, subject.uid);
        const reasons = found.map((pod) => whyPodGone(subject, pod, node));
        return reasons.includes(undefined) ? undefined : (reasons[0] ?? 'PodDeleted');
      }
    }
  }

  /** The API server's opinion, of this moment. */
  async #confirm(subject: Subject, signal: AbortSignal): Promise<GoneReason | undefined> {
    const { api } = this.#options;
    switch (subject.kind) {
      case 'nobody':
        return undefined;
      case 'node': {
        const node = await orAbsent(api.get(nodes, { name: subject.node }, { signal }));
        return node === undefined ? 'OwnerNodeDeleted' : undefined;
      }
      case 'pod': {
        const key = { namespace: subject.namespace, name: subject.name };
        const pod = await orAbsent(api.get(pods, key, { signal }));
        const terminating = pod?.metadata.deletionTimestamp !== undefined && podHasUid(pod, subject.uid);
        const node = terminating
          ? await orAbsent(api.get(nodes, { name: subject.node }, { signal }))
          : undefined;
        return whyPodGone(subject, pod, node);
      }
    }
  }

  async #release(
    name: string,
    reservation: IPReservation,
    reason: GoneReason,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { clock, cooldownOf, log, metrics, report } = this.#options;
    const { owner, pool, address } = reservation.spec;
    const fields = { reservation: name, pool, address, reason, owner };
    const release = releaseOf(reservation.spec, cooldownOf(pool), clock.now());
    try {
      await this.#write(name, reservation, release, signal);
    } catch (error) {
      if (isApiError(error, 'NotFound', 'Conflict', 'TestFailed')) {
        // Somebody was first, or the cache is behind: what is there now comes by the watch and is judged anew.
        log.info({ ...fields, error: error.message }, 'the reservation has changed: not taken back');
        this.#drop(name);
        return { type: 'done' };
      }
      throw error;
    }
    const became = release.action === 'delete' ? 'free' : release.to.state;
    log.info({ ...fields, became }, 'took an address back');
    metrics.released.inc({ reason });
    this.#drop(name);
    const who = owner?.kind === 'Node' ? `node ${owner.node}` : `pod ${owner?.namespace}/${owner?.name}`;
    report(reservation, {
      type: 'Normal',
      reason: 'OrphanReleased',
      message: `took ${address} back from ${who} (${owner?.ifname ?? 'no interface'}): ${reason}; it is now ${became}`,
    });
    return { type: 'done' };
  }

  async #write(
    name: string,
    reservation: IPReservation,
    release: Release,
    signal: AbortSignal,
  ): Promise<void> {
    const { api } = this.#options;
    if (release.action === 'patch') {
      await api.patch(ipReservations, { name }, release.patch, { signal });
      return;
    }
    const { uid, resourceVersion } = reservation.metadata;
    if (uid === undefined || resourceVersion === undefined) {
      throw new Error(`reservation ${name} has no uid or resourceVersion: it cannot be deleted safely`);
    }
    await api.delete(ipReservations, { name }, { preconditions: { uid, resourceVersion }, signal });
  }

  #track(name: string, ownership: string): Candidate {
    const known = this.#candidates.get(name);
    if (known?.ownership === ownership) {
      return known;
    }
    this.#drop(name);
    const candidate: Candidate = { ownership, since: this.#options.clock.monotonic(), phase: 'candidate' };
    this.#candidates.set(name, candidate);
    this.#changeCount('candidate', 1);
    return candidate;
  }

  #setPhase(name: string, candidate: Candidate, phase: OrphanPhase): void {
    if (this.#candidates.get(name) === candidate) {
      this.#changeCount(candidate.phase, -1);
      candidate.phase = phase;
      this.#changeCount(phase, 1);
    }
  }

  #drop(name: string): void {
    const candidate = this.#candidates.get(name);
    if (candidate !== undefined) {
      this.#candidates.delete(name);
      this.#changeCount(candidate.phase, -1);
    }
  }

  #changeCount(phase: OrphanPhase, by: 1 | -1): void {
    this.#count[phase] += by;
    this.#options.metrics.orphans.set({ phase }, this.#count[phase]);
  }
}

function ownershipOf({ metadata, spec }: IPReservation): string {
  return JSON.stringify([
    metadata.uid,
    spec.owner?.uid,
    spec.owner?.node,
    spec.owner?.containerID,
    spec.owner?.ifname,
  ]);
}

/** The object, or undefined if there is none; any other failure stays one. */
async function orAbsent<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (isApiError(error, 'NotFound')) {
      return undefined;
    }
    throw error;
  }
}
