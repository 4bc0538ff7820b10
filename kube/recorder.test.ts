import { describe, expect, it } from 'vitest';
import { type Event, events, pods } from './core.ts';
import { ApiError } from './errors.ts';
import { MemoryApi } from './memory.ts';
import { EventRecorder, type EventRecorderOptions, referenceTo } from './recorder.ts';
import { FakeClock } from './testing/fakeclock.ts';
import { failOnLeakedTimers } from './testing/leaks.ts';
import { type RecordingLog, recordingLog } from './testing/recordinglog.ts';

failOnLeakedTimers();

const pool = { apiVersion: 'ipam.berth.dev/v1alpha1', kind: 'IPPool', name: 'storage', uid: 'u1' };

function setUp(options: Partial<EventRecorderOptions> = {}): {
  api: MemoryApi;
  clock: FakeClock;
  log: RecordingLog;
  recorder: EventRecorder;
  present: () => Event[];
} {
  const clock = new FakeClock();
  const api = new MemoryApi({ clock });
  const log = recordingLog();
  let rolls = 0;
  const random = (): number => {
    rolls += 1;
    return (rolls % 1000) / 1000;
  };
  const recorder = new EventRecorder({ api, clock, random, log, component: 'berth-operator', ...options });
  return { api, clock, log, recorder, present: () => api.objects(events) };
}

describe('an event', () => {
  it('about a cluster-wide object lives in the namespace default', async () => {
    const { recorder, present } = setUp({ instance: 'host-1' });
    recorder.event(pool, 'Warning', 'PoolMismatch', 'address outside its pool');
    await recorder.flush();
    expect(present()).toEqual([
      expect.objectContaining({
        involvedObject: pool,
        type: 'Warning',
        reason: 'PoolMismatch',
        message: 'address outside its pool',
        count: 1,
        firstTimestamp: '2026-01-01T00:00:00Z',
        lastTimestamp: '2026-01-01T00:00:00Z',
        source: { component: 'berth-operator', host: 'host-1' },
        reportingComponent: 'berth-operator',
        reportingInstance: 'host-1',
      }),
    ]);
    expect(present()[0]?.metadata.namespace).toBe('default');
    expect(present()[0]?.metadata.name).toMatch(/^storage\.[0-9a-f]+$/);
  });

  it('about a namespaced object lives beside it', async () => {
    const { recorder, present } = setUp();
    const pod = { metadata: { namespace: 'shop', name: 'web', uid: 'p1', resourceVersion: '7' } };
    const about = referenceTo(pods, pod);
    expect(about).toEqual({
      apiVersion: 'v1',
      kind: 'Pod',
      namespace: 'shop',
      name: 'web',
      uid: 'p1',
      resourceVersion: '7',
    });
    recorder.event(about, 'Normal', 'Released', 'gave its address back');
    await recorder.flush();
    expect(present()[0]?.metadata.namespace).toBe('shop');
  });

  it('again is counted on the one that is there', async () => {
    const { recorder, clock, present } = setUp();
    for (let i = 0; i < 3; i += 1) {
      recorder.event(pool, 'Normal', 'Swept', 'removed a released address');
      await clock.advance(1000);
    }
    await recorder.flush();
    expect(present()).toEqual([
      expect.objectContaining({
        count: 3,
        firstTimestamp: '2026-01-01T00:00:00Z',
        lastTimestamp: '2026-01-01T00:00:02Z',
      }),
    ]);
  });

  it('with another message, reason, type or object is another event', async () => {
    const { recorder, present } = setUp();
    recorder.event(pool, 'Normal', 'A', 'x');
    recorder.event(pool, 'Normal', 'A', 'y');
    recorder.event(pool, 'Normal', 'B', 'x');
    recorder.event(pool, 'Warning', 'A', 'x');
    recorder.event({ ...pool, uid: 'u2' }, 'Normal', 'A', 'x');
    await recorder.flush();
    expect(present()).toHaveLength(5);
  });

  it('of a series is one, counted, with the newest message', async () => {
    const { recorder, present } = setUp();
    recorder.event(pool, 'Warning', 'Full', '9 bound', { series: 'net1' });
    recorder.event(pool, 'Warning', 'Full', '10 bound', { series: 'net1' });
    recorder.event(pool, 'Warning', 'Full', '10 bound', { series: 'net2' });
    recorder.event(pool, 'Warning', 'Full', 'net1');
    await recorder.flush();
    expect(present().map(({ count, message }) => `${count} ${message}`)).toEqual([
      '2 10 bound',
      '1 10 bound',
      '1 net1',
    ]);
  });

  it('that the API server has forgotten is made anew', async () => {
    const { recorder, api, present } = setUp();
    recorder.event(pool, 'Normal', 'A', 'x');
    await recorder.flush();
    for (const { metadata } of present()) {
      await api.delete(events, { namespace: metadata.namespace ?? '', name: metadata.name ?? '' });
    }
    recorder.event(pool, 'Normal', 'A', 'x');
    await recorder.flush();
    expect(present()).toMatchObject([{ count: 1 }]);
  });

  it('has a message of at most 1024 characters and a name of at most 253', async () => {
    const { recorder, present } = setUp();
    recorder.event({ ...pool, name: 'n'.repeat(253) }, 'Normal', 'A', 'x'.repeat(5000));
    await recorder.flush();
    expect(present()[0]?.message).toHaveLength(1024);
    expect(present()[0]?.metadata.name?.length).toBeLessThanOrEqual(253);
  });
});

describe('the rate', () => {
  it('of one object is a burst of 25, then one in five minutes', async () => {
    const { recorder, clock, present } = setUp();
    for (let i = 0; i < 30; i += 1) recorder.event(pool, 'Normal', 'A', `message ${i}`);
    await recorder.flush();
    expect(present()).toHaveLength(25);
    expect(recorder.dropped).toBe(5);
    recorder.event({ ...pool, name: 'other', uid: 'u2' }, 'Normal', 'A', 'x');
    await recorder.flush();
    expect(present()).toHaveLength(26);
    await clock.advance(300_000);
    recorder.event(pool, 'Normal', 'A', 'later');
    recorder.event(pool, 'Normal', 'A', 'too soon');
    await recorder.flush();
    expect(present()).toHaveLength(27);
  });
});

describe('failures', () => {
  it('are logged, never thrown, and do not stop later events', async () => {
    const { recorder, api, log, present } = setUp();
    api.hooks = {
      before: () => {
        throw new ApiError('Forbidden', 'no');
      },
    };
    recorder.event(pool, 'Normal', 'A', 'x');
    await recorder.flush();
    expect(log.lines).toMatchObject([{ level: 'warn', message: 'cannot record an event' }]);
    api.hooks = {};
    recorder.event(pool, 'Normal', 'A', 'x');
    await recorder.flush();
    expect(present()).toHaveLength(1);
  });

  it('of a server that hangs fill a bounded queue; what is over is dropped', async () => {
    const { recorder, api } = setUp({ burst: 5000 });
    const gate = Promise.withResolvers<void>();
    api.hooks = { before: () => gate.promise };
    for (let i = 0; i < 1500; i += 1) recorder.event(pool, 'Normal', 'A', `message ${i}`);
    expect(recorder.dropped).toBe(500);
    gate.resolve();
    await recorder.flush();
  });
});
