import { describe, expect, it } from 'vitest';
import { joined, median, percentile, type Round, roundOf, summarise } from './stats.ts';

const at = (rate: number): Round => roundOf([500 / rate, 1500 / rate], 2 / rate);

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

describe('joined', () => {
  it('has all operations of its parts, and only the time in which they ran', () => {
    expect(joined([roundOf([1, 2, 9], 1), roundOf([3], 3)])).toMatchObject({ rate: 1, p50Ms: 2, p99Ms: 9 });
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
