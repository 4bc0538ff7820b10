/**
 * Takes back the addresses of owners that are gone.
 *
 * The way of a reservation: its owner is gone in the cache (candidate) → it stays so for the grace → a live read says
 * the same (confirmed) → one guarded write. Whatever the cache says, nothing is written without that live read, and
 * the write itself fails if the reservation is no longer the one that was judged. The cache only ever saves work.
 */

import { ipReservations } from '../crds/resources.ts';
import type { IPReservation } from '../crds/types.ts';
import { endHold, type Release, releaseOf } from '../ipam/reservation.ts';
import type { Api } from '../kube/api.ts';
import type { Clock } from '../kube/clock.ts';
import type { Outcome } from '../kube/controller.ts';
import type { Node, Pod } from '../kube/core.ts';
import { isApiError } from '../kube/errors.ts';
import type { Log } from '../kube/log.ts';
import type { RateLimiter } from '../kube/ratelimiter.ts';
import type { ReadonlyStore } from '../kube/store.ts';
import { POD_BY_UID } from './caches.ts';
import type { Leak } from './leaks.ts';
import { type GoneReason, isHolderThere, subjectOf, whyPodGone } from './liveness.ts';
import { LiveReads } from './livereads.ts';
import type { OperatorMetrics, OrphanPhase } from './metrics.ts';

/** How long to wait for caches that are not there yet. */
const NOT_SYNCED_MS = 1_000;

export interface OrphanOptions {
  readonly api: Pick<Api, 'get' | 'list' | 'patch' | 'delete'>;
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
  /** How many are asked about and taken back a second. */
  readonly limiter: RateLimiter;
  /** Log and count, and write nothing. */
  readonly dryRun: boolean;
  readonly metrics: Pick<OperatorMetrics, 'orphans' | 'released'>;
  /** Told of each that was taken back. */
  readonly onLeak: (leak: Leak) => void;
}

interface Candidate {
  /** Which ownership was judged; another one starts a new grace. */
  readonly ownership: string;
  /** Of the owner; '' for a holder, which has none. */
  readonly node: string;
  /** On the clock's monotonic scale. */
  readonly since: number;
  phase: OrphanPhase;
}

export class OrphanReconciler {
  readonly #options: OrphanOptions;
  readonly #candidates = new Map<string, Candidate>();
  /** Candidates of each node. */
  readonly #crowds = new Map<string, number>();
  readonly #count: Record<OrphanPhase, number> = { candidate: 0, confirmed: 0 };
  readonly #reads: LiveReads;

  constructor(options: OrphanOptions) {
    this.#options = options;
    this.#reads = new LiveReads(options.api, options.clock);
  }

  /**
   * Notes what the cache says of a reservation at this moment; call it whenever it, its pod or its node may have changed.
   * An owner who is there again, for however short a time, begins a new grace. Returns whether to reconcile it.
   */
  observe(reservation: IPReservation): boolean {
    if (!this.#options.synced()) {
      return false;
    }
    const name = reservation.metadata.name ?? '';
    if (this.#whyGone(reservation) === undefined) {
      this.#drop(name);
      return false;
    }
    this.#track(name, reservation);
    return true;
  }

  /** Forgets a reservation that is gone. */
  forget(name: string): void {
    this.#drop(name);
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
    const candidate = this.#track(name, reservation);
    const rest = candidate.since + graceMs - clock.monotonic();
    if (rest > 0) {
      return { type: 'requeueAfter', ms: rest };
    }
    if (this.#options.dryRun && candidate.phase === 'confirmed') {
      return { type: 'done' };
    }
    await this.#options.limiter.take(signal);
    const crowd = this.#crowds.get(candidate.node) ?? 0;
    const question = { seeming, notBefore: candidate.since + graceMs, crowd };
    const reason = await this.#reads.whyGone(subjectOf(reservation.spec), question, signal);
    if (reason === undefined) {
      log.warn(
        { reservation: name, seeming, owner: reservation.spec.owner },
        'the API server does not say so: not taken back',
      );
      this.#drop(name);
      return { type: 'done' };
    }
    this.#setPhase(name, candidate, 'confirmed');
    if (this.#options.dryRun) {
      const { owner, pool, address } = reservation.spec;
      log.info(
        { reservation: name, pool, address, reason, owner },
        'dry run: this address would be taken back',
      );
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
      case 'holder':
        return isHolderThere(this.#options.pods.get(`${subject.namespace}/${subject.pod}`))
          ? undefined
          : 'HolderGone';
    }
  }

  async #release(
    name: string,
    reservation: IPReservation,
    reason: GoneReason,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { clock, cooldownOf, log, metrics, onLeak } = this.#options;
    const { owner, pool, address, state } = reservation.spec;
    const fields = { reservation: name, pool, address, reason, owner };
    const step = state === 'Held' ? endHold : releaseOf;
    const release = step(reservation.spec, cooldownOf(pool), clock.now());
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
    onLeak({ reservation, reason, became });
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

  #track(name: string, reservation: IPReservation): Candidate {
    const ownership = ownershipOf(reservation);
    const known = this.#candidates.get(name);
    if (known?.ownership === ownership) {
      return known;
    }
    this.#drop(name);
    const node = reservation.spec.state === 'Bound' ? (reservation.spec.owner?.node ?? '') : '';
    const since = this.#options.clock.monotonic();
    const candidate: Candidate = { ownership, node, since, phase: 'candidate' };
    this.#candidates.set(name, candidate);
    this.#crowds.set(node, (this.#crowds.get(node) ?? 0) + 1);
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
      const left = (this.#crowds.get(candidate.node) ?? 0) - 1;
      if (left > 0) this.#crowds.set(candidate.node, left);
      else this.#crowds.delete(candidate.node);
    }
  }

  #changeCount(phase: OrphanPhase, by: 1 | -1): void {
    this.#count[phase] += by;
    this.#options.metrics.orphans.set({ phase }, this.#count[phase]);
  }
}

function ownershipOf({ metadata, spec: { state, owner, holder } }: IPReservation): string {
  return JSON.stringify([
    metadata.uid,
    state,
    owner?.uid,
    owner?.node,
    owner?.containerID,
    owner?.ifname,
    state === 'Held' ? holder : undefined,
  ]);
}
