/** The operator's metrics. Their names are contract. */
import { Counter, Gauge, Registry } from 'prom-client';
import { type Clock, systemClock } from '../kube/clock.ts';
import { FINDING_KINDS } from './audit.ts';
import { GONE_REASONS } from './liveness.ts';

/** States of `berth_pool_addresses`. */
export const ADDRESS_STATES = ['capacity', 'bound', 'held', 'released', 'free'] as const;
/** `candidate`: in its grace. `confirmed`: proved gone by a live read, to be released (with --dry-run it stays so). */
export const ORPHAN_PHASES = ['candidate', 'confirmed'] as const;
export type OrphanPhase = (typeof ORPHAN_PHASES)[number];

export interface OperatorMetrics {
  readonly registry: Registry;
  readonly poolAddresses: Gauge<'pool' | 'state'>;
  readonly orphans: Gauge<'phase'>;
  readonly released: Counter<'reason'>;
  readonly auditFindings: Gauge<'kind'>;
  readonly leader: Gauge;
  readonly hintAge: HintAge;
}

/** Ages of published hints, as they are when somebody looks. */
export class HintAge {
  readonly #times = new Map<string, number>();

  constructor(clock: Pick<Clock, 'now'>, registers: Registry[]) {
    const times = this.#times;
    new Gauge({
      name: 'berth_pool_hint_age_seconds',
      help: 'Seconds since what the hint in the pool status says was true. Grows also while nothing changes. Absent: no hint.',
      labelNames: ['pool'],
      registers,
      collect() {
        this.reset();
        for (const [pool, time] of times) {
          this.set({ pool }, Math.max(0, clock.now() - time) / 1_000);
        }
      },
    });
  }

  /** @param time of the pool's hint, in milliseconds since the Unix epoch; undefined: it has none */
  published(pool: string, time: number | undefined): void {
    if (time === undefined) {
      this.#times.delete(pool);
    } else {
      this.#times.set(pool, time);
    }
  }
}

/** Metrics in a registry of their own; what counts reasons, phases or findings starts at 0 for each of them. */
export function operatorMetrics(clock: Pick<Clock, 'now'> = systemClock): OperatorMetrics {
  const registry = new Registry();
  const registers = [registry];
  const metrics: OperatorMetrics = {
    registry,
    poolAddresses: new Gauge({
      name: 'berth_pool_addresses',
      help: 'Addresses of each pool by state: capacity, bound, held, released, free. Approximate above 2^53.',
      labelNames: ['pool', 'state'],
      registers,
    }),
    orphans: new Gauge({
      name: 'berth_operator_orphans',
      help: 'Bound reservations whose owner seems to be gone: candidate (in its grace), confirmed (proved, not yet released).',
      labelNames: ['phase'],
      registers,
    }),
    released: new Counter({
      name: 'berth_operator_released_total',
      help: 'Addresses that the operator gave back, by why; CooldownOver: a released one became free.',
      labelNames: ['reason'],
      registers,
    }),
    auditFindings: new Gauge({
      name: 'berth_audit_findings',
      help: 'Reservations that do not fit what they name: PoolMissing, PoolMismatch, OwnerMismatch.',
      labelNames: ['kind'],
      registers,
    }),
    leader: new Gauge({
      name: 'berth_operator_leader',
      help: '1 while this process is the leader, else 0.',
      registers,
    }),
    hintAge: new HintAge(clock, registers),
  };
  for (const phase of ORPHAN_PHASES) {
    metrics.orphans.set({ phase }, 0);
  }
  for (const reason of [...GONE_REASONS, 'CooldownOver']) {
    metrics.released.inc({ reason }, 0);
  }
  for (const kind of FINDING_KINDS) {
    metrics.auditFindings.set({ kind }, 0);
  }
  metrics.leader.set(0);
  return metrics;
}
