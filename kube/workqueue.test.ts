import { describe, expect, it } from 'vitest';
import { FakeClock, settle } from './testing/fakeclock.ts';
import { failOnLeakedTimers } from './testing/leaks.ts';
import { RateLimitingQueue } from './workqueue.ts';

failOnLeakedTimers();

function setUp(options: { baseDelayMs?: number; maxDelayMs?: number } = {}): {
  clock: FakeClock;
  queue: RateLimitingQueue;
} {
  const clock = new FakeClock();
  return { clock, queue: new RateLimitingQueue({ clock, ...options }) };
}

/** Everything that is ready, marked as done at once. */
async function drain(queue: RateLimitingQueue): Promise<string[]> {
  const keys: string[] = [];
  while (queue.length > 0) {
    const key = await queue.get();
    if (key === undefined) break;
    keys.push(key);
    queue.done(key);
  }
  return keys;
}

describe('the queue', () => {
  it('is fair: keys come out in the order in which they went in', async () => {
    const { queue } = setUp();
    for (const key of ['b', 'a', 'c']) queue.add(key);
    expect(await drain(queue)).toEqual(['b', 'a', 'c']);
  });

  it('is stingy: a key added several times is handed out once', async () => {
    const { queue } = setUp();
    for (const key of ['a', 'b', 'a', 'a']) queue.add(key);
    expect(queue.length).toBe(2);
    expect(await drain(queue)).toEqual(['a', 'b']);
  });

  it('hands a key out again, after done, if it was added while being worked on', async () => {
    const { queue } = setUp();
    queue.add('a');
    expect(await queue.get()).toBe('a');
    queue.add('a');
    queue.add('a');
    expect(queue.length).toBe(0);
    queue.done('a');
    expect(await drain(queue)).toEqual(['a']);
  });

  it('never hands one key to two workers at the same time', async () => {
    const { queue } = setUp();
    queue.add('a');
    const first = await queue.get();
    const second = queue.get();
    let got: string | undefined;
    const waiting = second.then((key) => {
      got = key;
    });
    queue.add('a');
    await settle();
    expect([first, got]).toEqual(['a', undefined]);
    queue.done('a');
    await waiting;
    expect(got).toBe('a');
  });

  it('wakes workers that wait, each with another key', async () => {
    const { queue } = setUp();
    const gets = [queue.get(), queue.get()];
    queue.add('a');
    queue.add('b');
    expect(await Promise.all(gets)).toEqual(['a', 'b']);
  });

  it('keeps its order over many keys', async () => {
    const { queue } = setUp();
    const keys = Array.from({ length: 5000 }, (_, i) => `k${i}`);
    for (const key of keys) queue.add(key);
    expect(await drain(queue)).toEqual(keys);
  });
});

describe('shutDown', () => {
  it('hands out what is queued, then nothing, and accepts nothing more', async () => {
    const { queue } = setUp();
    queue.add('a');
    queue.shutDown();
    queue.add('b');
    queue.addAfter('c', 5);
    expect(await queue.get()).toBe('a');
    expect(await queue.get()).toBeUndefined();
    expect(queue.shuttingDown).toBe(true);
  });

  it('wakes the workers that wait', async () => {
    const { queue } = setUp();
    const gets = [queue.get(), queue.get()];
    queue.shutDown();
    expect(await Promise.all(gets)).toEqual([undefined, undefined]);
  });

  it('cancels what waits for a time', () => {
    const { queue, clock } = setUp();
    queue.addAfter('a', 1000);
    queue.shutDown();
    expect(clock.pendingTimers).toBe(0);
  });

  it('with drain waits for the keys in work and in the queue', async () => {
    const { queue } = setUp();
    queue.add('a');
    queue.add('b');
    const a = await queue.get();
    let drained = false;
    const draining = queue.shutDownWithDrain().then(() => {
      drained = true;
    });
    queue.done(a ?? '');
    await settle();
    expect(drained).toBe(false);
    expect(await queue.get()).toBe('b');
    queue.done('b');
    await draining;
  });

  it('with drain ends at once if there is nothing', async () => {
    const { queue } = setUp();
    await queue.shutDownWithDrain();
    expect(await queue.get()).toBeUndefined();
  });
});

describe('addAfter', () => {
  it('adds the key when its time has come', async () => {
    const { queue, clock } = setUp();
    queue.addAfter('a', 100);
    await clock.advance(99);
    expect(queue.length).toBe(0);
    await clock.advance(1);
    expect(await drain(queue)).toEqual(['a']);
  });

  it('keeps the earliest of several times', async () => {
    const { queue, clock } = setUp();
    queue.addAfter('a', 100);
    queue.addAfter('a', 50);
    queue.addAfter('a', 200);
    await clock.advance(50);
    expect(await drain(queue)).toEqual(['a']);
    await clock.advance(1000);
    expect(queue.length).toBe(0);
  });

  it('of no time adds at once', () => {
    const { queue } = setUp();
    queue.addAfter('a', 0);
    expect(queue.length).toBe(1);
  });
});

describe('addRateLimited', () => {
  it('waits twice as long with each failure of the key, up to the maximum', async () => {
    const { queue, clock } = setUp({ baseDelayMs: 10, maxDelayMs: 35 });
    const waits: number[] = [];
    for (let i = 0; i < 4; i += 1) {
      const start = clock.monotonic();
      queue.addRateLimited('a');
      while (queue.length === 0) await clock.advance(1);
      waits.push(clock.monotonic() - start);
      await drain(queue);
    }
    expect(waits).toEqual([10, 20, 35, 35]);
    expect(queue.requeues('a')).toBe(4);
  });

  it('begins with 5 ms unless told otherwise', async () => {
    const { queue, clock } = setUp();
    queue.addRateLimited('a');
    await clock.advance(4);
    expect(queue.length).toBe(0);
    await clock.advance(1);
    expect(queue.length).toBe(1);
  });

  it('counts each key for itself, and begins again after forget', async () => {
    const { queue, clock } = setUp();
    queue.addRateLimited('a');
    queue.addRateLimited('a');
    queue.addRateLimited('b');
    expect([queue.requeues('a'), queue.requeues('b')]).toEqual([2, 1]);
    queue.forget('a');
    expect([queue.requeues('a'), queue.requeues('b')]).toEqual([0, 1]);
    await clock.advance(5);
    expect(await drain(queue)).toEqual(['a', 'b']);
  });

  it('waits at least as long as it is told', async () => {
    const { queue, clock } = setUp();
    queue.addRateLimited('a', 1000);
    await clock.advance(999);
    expect(queue.length).toBe(0);
    await clock.advance(1);
    expect(queue.length).toBe(1);
  });
});
