/** What a run must have shown, and whether it has. */
import { type Duplicates, judge } from './oracle.ts';
import { type Evidence, restLimitMs } from './run.ts';
import type { AddTotals } from './tally.ts';

export interface Criterion {
  readonly what: string;
  readonly required: string;
  readonly measured: string;
  readonly holds: boolean;
  /** True if a machine that is too slow breaks it too. */
  readonly isTimed: boolean;
  /** What was wrong, one line each. */
  readonly details: readonly string[];
}

export interface Verdict {
  readonly totals: AddTotals;
  readonly duplicates: Duplicates;
  readonly criteria: readonly Criterion[];
}

/** Least share of ADDs beside all faults that succeed. */
const CALM_SUCCESS = 0.95;

export function percent(part: number, of: number): string {
  return of === 0 ? '-' : `${((100 * part) / of).toFixed(2)} %`;
}

function none(what: string, details: readonly string[], required = '0'): Criterion {
  return {
    what,
    required,
    measured: String(details.length),
    holds: details.length === 0,
    isTimed: false,
    details,
  };
}

function adds(
  { options }: Evidence,
  { successes, byPlace, calmFailures, unexpected }: AddTotals,
): Criterion[] {
  const { calm } = byPlace;
  const kinds = Object.entries(calmFailures).toSorted(([, a], [, b]) => b - a);
  return [
    {
      what: 'successful ADDs',
      required: `≥ ${options.adds}`,
      measured: String(successes),
      holds: successes >= options.adds,
      isTimed: true,
      details: [],
    },
    {
      what: 'success outside the fault windows',
      required: '≥ 95 %',
      measured: `${percent(calm.successes, calm.attempts)} of ${calm.attempts}`,
      holds: calm.attempts > 0 && calm.successes >= CALM_SUCCESS * calm.attempts,
      isTimed: true,
      details: kinds.slice(0, 10).map(([kind, count]) => `${count} × ${kind}`),
    },
    none('ADD failures with another code than 11 or 101', unexpected),
  ];
}

function duplicatesOf({ reports }: Evidence, found: Duplicates): Criterion[] {
  const { forbidden, unreported, afterRestore } = found;
  return [
    none('duplicates, but for those between a restore and the canary', forbidden),
    {
      what: 'those between a restore and the canary: each in the metric and an Event',
      required: 'all',
      measured: `${afterRestore.length} of ${afterRestore.length + unreported.length}; metric ${reports.conflicts}`,
      holds: unreported.length === 0 && reports.conflicts >= afterRestore.length,
      isTimed: false,
      details: unreported,
    },
  ];
}

function leaks(evidence: Evidence): Criterion[] {
  const limit = restLimitMs(evidence.options);
  const at = (what: string, { ms, left, live }: Evidence['rest']): Criterion[] => [
    none(`leaks ${what}, ${live} live attachments`, left),
    {
      what: `seconds until there was none ${what}`,
      required: `≤ ${limit / 1_000}, grace and scan`,
      measured: (ms / 1_000).toFixed(1),
      holds: left.length === 0 && ms <= limit,
      isTimed: true,
      details: [],
    },
  ];
  return [...at('at rest', evidence.rest), ...at('once every pod is deleted', evidence.emptied)];
}

/** Judges a run by what issue and design promise. */
export function verdictOn(evidence: Evidence): Verdict {
  const { tally, windows, ledger, reports, faults, auditor, endedByThemselves } = evidence;
  const totals = tally.totals(windows);
  const duplicates = judge({
    overlaps: ledger.overlaps,
    restores: faults.restores,
    events: reports.events,
    conflictsOn: (node) => reports.conflictsOn(node),
  });
  const agentsEnded = Object.entries(endedByThemselves).filter(
    ([name, times]) => name.startsWith('agent') && times > 0,
  );
  return {
    totals,
    duplicates,
    criteria: [
      ...adds(evidence, totals),
      ...duplicatesOf(evidence, duplicates),
      none('live attachments without their reservation, but for those that a restore took', auditor.lost),
      ...leaks(evidence),
      none('wrong answers to DELs and to repeated ADDs', tally.wrong),
      none(
        'agents that ended by themselves',
        agentsEnded.map(([name, times]) => `${name}: ${times} times`),
      ),
    ],
  };
}
