/**
 * Reports what neither schema nor admission policy can see of a reservation, because they look nothing up: whether it
 * fits the pool and the pod that it names. It is accepted all the same, and nothing is done about it.
 *
 * - An owner that does not exist is no finding: the orphan reconciler takes its address back.
 * - Each finding is counted for as long as it lasts, and told once.
 */

import type { IPReservation } from '../crds/types.ts';
import { parseAddress } from '../ipam/address.ts';
import { cidrContains, formatCidr } from '../ipam/cidr.ts';
import type { Pod } from '../kube/core.ts';
import type { ReadonlyStore } from '../kube/store.ts';
import { POD_BY_UID } from './caches.ts';
import { subjectOf } from './liveness.ts';
import type { OperatorMetrics } from './metrics.ts';
import type { PoolCatalog } from './poolcatalog.ts';
import { aboutReservation, type Report } from './report.ts';

/**
 * What is wrong; also the `kind` of the metric and the `reason` of the event.
 * - `PoolMissing`: no pool has the name in `spec.pool`.
 * - `PoolMismatch`: the address is not in that pool's subnet, or the pool is of another network.
 * - `OwnerMismatch`: the pod of the owner's UID has another name or namespace. An honest agent writes the name that the
 *   API server has for the UID.
 */
export const FINDING_KINDS = ['PoolMissing', 'PoolMismatch', 'OwnerMismatch'] as const;
export type FindingKind = (typeof FINDING_KINDS)[number];

export interface AuditOptions {
  readonly catalog: Pick<PoolCatalog, 'get'>;
  /** With the index POD_BY_UID. */
  readonly pods: ReadonlyStore<Pod>;
  /** Whether pools and pods have been read. Until then nothing is judged. */
  readonly synced: () => boolean;
  readonly metrics: Pick<OperatorMetrics, 'auditFindings'>;
  readonly report: Report;
}

/** What is known of one reservation. */
interface Findings {
  readonly uid: string | undefined;
  readonly messages: ReadonlyMap<FindingKind, string>;
}

const NO_MESSAGES: Findings['messages'] = new Map();

export class Audit {
  readonly #options: AuditOptions;
  /** By the reservation's name; those without a finding are not in it. */
  readonly #found = new Map<string, Findings>();
  readonly #count: Record<FindingKind, number> = { PoolMissing: 0, PoolMismatch: 0, OwnerMismatch: 0 };

  constructor(options: AuditOptions) {
    this.#options = options;
  }

  /** Looks at one reservation as the cache has it. Says the same thing about it once. */
  check(reservation: IPReservation): void {
    if (!this.#options.synced()) {
      return;
    }
    const { name = '', uid } = reservation.metadata;
    const messages = this.#judge(reservation);
    const before = this.#found.get(name);
    this.#replace(name, messages.size === 0 ? undefined : { uid, messages });
    for (const [reason, message] of messages) {
      if (before?.uid !== uid || before?.messages.get(reason) !== message) {
        this.#options.report(aboutReservation(reservation), { type: 'Warning', reason, message });
      }
    }
  }

  /** Forgets a reservation that is gone. */
  forget(name: string): void {
    this.#replace(name, undefined);
  }

  #replace(name: string, findings: Findings | undefined): void {
    const before = this.#found.get(name)?.messages ?? NO_MESSAGES;
    const after = findings?.messages ?? NO_MESSAGES;
    if (findings === undefined) {
      this.#found.delete(name);
    } else {
      this.#found.set(name, findings);
    }
    for (const kind of FINDING_KINDS) {
      const change = Number(after.has(kind)) - Number(before.has(kind));
      if (change !== 0) {
        this.#count[kind] += change;
        this.#options.metrics.auditFindings.set({ kind }, this.#count[kind]);
      }
    }
  }

  #judge(reservation: IPReservation): Map<FindingKind, string> {
    const messages = new Map<FindingKind, string>();
    const pool = this.#poolObjection(reservation);
    if (pool !== undefined) {
      messages.set(...pool);
    }
    const owner = this.#ownerObjection(reservation);
    if (owner !== undefined) {
      messages.set('OwnerMismatch', owner);
    }
    return messages;
  }

  #poolObjection({ spec }: IPReservation): [FindingKind, string] | undefined {
    const understood = this.#options.catalog.get(spec.pool);
    if (understood === undefined) {
      return ['PoolMissing', `there is no pool ${spec.pool}, which the reservation names`];
    }
    const { pool } = understood;
    if (pool === undefined) {
      return undefined;
    }
    if (pool.network !== spec.network) {
      const message = `the reservation is of network ${spec.network}, its pool ${pool.name} of network ${pool.network}`;
      return ['PoolMismatch', message];
    }
    return cidrContains(pool.subnet, parseAddress(spec.address))
      ? undefined
      : [
          'PoolMismatch',
          `address ${spec.address} is not in subnet ${formatCidr(pool.subnet)} of its pool ${pool.name}`,
        ];
  }

  #ownerObjection({ spec }: IPReservation): string | undefined {
    const subject = subjectOf(spec);
    if (subject.kind !== 'pod') {
      return undefined;
    }
    const found = this.#options.pods.byIndex(POD_BY_UID, subject.uid);
    const [other] = found;
    const isNamed = found.some(
      ({ metadata }) => metadata.namespace === subject.namespace && metadata.name === subject.name,
    );
    if (other === undefined || isNamed) {
      return undefined;
    }
    const { namespace, name } = other.metadata;
    return `the owner on node ${subject.node} is named ${subject.namespace}/${subject.name}, but the pod with its UID ${subject.uid} is ${namespace}/${name}`;
  }
}
