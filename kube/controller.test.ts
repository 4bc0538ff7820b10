import { describe, expect, it } from 'vitest';
import { done, type Outcome, runController } from './controller.ts';
import { ApiError } from './errors.ts';
import { FakeClock, settle } from './testing/fakeclock.ts';
import { failOnLeakedTimers } from './testing/leaks.ts';
import { type RecordingLog, recordingLog } from './testing/recordinglog.ts';
import { RateLimitingQueue } from './workqueue.ts';

failOnLeakedTimers();

interface World {
  readonly clock: FakeClock;
  readonly queue: RateLimitingQueue;
  readonly log: RecordingLog;
  readonly results: string[];
  stop(): Promise<void>;
}

function start(reconcile: (key: string, signal: AbortSignal) => Promise<Outcome>, workers?: number): World {
  const clock = new FakeClock();
  const queue = new RateLimitingQueue({ clock });
  const log = recordingLog();
  const results: string[] = [];
  const stopping = new AbortController();
  const running = runController(
    {
      name: 'test',
      queue,
      reconcile,
      log,
      clock,
      workers,
      onReconcile: (result) => void results.push(result),
    },
    stopping.signal,
  );
  return {
    clock,
    queue,
    log,
    results,
    stop: () => {
      stopping.abort(new Error('stop'));
      return running;
    },
  };
}

/** Gives the outcomes in order, then done; notes when it was called. */
function script(outcomes: readonly (Outcome | Error)[]): {
  calls: number[];
  reconcile: () => Promise<Outcome>;
  bind: (clock: FakeClock) => void;
} {
  const calls: number[] = [];
  let clock: FakeClock | undefined;
  return {
    calls,
    bind: (given) => {
      clock = given;
    },
    reconcile: () => {
      const outcome = outcomes[calls.length] ?? done;
      calls.push(clock?.monotonic() ?? 0);
      return outcome instanceof Error ? Promise.reject(outcome) : Promise.resolve(outcome);
    },
  };
}

describe('the outcome of a reconcile', () => {
  it('done: not again until the key is added', async () => {
    const { calls, reconcile } = script([]);
    const world = start(reconcile);
    world.queue.add('a');
    await world.clock.advance(10_000);
    expect(calls).toHaveLength(1);
    world.queue.add('a');
    await settle();
    expect(calls).toHaveLength(2);
    await world.stop();
  });

  it('requeueAfter: again after that time', async () => {
    const { calls, reconcile, bind } = script([{ type: 'requeueAfter', ms: 3000 }]);
    const world = start(reconcile);
    bind(world.clock);
    world.queue.add('a');
    await world.clock.advance(10_000);
    expect(calls).toEqual([0, 3000]);
    await world.stop();
  });

  it('a throw: again with backoff, which a success ends', async () => {
    const broken = new Error('broken');
    const { calls, reconcile, bind } = script([broken, broken, broken, done, broken]);
    const world = start(reconcile);
    bind(world.clock);
    world.queue.add('a');
    await world.clock.advance(1000);
    expect(calls).toEqual([0, 5, 15, 35]);
    world.queue.add('a');
    await world.clock.advance(1000);
    expect(calls.slice(4)).toEqual([1000, 1005]);
    expect(world.results).toEqual(['error', 'error', 'error', 'done', 'error', 'done']);
    expect(world.log.lines.every(({ level }) => level === 'warn')).toBe(true);
    await world.stop();
  });

  it('a throw of Throttled: not before the server wants it', async () => {
    const { calls, reconcile, bind } = script([new ApiError('Throttled', 'busy', { retryAfterMs: 2000 })]);
    const world = start(reconcile);
    bind(world.clock);
    world.queue.add('a');
    await world.clock.advance(5000);
    expect(calls).toEqual([0, 2000]);
    await world.stop();
  });

  it('terminal: logged, and not again until the key is added', async () => {
    const { calls, reconcile } = script([{ type: 'terminal', reason: 'the spec is wrong' }]);
    const world = start(reconcile);
    world.queue.add('a');
    await world.clock.advance(1_000_000);
    expect(calls).toHaveLength(1);
    expect(world.log.lines).toMatchObject([
      { level: 'error', fields: { reason: 'the spec is wrong', key: 'a' } },
    ]);
    world.queue.add('a');
    await settle();
    expect(calls).toHaveLength(2);
    await world.stop();
  });
});

