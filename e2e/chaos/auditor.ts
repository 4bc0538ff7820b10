/** Looks again and again, while everything moves, whether every live attachment has its reservation. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../harness/cluster.ts';
import { isProtected, type Ledger } from './ledger.ts';
import { differences, NOTICE_MS, protectedOnes, type Restore } from './oracle.ts';
import { attempt } from './pods.ts';
import type { Reports } from './reports.ts';

const EVERY_MS = 5_000;

export interface AuditorOptions {
  readonly cluster: Pick<Cluster, 'reservations'>;
  readonly ledger: Ledger;
  readonly reports: Pick<Reports, 'events'>;
  readonly restores: readonly Restore[];
  /** Whether a restore is under way. */
  readonly isRestoring: () => boolean;
  /** Milliseconds that never go back. */
  readonly now: () => number;
}

export class Auditor {
  readonly #options: AuditorOptions;
  readonly #lost = new Set<string>();
  readonly #lostByRestore = new Set<string>();
  /** Looks that the API server has answered. */
  looks = 0;
  /** Attachments that were looked at, each as often as it was. */
  attachments = 0;

  constructor(options: AuditorOptions) {
    this.#options = options;
  }

  /** Live attachments that were found without their reservation, one line each. */
  get lost(): string[] {
    return [...this.#lost];
  }

  /** How many of them a restore had taken it from, until their agents wrote it again or reported it. */
  get lostByRestore(): number {
    return this.#lostByRestore.size;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look();
      await sleep(EVERY_MS, undefined, { signal }).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
    }
  }

  async look(): Promise<void> {
    const { cluster, ledger, reports, restores, isRestoring, now } = this.#options;
    const from = now();
    const isExcused = isRestoring() || restores.some(({ to }) => from <= to + NOTICE_MS);
    const before = protectedOnes(ledger.live());
    const reservations = await attempt(cluster.reservations());
    if (reservations === undefined) return;
    this.looks += 1;
    const still = before.filter(isProtected);
    this.attachments += still.length;
    const { missing } = differences(still, reservations.values());
    // Both pods of a duplicate that is known stay as they are until a person deletes one.
    const known = new Set(reports.events.map(({ uid }) => uid));
    for (const { line, attachment } of missing) {
      if (known.has(attachment.pod.uid)) continue;
      if (isExcused || isRestoring()) this.#lostByRestore.add(line);
      else this.#lost.add(line);
    }
  }
}
