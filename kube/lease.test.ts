import { describe, expect, it, vi } from 'vitest';
import { type Lease, leases } from './core.ts';
import { ApiError } from './errors.ts';
import { formatMicroTime, LeaderElector, LeadershipLost } from './lease.ts';
import { MemoryApi } from './memory.ts';
import { FakeClock, settle } from './testing/fakeclock.ts';
import { failOnLeakedTimers } from './testing/leaks.ts';
import { type RecordingLog, recordingLog } from './testing/recordinglog.ts';

failOnLeakedTimers();

const lease = { namespace: 'berth-system', name: 'berth-operator' };

class Candidate {
  readonly elector: LeaderElector;
  readonly log: RecordingLog = recordingLog();
  readonly stopping = new AbortController();
  /** Fails this candidate's calls while it is set. */
  fault: ApiError | undefined;
  lost = 0;
  /** The reason with which the work was interrupted. */
  interrupted: unknown;
  ended: Promise<string>;

  constructor(
    api: MemoryApi,
    clock: FakeClock,
    identity: string,
    work?: (signal: AbortSignal) => Promise<void>,
  ) {
    const faulty = new Proxy(api, {
      get: (target, name) => {
        // Every member of MemoryApi that is used here is a method.
        const method = Reflect.get(target, name, target) as (...args: unknown[]) => Promise<unknown>;
        return (...args: unknown[]): Promise<unknown> =>
          this.fault === undefined ? method.apply(target, args) : Promise.reject(this.fault);
      },
    });
    this.elector = new LeaderElector({
      api: faulty,
      clock,
      random: () => 0,
      log: this.log,
      lease,
      identity,
      onLost: () => {
        this.lost += 1;
      },
    });
    const untilStopped = (signal: AbortSignal): Promise<void> =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          this.interrupted = signal.reason;
          resolve();
        });
      });
    this.ended = this.elector.run(work ?? untilStopped, this.stopping.signal);
  }

  stop(): Promise<string> {
    this.stopping.abort(new Error('stop'));
    return this.ended;
  }
}

function setUp(): { api: MemoryApi; clock: FakeClock; present: () => Promise<Lease> } {
  const clock = new FakeClock();
  const api = new MemoryApi({ clock });
  return { api, clock, present: () => api.get(leases, lease) };
}

const unreachable = new ApiError('Unreachable', 'connection refused');

describe('a candidate', () => {
  it('creates the lease and leads', async () => {
    const { api, clock, present } = setUp();
    const a = new Candidate(api, clock, 'a');
    await settle();
    expect([a.elector.isLeader, a.elector.leader]).toEqual([true, 'a']);
    expect((await present()).spec).toEqual({
      holderIdentity: 'a',
      leaseDurationSeconds: 15,
      acquireTime: '2026-01-01T00:00:00.000000Z',
      renewTime: '2026-01-01T00:00:00.000000Z',
      leaseTransitions: 0,
    });
    await a.stop();
  });

  it('waits while another one renews', async () => {
    const { api, clock } = setUp();
    const a = new Candidate(api, clock, 'a');
    await settle();
    const b = new Candidate(api, clock, 'b');
    await clock.advance(60_000);
    expect([a.elector.isLeader, b.elector.isLeader, b.elector.leader]).toEqual([true, false, 'a']);
    expect(await b.stop()).toBe('stopped');
    await a.stop();
  });

  it('takes over when it has seen no renewal for the lease duration, and counts the transition', async () => {
    const { api, clock, present } = setUp();
    const a = new Candidate(api, clock, 'a');
    await settle();
    const b = new Candidate(api, clock, 'b');
    await settle();
    a.fault = unreachable;
    await clock.advance(14_000);
    expect(b.elector.isLeader).toBe(false);
    await clock.advance(4000);
    expect(b.elector.isLeader).toBe(true);
    expect((await present()).spec).toMatchObject({ holderIdentity: 'b', leaseTransitions: 1 });
    expect(await a.ended).toBe('lost');
    await b.stop();
  });

  it('does not believe times in the lease: only its own clock counts', async () => {
    const { api, clock } = setUp();
    // A renewal from long ago by a clock that is years behind.
    const renewTime = formatMicroTime(Date.UTC(2001, 0, 1));
    await api.create(leases, {
      metadata: lease,
      spec: {
        holderIdentity: 'z',
        leaseDurationSeconds: 15,
        renewTime,
        acquireTime: renewTime,
        leaseTransitions: 4,
      },
    });
    const a = new Candidate(api, clock, 'a');
    await clock.advance(14_999);
    expect(a.elector.isLeader).toBe(false);
    await clock.advance(5000);
    expect(a.elector.isLeader).toBe(true);
    await a.stop();
  });

  it('takes its own lease again at once after a restart', async () => {
    const { api, clock, present } = setUp();
    const a = new Candidate(api, clock, 'a');
    await settle();
    a.fault = unreachable;
    const again = new Candidate(api, clock, 'a');
    await settle();
    expect(again.elector.isLeader).toBe(true);
    expect((await present()).spec?.leaseTransitions).toBe(0);
    await again.stop();
    await clock.advance(10_000);
    await a.ended;
  });

  it('of two that want a free lease at once, one leads', async () => {
    const { api, clock } = setUp();
    const all = ['a', 'b', 'c'].map((identity) => new Candidate(api, clock, identity));
    await clock.advance(20_000);
    expect(all.filter(({ elector }) => elector.isLeader)).toHaveLength(1);
    await Promise.all(all.map((candidate) => candidate.stop()));
  });
});

