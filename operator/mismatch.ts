/** Reports reservations whose address does not belong to the pool that they name. They are accepted all the same. */

import type { IPReservation } from '../crds/types.ts';
import { parseAddress } from '../ipam/address.ts';
import { cidrContains, formatCidr } from '../ipam/cidr.ts';
import type { PoolCatalog } from './poolcatalog.ts';
import type { Report } from './report.ts';

export class MismatchReporter {
  readonly #catalog: Pick<PoolCatalog, 'get'>;
  readonly #report: Report;
  /** By name: what has been reported, so that a scan does not say it again. */
  readonly #reported = new Map<string, string>();

  constructor(catalog: Pick<PoolCatalog, 'get'>, report: Report) {
    this.#catalog = catalog;
    this.#report = report;
  }

  /** Looks at one reservation; says the same thing once. A pool that is unknown says nothing. */
  check(reservation: IPReservation): void {
    const name = reservation.metadata.name ?? '';
    const message = this.#objection(reservation);
    if (message === undefined) {
      this.#reported.delete(name);
      return;
    }
    const finding = JSON.stringify([reservation.metadata.uid, message]);
    if (this.#reported.get(name) !== finding) {
      this.#reported.set(name, finding);
      this.#report(reservation, { type: 'Warning', reason: 'PoolMismatch', message });
    }
  }

  /** Forgets a reservation that is gone. */
  forget(name: string): void {
    this.#reported.delete(name);
  }

  #objection({ spec }: IPReservation): string | undefined {
    const pool = this.#catalog.get(spec.pool)?.pool;
    if (pool === undefined) {
      return undefined;
    }
    if (pool.network !== spec.network) {
      return `the reservation is of network ${spec.network}, its pool ${pool.name} of network ${pool.network}`;
    }
    return cidrContains(pool.subnet, parseAddress(spec.address))
      ? undefined
      : `address ${spec.address} is not in subnet ${formatCidr(pool.subnet)} of its pool ${pool.name}`;
  }
}