describe('an API server that is overloaded or away', () => {
  /** Times of all reconciles of 200 keys by 4 workers, when each fails until `wellAt`. */
  async function calls(failure: () => Error, wellAt: number): Promise<number[]> {
    const at: number[] = [];
    const world = start(async () => {
      at.push(world.clock.monotonic());
      if (world.clock.monotonic() < wellAt) throw failure();
      return done;
    }, 4);
    for (let i = 0; i < 200; i += 1) world.queue.add(String(i));
    await world.clock.advance(wellAt + 60_000);
    expect(world.results.filter((result) => result === 'done')).toHaveLength(200);
    await world.stop();
    return at;
  }

  it('that throttles gets one request from each worker in each Retry-After, and all are done soon after', async () => {
    const at = await calls(() => new ApiError('Throttled', 'busy', { retryAfterMs: 2_000 }), 120_000);
    const early = at.filter((time) => time < 120_000);
    expect(early.length).toBeLessThanOrEqual((4 * 120_000) / 2_000);
    expect(early.length).toBeGreaterThan(4);
    expect(Math.max(...at)).toBeLessThan(180_000);
  });

  it('that is away is asked ever less often', async () => {
    const at = await calls(() => new ApiError('Unreachable', 'away'), 300_000);
    const perMinute = (minute: number): number =>
      at.filter((time) => Math.floor(time / 60_000) === minute).length;
    expect(perMinute(0)).toBeLessThanOrEqual(4 * 14);
    for (const minute of [1, 2, 3, 4]) expect(perMinute(minute)).toBeLessThanOrEqual(4 * 7);
  });

  it('that only refuses one key keeps no other waiting', async () => {
    const at = await calls(() => new ApiError('Invalid', 'this one is wrong'), 100);
    expect(at.filter((time) => time === 0)).toHaveLength(200);
  });
});

describe('workers', () => {
  it('work at the same time on different keys, never on the same', async () => {
    const gates = new Map<string, PromiseWithResolvers<Outcome>>();
    const begun: string[] = [];
    const world = start((key) => {
      begun.push(key);
      const gate = Promise.withResolvers<Outcome>();
      gates.set(key, gate);
      return gate.promise;
    }, 2);
    for (const key of ['a', 'b', 'c']) world.queue.add(key);
    await settle();
    expect(begun).toEqual(['a', 'b']);
    world.queue.add('a');
    gates.get('b')?.resolve(done);
    await settle();
    expect(begun).toEqual(['a', 'b', 'c']);
    gates.get('a')?.resolve(done);
    await settle();
    expect(begun).toEqual(['a', 'b', 'c', 'a']);
    gates.get('a')?.resolve(done);
    gates.get('c')?.resolve(done);
    await world.stop();
  });
});

describe('a stop', () => {
  it('waits for the work in hand, tells it by its signal, and begins nothing new', async () => {
    const begun: string[] = [];
    let told = false;
    const gate = Promise.withResolvers<Outcome>();
    const world = start((key, signal) => {
      begun.push(key);
      signal.addEventListener('abort', () => {
        told = true;
      });
      return gate.promise;
    });
    world.queue.add('a');
    world.queue.add('b');
    await settle();
    let ended = false;
    const stopping = world.stop().then(() => {
      ended = true;
    });
    await settle();
    expect([told, ended]).toEqual([true, false]);
    gate.resolve(done);
    await stopping;
    expect(begun).toEqual(['a']);
  });

  it('of work that throws because of it is no failure', async () => {
    const world = start(
      (_key, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(new Error('interrupted')));
        }),
    );
    world.queue.add('a');
    await settle();
    await world.stop();
    expect(world.log.lines).toEqual([]);
    expect(world.clock.pendingTimers).toBe(0);
  });
});
