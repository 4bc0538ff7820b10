/** Medians and percentiles of measured times. Pure. */

/**
 * The value below which the share `p` of the sorted values lies (nearest rank).
 * @param p 0 to 1
 * @throws Error for an empty list
 */
export function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const value = sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(p * sorted.length) - 1))];
  if (value === undefined) throw new Error('a percentile of nothing');
  return value;
}

/** The middle value; of an even number the mean of the two in the middle. @throws Error for an empty list */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const high = sorted[Math.floor(sorted.length / 2)];
  const low = sorted[Math.floor((sorted.length - 1) / 2)];
  if (low === undefined || high === undefined) throw new Error('a median of nothing');
  return (low + high) / 2;
}

/** One round of one measurement. */
export interface Round {
  /** Operations per second. */
  readonly rate: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of each operation, in ms. */
  readonly times: readonly number[];
  /** That all took together. */
  readonly seconds: number;
}

/** What the times of a measurement's operations make. @param times in ms, of each @param seconds that all took */
export function roundOf(times: readonly number[], seconds: number): Round {
  const [p50Ms, p99Ms] = [percentile(times, 0.5), percentile(times, 0.99)];
  return { rate: times.length / seconds, p50Ms, p99Ms, times, seconds };
}

/** One round, of parts between which something else was measured. @throws Error for none */
export function joined(parts: readonly Round[]): Round {
  return roundOf(
    parts.flatMap(({ times }) => times),
    parts.reduce((sum, { seconds }) => sum + seconds, 0),
  );
}

/** A line of the result: medians over rounds. The names are contract. */
export interface Row {
  readonly name: string;
  readonly callers: number;
  /** Operations per second. */
  readonly rate: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  /** Median of the rounds' ratios to the raw create rate with as many callers in the same round; null: no meaning. */
  readonly ratio: number | null;
  /** Lowest and highest rate of a round. */
  readonly spread: readonly [number, number];
}

/**
 * The medians of the rounds.
 * @param base the raw creates of the same rounds, in the same order; absent: no ratio
 */
export function summarise(
  name: string,
  callers: number,
  rounds: readonly Round[],
  base?: readonly Round[],
): Row {
  const rates = rounds.map((r) => r.rate);
  const ratios = base?.map((b, i) => (rounds[i]?.rate ?? Number.NaN) / b.rate);
  return {
    name,
    callers,
    rate: round(median(rates), 1),
    p50_ms: round(median(rounds.map((r) => r.p50Ms)), 2),
    p99_ms: round(median(rounds.map((r) => r.p99Ms)), 2),
    ratio: ratios === undefined ? null : round(median(ratios), 3),
    spread: [round(Math.min(...rates), 1), round(Math.max(...rates), 1)],
  };
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
