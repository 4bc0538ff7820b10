import { beforeEach, expect, test } from 'vitest';
import { RateLimiter } from './ratelimiter.ts';
import { FakeClock, settle } from './testing/fakeclock.ts';
import { failOnLeakedTimers } from './testing/leaks.ts';

failOnLeakedTimers();

let clock: FakeClock;
let limiter: RateLimiter;
let gone: number[];

beforeEach(() => {
  clock = new FakeClock();
  limiter = new RateLimiter({ clock, perSecond: 10, burst: 3 });
  gone = [];
});

async function comes(name: number): Promise<void> {
  await limiter.take();
  gone.push(name);
}

test('a burst goes at once, and then one after the other in the order in which they came', async () => {
  const all = [1, 2, 3, 4, 5].map(comes);
  await settle();
  expect(gone).toEqual([1, 2, 3]);
  await clock.advance(99);
  expect(gone).toEqual([1, 2, 3]);
  await clock.advance(1);
  expect(gone).toEqual([1, 2, 3, 4]);
  await clock.advance(100);
  expect(gone).toEqual([1, 2, 3, 4, 5]);
  await Promise.all(all);
});

test('a pause fills the burst again, and no more than that', async () => {
  await Promise.all([1, 2, 3].map(comes));
  await clock.advance(3_600_000);
  const all = [4, 5, 6, 7].map(comes);
  await settle();
  expect(gone).toEqual([1, 2, 3, 4, 5, 6]);
  await clock.advance(100);
  await Promise.all(all);
});

test('who is told to stop does not wait', async () => {
  await Promise.all([1, 2, 3].map(comes));
  const stop = new AbortController();
  const waiting = limiter.take(stop.signal);
  stop.abort(new Error('stop'));
  await expect(waiting).rejects.toThrow('stop');
});
