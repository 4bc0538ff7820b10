/** The operator as one running whole: caches, the reconcilers, and what wakes which of them. */
import type { IPReservation } from '../crds/types.ts';
import type { Api } from '../kube/api.ts';
import type { Clock, Random } from '../kube/clock.ts';
import { type ControllerOptions, runController } from '../kube/controller.ts';
import type { Event, Pod } from '../kube/core.ts';
import type { Informer } from '../kube/informer.ts';
import type { Log } from '../kube/log.ts';
import { permitWrites } from '../kube/permit.ts';
import { RateLimiter } from '../kube/ratelimiter.ts';
import { RateLimitingQueue } from '../kube/workqueue.ts';
import { Audit } from './audit.ts';
import {
  type Caches,
  createCaches,
  createConflictEvents,
  RESERVATION_BY_NODE,
  RESERVATION_BY_OWNER_UID,
  RESERVATION_BY_POOL,
  uidsOf,
} from './caches.ts';
import { ConflictIndex } from './conflicts.ts';
import { LeakReports } from './leaks.ts';
import type { OperatorMetrics } from './metrics.ts';
import { OrphanReconciler } from './orphans.ts';
import { PoolCatalog } from './poolcatalog.ts';
import { PoolReconciler } from './poolreconciler.ts';
import type { Report } from './report.ts';
import { SweepReconciler } from './sweep.ts';
import { UsageIndex } from './usageindex.ts';

export interface OperatorOptions {
  readonly api: Api;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: OperatorMetrics;
  readonly report: Report;
  /** Milliseconds that an owner must be gone before its address is taken back. */
  readonly orphanGraceMs: number;
  /** Milliseconds between two looks at every reservation. */
  readonly scanIntervalMs: number;
  /** Write nothing at all. */
  readonly dryRun: boolean;
}

type Reconcile = ControllerOptions['reconcile'];

/** Reservations taken back, or swept, at the same time: enough for the rate below, few enough to leave the API server to others. */
const WORKERS = 16;
/** Addresses given back a second, orphans and those whose cooldown is over together: 10,000 in 34 s. */
const GIVEN_BACK_A_SECOND = 300;
const BURST = 50;
/** Milliseconds in which changes of a pool's usage are gathered before its status is computed. */
const GATHER_MS = 50;
const MAX_RETRY_MS = 30_000;

export class Operator {
  readonly #options: OperatorOptions;
  readonly #caches: Caches;
  readonly #queues: Readonly<Record<'pools' | 'orphans' | 'sweep', RateLimitingQueue>>;
  readonly #usage: UsageIndex;
  readonly #pools: PoolReconciler;
  readonly #orphans: OrphanReconciler;
  readonly #sweep: SweepReconciler;
  readonly #audit: Audit;
  readonly #leaks: LeakReports;
  readonly #conflictEvents: Informer<Event>;
  readonly #conflicts: ConflictIndex;