describe('a leader', () => {
  it('renews every retry period and keeps the time of acquisition', async () => {
    const { api, clock, present } = setUp();
    const a = new Candidate(api, clock, 'a');
    await clock.advance(2000);
    expect((await present()).spec).toMatchObject({
      acquireTime: '2026-01-01T00:00:00.000000Z',
      renewTime: '2026-01-01T00:00:02.000000Z',
      leaseTransitions: 0,
    });
    await a.stop();
  });

  it('survives failures shorter than the renew deadline', async () => {
    const { api, clock } = setUp();
    const a = new Candidate(api, clock, 'a');
    await settle();
    a.fault = unreachable;
    await clock.advance(7000);
    a.fault = undefined;
    await clock.advance(20_000);
    expect([a.elector.isLeader, a.lost]).toEqual([true, 0]);
    expect(await a.stop()).toBe('stopped');
  });

  it('that cannot renew within the renew deadline is interrupted then, before others take over', async () => {
    const { api, clock } = setUp();
    const a = new Candidate(api, clock, 'a');
    await settle();
    a.fault = unreachable;
    await clock.advance(9999);
    expect(a.elector.isLeader).toBe(true);
    await clock.advance(1);
    expect([a.elector.isLeader, a.lost]).toEqual([false, 1]);
    expect(a.interrupted).toBeInstanceOf(LeadershipLost);
    expect(await a.ended).toBe('lost');
  });

  it('whose requests hang is interrupted at the renew deadline too', async () => {
    const { api, clock } = setUp();
    const a = new Candidate(api, clock, 'a');
    await settle();
    const gate = Promise.withResolvers<void>();
    api.hooks = { before: () => gate.promise };
    await clock.advance(10_000);
    expect(await a.ended).toBe('lost');
    api.hooks = {};
    gate.resolve();
    await settle();
  });

  it('that sees another holder stops at once', async () => {
    const { api, clock, present } = setUp();
    const a = new Candidate(api, clock, 'a');
    await settle();
    const found = await present();
    await api.update(leases, { ...found, spec: { ...found.spec, holderIdentity: 'thief' } });
    await clock.advance(2000);
    expect(await a.ended).toBe('lost');
    expect((await present()).spec?.holderIdentity).toBe('thief');
  });

  it('renews on when somebody else only touched the lease', async () => {
    const { api, clock, present } = setUp();
    const a = new Candidate(api, clock, 'a');
    await settle();
    const found = await present();
    await api.update(leases, { ...found, metadata: { ...found.metadata, annotations: { a: 'b' } } });
    await clock.advance(60_000);
    expect([a.elector.isLeader, a.lost]).toEqual([true, 0]);
    await a.stop();
  });

  it('makes the lease again when it was deleted', async () => {
    const { api, clock, present } = setUp();
    const a = new Candidate(api, clock, 'a');
    await settle();
    await api.delete(leases, lease);
    await clock.advance(2000);
    expect((await present()).spec?.holderIdentity).toBe('a');
    await a.stop();
  });
});

