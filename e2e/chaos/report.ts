/** The result of a run, for people and as JSON. */
import { loadavg } from 'node:os';
import { KUBERNETES_VERSION } from '../controlplane/versions.ts';
import { circumstances } from '../harness/circumstances.ts';
import type { Evidence } from './run.ts';
import { percent, type Verdict, verdictOn } from './verdict.ts';
import { RECOVERY_MS } from './windows.ts';

export interface Report {
  readonly holds: boolean;
  /** Lines for people. */
  readonly lines: readonly string[];
  readonly json: Readonly<Record<string, unknown>>;
}

const MOST_DETAILS = 20;

/** Where and of what the run was. */
function circumstancesOf({ options, loadMs, calmShare }: Evidence): Record<string, unknown> {
  const now = circumstances();
  return {
    ...now,
    machine: { ...now.machine, loadAverage15: Math.round((loadavg()[2] ?? 0) * 10) / 10 },
    kubernetes: KUBERNETES_VERSION,
    options,
    loadSeconds: Math.round(loadMs / 1_000),
    calmShare: Math.round(calmShare * 1_000) / 1_000,
  };
}

function figures(evidence: Evidence, { totals, duplicates }: Verdict): [string, string][] {
  const { tally, faults, users, auditor, reports, endedByThemselves, loadMs } = evidence;
  const { attempts, successes, byWay, byPlace, failuresByCode, calmMs } = totals;
  const { created, deleted, forced, moved } = users.churn;
  const list = (counts: Readonly<Record<string, number>>): string =>
    Object.entries(counts)
      .filter(([, count]) => count > 0)
      .map(([name, count]) => `${name}: ${count}`)
      .join(', ') || 'none';
  const rate = (successes / loadMs) * 1_000;
  return [
    [
      'ADDs',
      `${attempts}, ${successes} successful (${rate.toFixed(1)}/s), ${byWay.binary} through the binary`,
    ],
    ['ADD failures by code', list(failuresByCode)],
    ['of them for a pod that was gone', String(totals.vain)],
    [
      'success in faults',
      `${percent(byPlace.fault.successes, byPlace.fault.attempts)} of ${byPlace.fault.attempts}`,
    ],
    [
      `success in the ${RECOVERY_MS / 1_000} s after faults`,
      `${percent(byPlace.recovery.successes, byPlace.recovery.attempts)} of ${byPlace.recovery.attempts}`,
    ],
    ['ADD outside faults', `p50 ${calmMs.p50} ms, p99 ${calmMs.p99} ms`],
    ['DELs', String(tally.dels)],
    ['pods', `${created} created, ${deleted} deleted, ${forced} removed by force, ${moved} moved`],
    ['faults', list(faults.counts)],
    ['node time outside faults', percent(evidence.calmShare, 1)],
    ['ended by themselves', list(endedByThemselves)],
    [
      'duplicates after restores',
      `${duplicates.afterRestore.length} reported, ${duplicates.endedFirst.length} over before they could be; ` +
        `metric ${reports.conflicts}, Events ${reports.events.length}`,
    ],
    [
      'looks at the live attachments',
      `${auditor.looks}, ${auditor.attachments} attachments; ${auditor.lostByRestore} found lost by a restore`,
    ],
  ];
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

export function reportOf(evidence: Evidence): Report {
  const verdict = verdictOn(evidence);
  const { criteria } = verdict;
  const rows = figures(evidence, verdict);
  const holds = criteria.every((criterion) => criterion.holds);
  const details = criteria
    .filter((criterion) => criterion.details.length > 0)
    .flatMap(({ what, details: lines }) => [
      `${what}:`,
      ...lines.slice(0, MOST_DETAILS).map((line) => `    ${line}`),
      ...(lines.length > MOST_DETAILS ? [`    and ${lines.length - MOST_DETAILS} more`] : []),
    ]);
  const lines = [
    ...table(criteria.map((c) => [c.holds ? '✓' : '✗', c.what, c.required, c.measured])),
    '',
    ...table(rows),
    '',
    ...details,
    holds ? '✓ everything held' : `✗ seed ${evidence.options.seed} failed`,
  ];
  const json = {
    ...circumstancesOf(evidence),
    holds,
    criteria,
    figures: Object.fromEntries(rows),
    adds: verdict.totals,
    duplicates: verdict.duplicates,
    faults: evidence.faults.counts,
    restores: evidence.faults.restores.length,
    churn: evidence.users.churn,
  };
  return { holds, lines, json };
}
