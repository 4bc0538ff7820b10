import { expect, it } from 'vitest';
import { Backoff } from './backoff.ts';

const take = (backoff: Backoff, count: number): number[] =>
  Array.from({ length: count }, () => backoff.next());

it('doubles up to the maximum', () => {
  const backoff = new Backoff({ initialMs: 100, maxMs: 500 }, () => 0);
  expect(take(backoff, 5)).toEqual([100, 200, 400, 500, 500]);
});

it('begins again after reset', () => {
  const backoff = new Backoff({ initialMs: 100, maxMs: 500 }, () => 0);
  take(backoff, 3);
  backoff.reset();
  expect(backoff.next()).toBe(100);
});

it('is stretched by a random part of at most its jitter', () => {
  expect(take(new Backoff({ initialMs: 100, maxMs: 100 }, () => 0.5), 1)).toEqual([150]);
  expect(take(new Backoff({ initialMs: 100, maxMs: 100, jitter: 0.5 }, () => 0.5), 1)).toEqual([125]);
  expect(take(new Backoff({ initialMs: 100, maxMs: 1000, factor: 3, jitter: 0 }, () => 0.9), 3)).toEqual([
    100, 300, 900,
  ]);
});
