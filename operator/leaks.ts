/**
 * Tells people of addresses that were taken back: for each of them, no DEL has come.
 *
 * What happens within a few seconds is told together: a few one by one, on the reservations; many of one pool in one
 * event on the pool, so that ten thousand leaks are not ten thousand more writes.
 */
import type { IPReservation } from '../crds/types.ts';
import type { Clock } from '../kube/clock.ts';
import type { GoneReason } from './liveness.ts';
import { aboutPool, aboutReservation, type Report } from './report.ts';

/** Milliseconds in which leaks are gathered. */
const GATHER_MS = 5_000;
/** So many of a pool are told one by one, and so many examples given of more. */
const SINGLY = 3;

/** An address that was taken back. */
export interface Leak {
  /** As it was before. */
  readonly reservation: IPReservation;
  readonly reason: GoneReason;
  /** Its state now, or `free`. */
  readonly became: string;
}

export class LeakReports {
  readonly #clock: Clock;
  readonly #report: Report;
  /** By pool. */
  #gathered = new Map<string, Leak[]>();
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, report: Report) {
    this.#clock = clock;
    this.#report = report;
  }

  /** Notes one; it is told within a few seconds, or by `flush`. */
  add(leak: Leak): void {
    const { pool } = leak.reservation.spec;
    const gathered = this.#gathered.get(pool) ?? [];
    gathered.push(leak);
    this.#gathered.set(pool, gathered);
    this.#cancel ??= this.#clock.after(GATHER_MS, () => this.flush());
  }

  /** Tells what was gathered. */
  flush(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    const gathered = this.#gathered;
    this.#gathered = new Map();
    for (const [pool, leaks] of gathered) {
      if (leaks.length > SINGLY) this.#tellTogether(pool, leaks);
      else for (const leak of leaks) this.#tell(leak);
    }
  }

  #tell({ reservation, reason, became }: Leak): void {
    this.#report(aboutReservation(reservation), {
      type: 'Normal',
      reason: 'OrphanReleased',
      message: `took ${whatOf(reservation)}: ${reason}; it is now ${became}`,
    });
  }

  #tellTogether(pool: string, leaks: readonly Leak[]): void {
    const counts = new Map<GoneReason, number>();
    for (const { reason } of leaks) counts.set(reason, (counts.get(reason) ?? 0) + 1);
    const reasons = [...counts].map(([reason, count]) => `${count} ${reason}`).join(', ');
    const examples = leaks.slice(0, SINGLY).map(({ reservation }) => whatOf(reservation));
    this.#report(aboutPool(pool), {
      type: 'Normal',
      reason: 'OrphanReleased',
      message: `took ${leaks.length} addresses back (${reasons}), such as ${examples.join(', ')}`,
      series: pool,
    });
  }
}

function whatOf({ spec: { address, owner, holder, state } }: IPReservation): string {
  if (state === 'Held') {
    return `${address} back, held for ${holder}`;
  }
  const who = owner?.kind === 'Node' ? `node ${owner.node}` : `pod ${owner?.namespace}/${owner?.name}`;
  return `${address} back from ${who} (${owner?.ifname ?? 'no interface'})`;
}
