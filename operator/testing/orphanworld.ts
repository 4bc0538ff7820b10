/** A world with one reservation that may become an orphan, and the reconciler that takes it back. */
import { ipReservations } from '../../crds/resources.ts';
import type { IPReservation, IPReservationSpec } from '../../crds/types.ts';
import type { Outcome } from '../../kube/controller.ts';
import { nodes, type Pod, pods } from '../../kube/core.ts';
import { silentLog } from '../../kube/log.ts';
import type { MemoryCall } from '../../kube/memory.ts';
import { RateLimiter } from '../../kube/ratelimiter.ts';
import type { Leak } from '../leaks.ts';
import { type OperatorMetrics, operatorMetrics } from '../metrics.ts';
import { OrphanReconciler } from '../orphans.ts';
import { aNode, anOwner, aPod, aReservation } from './objects.ts';
import { World } from './world.ts';

export const GRACE_MS = 60_000;
/** Of the reservation. */
export const NAME = 'default.10.0.0.9';

export class OrphanWorld extends World {
  readonly metrics: OperatorMetrics = operatorMetrics();
  readonly leaks: Leak[] = [];
  synced = true;
  cooldownMs = 30_000;

  reconciler(dryRun = false): OrphanReconciler {
    return new OrphanReconciler({
      ...this.parts(),
      log: silentLog,
      synced: () => this.synced,
      cooldownOf: () => this.cooldownMs,
      graceMs: GRACE_MS,
      limiter: new RateLimiter({ clock: this.clock, perSecond: 1_000, burst: 1_000 }),
      dryRun,
      metrics: this.metrics,
      onLeak: (leak) => this.leaks.push(leak),
    });
  }

  /** What the events of the caches would make candidates. */
  suspects(orphans: OrphanReconciler): string[] {
    return this.reservations
      .list()
      .filter((reservation) => orphans.observe(reservation))
      .map(({ metadata }) => metadata.name ?? '');
  }

  reconcile(orphans: OrphanReconciler): Promise<Outcome> {
    return orphans.reconcile(NAME, new AbortController().signal);
  }

  /** Reconciles until the grace is over and once more. */
  async collect(orphans: OrphanReconciler): Promise<Outcome> {
    await this.reconcile(orphans);
    await this.clock.advance(GRACE_MS);
    return this.reconcile(orphans);
  }

  /** A running pod and its reservation, in the API and in the caches. */
  async podWithAddress(
    spec: Partial<IPReservationSpec> = {},
  ): Promise<{ pod: Pod; reservation: IPReservation }> {
    await this.create(nodes, aNode());
    const pod = await this.create(pods, aPod());
    const owner = { ...anOwner, uid: pod.metadata.uid ?? '' };
    const reservation = await this.create(ipReservations, aReservation('10.0.0.9', { owner, ...spec }));
    this.sync();
    return { pod, reservation };
  }

  deletePod(): Promise<void> {
    return this.api.delete(pods, { namespace: 'shop', name: 'web' });
  }

  /** Of the reservation; undefined once it is gone. */
  get state(): string | undefined {
    return this.reservation(NAME)?.spec.state;
  }

  /** The value of a series of the metrics. */
  async value(series: string): Promise<number> {
    const line = (await this.metrics.registry.metrics())
      .split('\n')
      .find((each) => each.startsWith(`${series} `));
    return Number(line?.split(' ')[1]);
  }

  /** The calls from now on: "get pods". */
  countCalls(): string[] {
    const calls: string[] = [];
    this.api.hooks = {
      before: ({ verb, resource }: MemoryCall) => void calls.push(`${verb} ${resource.plural}`),
    };
    return calls;
  }
}
