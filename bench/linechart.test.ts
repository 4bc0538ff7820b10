import { expect, test } from 'vitest';
import { lineChart, roundUp } from './linechart.ts';

const chart = {
  title: 'rate <by> callers & more',
  xLabel: 'callers',
  yLabel: 'operations a second',
  series: [
    {
      name: 'create',
      points: [
        { x: 1, y: 50 },
        { x: 100, y: 100 },
      ],
    },
    { name: 'add/agent', points: [{ x: 1, y: 0 }] },
  ],
};

test.each([
  [1, 1],
  [1.01, 2],
  [21, 25],
  [26, 50],
  [51, 100],
  [0.3, 0.5],
])('an axis that must show %d ends at %d', (value, end) => {
  expect(roundUp(value)).toBeCloseTo(end);
});

test('0 is at the bottom, the end of the axis at the top, and the first and last x at the sides', () => {
  const svg = lineChart(chart);
  expect(svg).toContain('d="M64 176L480 48"');
  expect(svg).toContain('cx="64" cy="304"');
});

test('series and ticks are named, and text is no markup', () => {
  const svg = lineChart(chart);
  for (const each of ['>create<', '>add/agent<', '>100<', 'rate &lt;by&gt; callers &amp; more']) {
    expect(svg).toContain(each);
  }
  expect(svg).not.toContain('<by>');
});

test.each([
  [[]],
  [[{ name: 'a', points: [{ x: 1, y: Number.NaN }] }]],
  [[{ name: 'a', points: [{ x: 1, y: -1 }] }]],
])('what cannot be drawn is an error that names the chart: %j', (series) => {
  expect(() => lineChart({ ...chart, series })).toThrow('rate <by> callers');
});
