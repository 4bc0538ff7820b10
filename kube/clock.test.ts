import { expect, it } from 'vitest';
import { systemClock } from './clock.ts';

it('sleep waits, and rejects with the reason of its signal at once', async () => {
  const start = systemClock.monotonic();
  await systemClock.sleep(5);
  // Node's timers may fire up to a millisecond early.
  expect(systemClock.monotonic() - start).toBeGreaterThanOrEqual(4);
  const reason = new Error('enough');
  await expect(systemClock.sleep(60_000, AbortSignal.abort(reason))).rejects.toBe(reason);
  const stop = new AbortController();
  const sleeping = systemClock.sleep(60_000, stop.signal);
  stop.abort(reason);
  await expect(sleeping).rejects.toBe(reason);
});

it('after runs once, unless it is cancelled', async () => {
  let [ran, cancelled] = [0, 0];
  systemClock.after(1, () => {
    cancelled += 1;
  })();
  systemClock.after(1, () => {
    ran += 1;
  });
  await expect.poll(() => ran).toBe(1);
  expect(cancelled).toBe(0);
});
