import { expect, test } from 'vitest';
import { AdaptiveLimit } from './adaptivelimit.ts';
import { FakeClock, settle } from './testing/fakeclock.ts';
import { failOnLeakedTimers } from './testing/leaks.ts';

failOnLeakedTimers();

interface Server {
  /** Milliseconds that a write takes with so many in hand; undefined: it is turned away, after 1 ms. */
  readonly takes: (inHand: number) => number | undefined;
}

/** So many callers, each with its next write after the last one, for so long. */
async function load(
  clock: FakeClock,
  limit: AdaptiveLimit,
  server: Server,
  { callers, ms }: { callers: number; ms: number },
): Promise<{ done: number; refused: number; mostInHand: number }> {
  const until = clock.monotonic() + ms;
  const counts = { done: 0, refused: 0, mostInHand: 0 };
  let inHand = 0;
  const caller = async (): Promise<void> => {
    while (clock.monotonic() < until) {
      await limit.enter(60_000);
      const since = clock.monotonic();
      inHand += 1;
      counts.mostInHand = Math.max(counts.mostInHand, inHand);
      const took = server.takes(inHand);
      await clock.sleep(took ?? 1);
      inHand -= 1;
      if (took === undefined) counts.refused += 1;
      else counts.done += 1;
      limit.leave({ since, isWrite: true, isOverload: took === undefined });
      // As the callers do.
      if (took === undefined) await clock.sleep(1000);
    }
  };
  let ended = false;
  const all = Promise.all(Array.from({ length: callers }, caller)).finally(() => {
    ended = true;
  });
  while (!ended) await clock.advance(10);
  await all;
  return counts;
}

test('while a write takes no longer with more in hand, more are sent, up to the most', async () => {
  const clock = new FakeClock();
  const limit = new AdaptiveLimit({ clock, initial: 8, most: 16 });
  const { mostInHand } = await load(clock, limit, { takes: () => 20 }, { callers: 30, ms: 1_500 });
  expect([limit.limit, mostInHand]).toEqual([16, 16]);
});

test('nobody needs them: the limit stays where it was', async () => {
  const clock = new FakeClock();
  const limit = new AdaptiveLimit({ clock, initial: 8, most: 16 });
  await load(clock, limit, { takes: () => 20 }, { callers: 4, ms: 1_500 });
  expect(limit.limit).toBe(8);
});

test('a server whose writes take longer the more there are gets hardly more than at first', async () => {
  const clock = new FakeClock();
  const limit = new AdaptiveLimit({ clock, initial: 8, most: 16 });
  const busy = { takes: (inHand: number) => 5 * inHand };
  await load(clock, limit, busy, { callers: 2, ms: 2_000 });
  await load(clock, limit, busy, { callers: 30, ms: 3_000 });
  // One window has writes of both.
  expect(limit.limit).toBeLessThanOrEqual(9);
});

test('a server that turns away what is more than it can take is soon asked for hardly more than that', async () => {
  const clock = new FakeClock();
  const limit = new AdaptiveLimit({ clock, most: 64 });
  const server = { takes: (inHand: number) => (inHand > 8 ? undefined : 20) };
  await load(clock, limit, server, { callers: 40, ms: 1_000 });
  const { done, refused } = await load(clock, limit, server, { callers: 40, ms: 10_000 });
  expect(limit.limit).toBeLessThanOrEqual(9);
  expect(refused / done).toBeLessThan(0.05);
  // Between half of what it takes and all of it.
  expect(done).toBeGreaterThan(0.5 * 8 * 50 * 10);
});

test('after the throttling it has its old limit back, also where writes take longer then', async () => {
  const clock = new FakeClock();
  const limit = new AdaptiveLimit({ clock, initial: 8, most: 16 });
  await load(clock, limit, { takes: () => undefined }, { callers: 10, ms: 3_000 });
  expect(limit.limit).toBe(2);
  await load(clock, limit, { takes: (inHand) => 5 * inHand }, { callers: 30, ms: 2_000 });
  expect(limit.limit).toBe(8);
});

test('all that were under way together halve the limit once', async () => {
  const clock = new FakeClock();
  const limit = new AdaptiveLimit({ clock, most: 64 });
  const all = Array.from({ length: 20 }, () => limit.tryEnter());
  expect(all).not.toContain(false);
  await clock.advance(10);
  for (const _ of all) limit.leave({ since: 0, isWrite: false, isOverload: true });
  expect(limit.limit).toBe(16);
  expect(limit.tryEnter()).toBe(true);
  limit.leave({ since: 10, isWrite: false, isOverload: true });
  expect(limit.limit).toBe(8);
});

test('reads have a place, and say nothing about how long a write takes', () => {
  const clock = new FakeClock();
  const limit = new AdaptiveLimit({ clock, initial: 1, most: 2 });
  for (let i = 0; i < 10; i += 1) {
    expect(limit.tryEnter()).toBe(true);
    expect(limit.tryEnter()).toBe(false);
    limit.leave({ since: 0, isWrite: false, isOverload: false });
  }
  expect(limit.limit).toBe(1);
});

test('who waits is served in order; one that is given up or aborted never has a place', async () => {
  const clock = new FakeClock();
  const limit = new AdaptiveLimit({ clock, initial: 1, most: 1 });
  const stop = new AbortController();
  const events: string[] = [];
  const wait = (name: string, ms: number, signal?: AbortSignal): Promise<void> =>
    limit.enter(ms, signal).then(
      (entered) => void events.push(`${name} ${entered ? 'has it' : 'gave up'}`),
      (error: unknown) => void events.push(`${name}: ${String(error)}`),
    );
  const leave = (): void => limit.leave({ since: 0, isWrite: false, isOverload: false });
  const waiting = [wait('a', 100), wait('b', 100), wait('c', 5), wait('d', 100, stop.signal), wait('e', 100)];
  await settle();
  await clock.advance(10);
  stop.abort('stopped');
  await settle();
  leave();
  await settle();
  leave();
  await Promise.all(waiting);
  expect(events).toEqual(['a has it', 'c gave up', 'd: stopped', 'b has it', 'e has it']);
  expect(limit.tryEnter()).toBe(false);
  leave();
  expect(limit.tryEnter()).toBe(true);
  await expect(limit.enter(1, AbortSignal.abort('before'))).rejects.toBe('before');
});