  constructor(options: OperatorOptions) {
    const { clock, random, log, metrics, report, dryRun } = options;
    const api = dryRun ? permitWrites(options.api, refuseInDryRun) : options.api;
    const queue = (): RateLimitingQueue =>
      new RateLimitingQueue({ clock, baseDelayMs: 100, maxDelayMs: MAX_RETRY_MS });
    this.#options = options;
    this.#queues = { pools: queue(), orphans: queue(), sweep: queue() };
    this.#caches = createCaches({ api, clock, random, log });
    const pools = this.#caches.pools.store;
    const reservations = this.#caches.reservations.store;
    const catalog = new PoolCatalog(pools);
    const cooldownOf = (pool: string): number => catalog.cooldownOf(pool);
    const synced = (): boolean => this.why() === undefined;
    const common = { api, clock, log, metrics, synced };
    this.#usage = new UsageIndex((pool) => this.#queues.pools.addAfter(pool, GATHER_MS));
    this.#leaks = new LeakReports(clock, report);
    const limiter = new RateLimiter({ clock, perSecond: GIVEN_BACK_A_SECOND, burst: BURST });
    this.#conflictEvents = createConflictEvents({ api, clock, random, log });
    this.#conflicts = new ConflictIndex({
      clock,
      reservations,
      pods: this.#caches.pods.store,
      synced: () => this.#conflictEvents.hasSynced,
      onChange: (pool) => this.#queues.pools.add(pool),
    });
    this.#pools = new PoolReconciler({
      ...common,
      pools,
      catalog,
      usage: this.#usage,
      conflicts: this.#conflicts,
      dryRun,
    });
    this.#orphans = new OrphanReconciler({
      ...common,
      reservations,
      pods: this.#caches.pods.store,
      nodes: this.#caches.nodes.store,
      cooldownOf,
      graceMs: options.orphanGraceMs,
      limiter,
      dryRun,
      onLeak: (leak) => this.#leaks.add(leak),
    });
    this.#sweep = new SweepReconciler({ ...common, reservations, cooldownOf, limiter, dryRun });
    this.#audit = new Audit({ ...common, catalog, pods: this.#caches.pods.store, report });
    this.#wire();
  }

  /** Why the operator cannot judge anything yet; undefined once every cache has been filled. */
  why(): string | undefined {
    const all: Readonly<Record<string, { readonly hasSynced: boolean }>> = { ...this.#caches };
    const missing = Object.keys(all).filter((name) => all[name]?.hasSynced !== true);
    return missing.length === 0 ? undefined : `not yet read: ${missing.join(', ')}`;
  }

  /** Works until the signal aborts, then ends what is in hand. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const { pools, orphans, sweep } = this.#queues;
    const common = { log, clock };
    const reconcilePool: Reconcile = (key, stop) => this.#pools.reconcile(key, stop);
    const reconcileOrphan: Reconcile = (key, stop) => this.#orphans.reconcile(key, stop);
    const reconcileReleased: Reconcile = (key, stop) => this.#sweep.reconcile(key, stop);
    await Promise.all([
      this.#caches.pools.run(signal),
      this.#caches.reservations.run(signal),
      this.#caches.pods.run(signal),
      this.#caches.nodes.run(signal),
      this.#conflictEvents.run(signal),
      this.#whenConflictsAreKnown(signal),
      runController({ ...common, name: 'pools', queue: pools, reconcile: reconcilePool }, signal),
      runController(
        { ...common, name: 'orphans', queue: orphans, workers: WORKERS, reconcile: reconcileOrphan },
        signal,
      ),
      runController(
        { ...common, name: 'sweep', queue: sweep, workers: WORKERS, reconcile: reconcileReleased },
        signal,
      ),
      this.#scanRegularly(signal),
    ]);
    this.#leaks.flush();
  }

  /** The safety net under the events: looks at every reservation when the caches are there, and then regularly. */
  async #scanRegularly(signal: AbortSignal): Promise<void> {
    const { clock, log, scanIntervalMs } = this.#options;
    try {
      const { pools, reservations, pods, nodes } = this.#caches;
      await Promise.all([pools, reservations, pods, nodes].map((cache) => cache.whenSynced(signal)));
      for (;;) {
        this.#scan();
        await clock.sleep(scanIntervalMs, signal);
      }
    } catch (error) {
      if (!signal.aborted) {
        throw error;
      }
      log.debug({}, 'no more scans');
    }
  }

  /** Until then a pool's condition is what it was. */
  async #whenConflictsAreKnown(signal: AbortSignal): Promise<void> {
    try {
      await this.#conflictEvents.whenSynced(signal);
    } catch (error) {
      if (!signal.aborted) throw error;
      return;
    }
    for (const name of this.#caches.pools.store.keys()) this.#queues.pools.add(name);
  }

  #scan(): void {
    this.#conflicts.refresh();
    let suspects = 0;
    for (const reservation of this.#caches.reservations.store.list()) {
      suspects += this.#suspect(reservation) ? 1 : 0;
      if (this.#sweep.observe(reservation)) {
        this.#queues.sweep.add(reservation.metadata.name ?? '');
      }
      this.#audit.check(reservation);
    }
    for (const name of this.#caches.pools.store.keys()) {
      this.#queues.pools.add(name);
    }
    this.#options.log.debug({ suspects }, 'scanned all reservations');
  }

  #wire(): void {
    this.#caches.pools.addHandler({
      onAdd: (pool) => this.#poolChanged(pool.metadata.name ?? ''),
      onUpdate: (old, pool) =>
        old.metadata.generation === pool.metadata.generation
          ? this.#queues.pools.add(pool.metadata.name ?? '')
          : this.#poolChanged(pool.metadata.name ?? ''),
      onDelete: (pool) => this.#poolChanged(pool.metadata.name ?? ''),
    });
    this.#caches.reservations.addHandler({
      onAdd: (reservation) => this.#reservationChanged(reservation),
      onUpdate: (_old, reservation) => this.#reservationChanged(reservation),
      onDelete: ({ metadata: { name = '' } }) => {
        this.#conflicts.touched({ reservation: name });
        this.#usage.delete(name);
        this.#sweep.forget(name);
        this.#audit.forget(name);
        this.#orphans.forget(name);
      },
    });
    this.#conflictEvents.addHandler({
      onAdd: (event) => this.#conflicts.put(event),
      onUpdate: (_old, event) => this.#conflicts.put(event),
      onDelete: (event) => this.#conflicts.delete(event),
    });
    this.#caches.pods.addHandler({
      onAdd: (pod) => this.#conflicts.touched({ uids: uidsOf(pod) }),
      onUpdate: (old, pod) => this.#podChanged(old, pod),
      onDelete: (pod) => this.#podChanged(pod),
    });
    this.#caches.nodes.addHandler({
      onAdd: (node) => this.#suspectAll(RESERVATION_BY_NODE, node.metadata.name),
      onUpdate: (_old, node) => this.#suspectAll(RESERVATION_BY_NODE, node.metadata.name),
      onDelete: (node) => this.#suspectAll(RESERVATION_BY_NODE, node.metadata.name),
    });
  }

  #poolChanged(name: string): void {
    this.#queues.pools.add(name);
    // The cooldown may be another one now, and what the pool contains.
    for (const reservation of this.#caches.reservations.store.byIndex(RESERVATION_BY_POOL, name)) {
      this.#audit.check(reservation);
      if (reservation.spec.state === 'Released') {
        this.#queues.sweep.add(reservation.metadata.name ?? '');
      }
    }
  }

  #reservationChanged(reservation: IPReservation): void {
    const name = reservation.metadata.name ?? '';
    this.#conflicts.touched({ reservation: name });
    this.#usage.put(name, reservation.spec);
    if (this.#sweep.observe(reservation)) {
      this.#queues.sweep.add(name);
    }
    this.#suspect(reservation);
    this.#audit.check(reservation);
  }

  #podChanged(...states: readonly Pod[]): void {
    const uids = [...new Set(states.flatMap(uidsOf))];
    this.#conflicts.touched({ uids });
    for (const uid of uids) {
      this.#suspectAll(RESERVATION_BY_OWNER_UID, uid);
    }
  }

  #suspectAll(index: string, value: string | undefined): void {
    for (const reservation of this.#caches.reservations.store.byIndex(index, value ?? '')) {
      this.#suspect(reservation);
    }
  }

  #suspect(reservation: IPReservation): boolean {
    const isCandidate = this.#orphans.observe(reservation);
    if (isCandidate) {
      this.#queues.orphans.add(reservation.metadata.name ?? '');
    }
    return isCandidate;
  }
}

function refuseInDryRun(): never {
  throw new Error('a dry run writes nothing');
}