describe('a leader that asks before it writes', () => {
  it('may, from its acquisition on; a candidate may not', async () => {
    const { api, clock } = setUp();
    const a = new Candidate(api, clock, 'a');
    expect(() => a.elector.assertLeading()).toThrow(LeadershipLost);
    await settle();
    const b = new Candidate(api, clock, 'b');
    await clock.advance(60_000);
    expect(() => a.elector.assertLeading()).not.toThrow();
    expect(() => b.elector.assertLeading()).toThrow(LeadershipLost);
    await b.stop();
    await a.stop();
    expect(() => a.elector.assertLeading()).toThrow(LeadershipLost);
  });

  it('may not once its lease can be over, though no timer has run since: the process was suspended', async () => {
    const clock = new FakeClock();
    const a = new Candidate(new MemoryApi({ clock }), clock, 'a');
    await settle();
    const start = clock.monotonic();
    // Its monotonic clock went on while nothing of the process ran.
    const monotonic = vi.spyOn(clock, 'monotonic').mockReturnValue(start + 9_999);
    expect(() => a.elector.assertLeading()).not.toThrow();
    monotonic.mockReturnValue(start + 10_000);
    expect([a.elector.isLeader, a.lost]).toEqual([true, 0]);
    expect(() => a.elector.assertLeading()).toThrow('nothing is written');
    const ended = clock.advance(2_000);
    expect(await a.ended).toBe('lost');
    monotonic.mockRestore();
    await ended;
  });
});

describe('a stop', () => {
  it('gives the lease back, so that the next leads at once', async () => {
    const { api, clock, present } = setUp();
    const a = new Candidate(api, clock, 'a');
    await settle();
    const b = new Candidate(api, clock, 'b');
    await settle();
    expect(await a.stop()).toBe('stopped');
    expect((await present()).spec).toMatchObject({ holderIdentity: '', leaseDurationSeconds: 1 });
    await clock.advance(2000);
    expect(b.elector.isLeader).toBe(true);
    await b.stop();
  });

  it('gives it back only after the work has ended, and renews until then', async () => {
    const { api, clock, present } = setUp();
    const gate = Promise.withResolvers<void>();
    const a = new Candidate(api, clock, 'a', () => gate.promise);
    await settle();
    const stopping = a.stop();
    await clock.advance(30_000);
    expect((await present()).spec).toMatchObject({
      holderIdentity: 'a',
      renewTime: formatMicroTime(clock.now()),
    });
    gate.resolve();
    await stopping;
    expect((await present()).spec?.holderIdentity).toBe('');
  });

  it('before it ever led resolves', async () => {
    const { api, clock } = setUp();
    const a = new Candidate(api, clock, 'a');
    a.fault = unreachable;
    await settle();
    expect(await a.stop()).toBe('stopped');
  });
});

describe('work', () => {
  it('that ends by itself gives the lease back', async () => {
    const { api, clock, present } = setUp();
    const a = new Candidate(api, clock, 'a', () => Promise.resolve());
    expect(await a.ended).toBe('stopped');
    expect((await present()).spec?.holderIdentity).toBe('');
  });

  it('that throws gives the lease back and passes the error on', async () => {
    const { api, clock, present } = setUp();
    const broken = new Error('broken');
    const a = new Candidate(api, clock, 'a', () => Promise.reject(broken));
    await expect(a.ended).rejects.toBe(broken);
    expect((await present()).spec?.holderIdentity).toBe('');
  });
});

describe('options that cannot work are refused', () => {
  const { api, clock } = { api: new MemoryApi(), clock: new FakeClock() };
  const base = { api, clock, random: () => 0, log: recordingLog(), lease, identity: 'a' };
  it.each([
    ['an empty identity', { identity: '' }, 'identity is empty'],
    ['a lease without a name', { lease: { namespace: 'a', name: '' } }, 'needs a namespace and a name'],
    ['parts of seconds', { leaseDurationMs: 15_500 }, 'whole seconds'],
    [
      'a renew deadline that is no shorter than the lease',
      { renewDeadlineMs: 15_000 },
      'must be less than leaseDurationMs',
    ],
    [
      'a retry period too close to the renew deadline',
      { retryPeriodMs: 9000 },
      'must be less than renewDeadlineMs',
    ],
  ])('%s', (_title, options, message) => {
    expect(() => new LeaderElector({ ...base, ...options })).toThrow(message);
  });
});
