/** A line chart as SVG: no script, no font of its own, readable on light and dark pages. Pure. */

export interface Series {
  readonly name: string;
  /** In the order of x. */
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface LineChart {
  readonly title: string;
  /** Each x that was measured gets a tick, as far from the next as any other. */
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
}

const WIDTH = 640;
const HEIGHT = 360;
const PLOT = { left: 64, top: 48, right: 480, bottom: 304 } as const;
/** Told apart by colour-blind people too (Okabe and Ito). */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7'] as const;

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** The smallest of 1, 2, 2.5 and 5 times a power of ten that is not below the value. */
export function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value) ?? value;
}

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end', size = 12): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" font-size="${size}">${escape(content)}</text>`;
}

/** @throws Error without a point, or with one that is no number of at least 0 */
export function lineChart({ title, xLabel, yLabel, series }: LineChart): string {
  const points = series.flatMap((each) => each.points);
  if (points.length === 0) throw new Error(`${title}: there is nothing to draw`);
  const odd = points.find(({ x, y }) => !(Number.isFinite(x) && y >= 0 && Number.isFinite(y)));
  if (odd !== undefined) throw new Error(`${title}: ${odd.x}, ${odd.y} is no point of this chart`);
  const ticks = [...new Set(points.map(({ x }) => x))].toSorted((a, b) => a - b);
  const top = roundUp(Math.max(1, ...points.map(({ y }) => y)));
  const at = (x: number): number => {
    const place = ticks.length === 1 ? 0.5 : ticks.indexOf(x) / (ticks.length - 1);
    return Math.round(PLOT.left + place * (PLOT.right - PLOT.left));
  };
  const up = (y: number): number => Math.round(PLOT.bottom - (y / top) * (PLOT.bottom - PLOT.top));
  const grid = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const y = up(share * top);
    return `<path d="M${PLOT.left} ${y}H${PLOT.right}" stroke="#888" stroke-opacity="0.4"/>${text(PLOT.left - 8, y + 4, String(share * top), 'end')}`;
  });
  const lines = series.map(({ name, points: own }, i) => {
    const colour = COLOURS[i % COLOURS.length];
    const path = own.map(({ x, y }, n) => `${n === 0 ? 'M' : 'L'}${at(x)} ${up(y)}`).join('');
    const dots = own.map(({ x, y }) => `<circle cx="${at(x)}" cy="${up(y)}" r="3.5" fill="${colour}"/>`);
    const key = PLOT.top + 12 + i * 20;
    const legend = `<path d="M${PLOT.right + 16} ${key}h20" stroke="${colour}" stroke-width="2"/>${text(PLOT.right + 42, key + 4, name, 'start')}`;
    return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="2"/>${dots.join('')}${legend}`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" font-family="sans-serif" fill="#777">`,
    `<title>${escape(title)}</title>`,
    text(PLOT.left, 24, title, 'start', 15),
    text(PLOT.left, 42, yLabel, 'start'),
    ...grid,
    ...ticks.map((x) => text(at(x), PLOT.bottom + 18, x.toLocaleString('en'), 'middle')),
    text((PLOT.left + PLOT.right) / 2, PLOT.bottom + 40, xLabel, 'middle'),
    ...lines,
    '</svg>',
    '',
  ].join('\n');
}
