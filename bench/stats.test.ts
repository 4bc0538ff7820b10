import { describe, expect, it } from 'vitest';
import { median, percentile, type Round, summarise } from './stats.ts';

const at = (rate: number): Round => ({ rate, p50Ms: 1000 / rate, p99Ms: 2000 / rate });

describe('percentile', () => {
  it.each([
    [[5], 0.5, 5],
    [[3, 1, 2], 0.5, 2],
    [[1, 2, 3, 4], 0.5, 2],
    [Array.from({ length: 100 }, (_, i) => i + 1), 0.99, 99],
    [[1, 2], 1, 2],
    [[1, 2], 0, 1],
  ])('of %j at %d is %d', (values, p, expected) => {
    expect(percentile(values, p)).toBe(expected);
  });

  it('of nothing is an error', () => {
    expect(() => percentile([], 0.5)).toThrow('a percentile of nothing');
  });
});

describe('median', () => {
  it.each([
    [[7], 7],
    [[1, 9], 5],
    [[9, 1, 2], 2],
  ])('of %j is %d', (values, expected) => {
    expect(median(values)).toBe(expected);
  });
});

describe('summarise', () => {
  it('takes the ratio round by round, so that a slow minute of the machine does not count', () => {
    const row = summarise('add/agent', 8, [at(90), at(9), at(900)], [at(100), at(10), at(1000)]);
    expect(row).toMatchObject({ ratio: 0.9, rate: 90, spread: [9, 900] });
  });

  it('has no ratio without a base', () => {
    expect(summarise('create', 1, [at(100)]).ratio).toBeNull();
  });
});
