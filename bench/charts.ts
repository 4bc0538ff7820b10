/** Which charts are drawn of a run. */
import { lineChart, type Series } from './linechart.ts';
import type { Result } from './report.ts';
import type { Row } from './stats.ts';

type Value = 'rate' | 'p99_ms';

function seriesOf<R extends Row>(
  rows: readonly R[],
  names: readonly string[],
  x: (row: R) => number,
  value: Value,
): Series[] {
  return names.map((name) => ({
    name,
    points: rows.filter((row) => row.name === name).map((row) => ({ x: x(row), y: row[value] })),
  }));
}

/** SVG by file name; none of what was not measured. */
export function chartsOf({ callers, flatness }: Result): Map<string, string> {
  const charts = new Map<string, string>();
  if (callers !== undefined) {
    const names = ['create', 'add/agent', 'del/agent'];
    const chart = (title: string, yLabel: string, value: Value): string =>
      lineChart({
        title,
        xLabel: 'callers',
        yLabel,
        series: seriesOf(callers.rows, names, (row) => row.callers, value),
      });
    charts.set('rate.svg', chart('Rate by number of callers', 'operations a second, median', 'rate'));
    charts.set('p99.svg', chart('Slowest hundredth by number of callers', 'p99 in ms, median', 'p99_ms'));
  }
  if (flatness !== undefined) {
    charts.set(
      'flatness.svg',
      lineChart({
        title: 'Rate by addresses that are allocated already',
        xLabel: 'reservations of the pool',
        yLabel: 'operations a second, 32 callers, median',
        series: seriesOf(flatness, ['create', 'add/agent'], (row) => row.allocated, 'rate'),
      }),
    );
  }
  return charts;
}
