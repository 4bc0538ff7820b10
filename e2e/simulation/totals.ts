/** Sums over many runs. */
import type { Verdict } from './simulation.ts';

/** As a worker sends it: plain data. */
export interface Result {
  readonly seed: number;
  readonly violation?: string | undefined;
  readonly steps: number;
  readonly faults: readonly (readonly [string, number])[];
  readonly checks: number;
  readonly simulatedMs: number;
}

export function resultOf(seed: number, { violation, steps, faults, checks, simulatedMs }: Verdict): Result {
  return { seed, violation, steps, faults: [...faults], checks, simulatedMs };
}

export class Totals {
  readonly failures: { readonly seed: number; readonly violation: string }[] = [];
  readonly #faults = new Map<string, number>();
  #schedules = 0;
  #steps = 0;
  #checks = 0;
  #simulatedMs = 0;

  get schedules(): number {
    return this.#schedules;
  }

  add({ seed, violation, steps, faults, checks, simulatedMs }: Result): void {
    this.#schedules += 1;
    this.#steps += steps;
    this.#checks += checks;
    this.#simulatedMs += simulatedMs;
    for (const [kind, count] of faults) this.#faults.set(kind, (this.#faults.get(kind) ?? 0) + count);
    if (violation !== undefined) this.failures.push({ seed, violation });
  }

  /** Lines for people. */
  report(): string[] {
    const kinds = [...this.#faults].toSorted(([a], [b]) => (a < b ? -1 : 1));
    const faults = kinds.reduce((sum, [, count]) => sum + count, 0);
    return [
      `${this.#schedules} schedules, ${this.#steps} steps, ${faults} events and faults, ` +
        `${this.#checks} looks at all reservations, ${Math.round(this.#simulatedMs / 3_600_000)} hours of simulated time`,
      kinds.map(([kind, count]) => `${kind} ${count}`).join(', '),
    ];
  }
}
