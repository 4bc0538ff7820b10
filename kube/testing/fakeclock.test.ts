import { expect, it } from 'vitest';
import { FakeClock, settle } from './fakeclock.ts';
import { failOnLeakedTimers } from './leaks.ts';

failOnLeakedTimers();

it('fires timers in the order of their times, each at its own time', async () => {
  const clock = new FakeClock();
  const fired: string[] = [];
  const note = (name: string) => (): void => void fired.push(`${name}@${clock.monotonic()}`);
  clock.after(20, note('b'));
  clock.after(10, note('a'));
  clock.after(20, note('c'));
  await clock.advance(15);
  expect(fired).toEqual(['a@10']);
  await clock.advance(15);
  expect(fired).toEqual(['a@10', 'b@20', 'c@20']);
  expect([clock.monotonic(), clock.now()]).toEqual([30, Date.UTC(2026, 0, 1) + 30]);
});

it('fires timers that are set while time passes', async () => {
  const clock = new FakeClock();
  const woken: number[] = [];
  const loop = async (): Promise<void> => {
    for (let i = 0; i < 3; i += 1) {
      await clock.sleep(10);
      woken.push(clock.monotonic());
    }
  };
  const running = loop();
  await clock.advance(30);
  await running;
  expect(woken).toEqual([10, 20, 30]);
});

it('a timer that is cancelled does not fire', async () => {
  const clock = new FakeClock();
  let fired = false;
  const cancel = clock.after(10, () => {
    fired = true;
  });
  cancel();
  await clock.advance(20);
  expect([fired, clock.pendingTimers]).toEqual([false, 0]);
});

it('a sleep rejects with the reason of its signal and leaves no timer', async () => {
  const clock = new FakeClock();
  const stop = new AbortController();
  const reason = new Error('enough');
  const sleeping = expect(clock.sleep(10, stop.signal)).rejects.toBe(reason);
  stop.abort(reason);
  await sleeping;
  await settle();
  expect(clock.pendingTimers).toBe(0);
  await expect(clock.sleep(10, AbortSignal.abort(reason))).rejects.toBe(reason);
});
