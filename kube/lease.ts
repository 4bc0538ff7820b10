/**
 * Leader election by a Lease object: client-go's `leaderelection`.
 *
 * - At most one of the candidates leads, as long as no candidate's clock runs faster than another's by more than
 *   the ratio of `leaseDurationMs` to `renewDeadlineMs`. Offsets between clocks do not matter: a candidate takes a
 *   lease over when it has not seen it change for its duration on its own monotonic clock; times in the object are
 *   for people.
 * - A leader that cannot renew within `renewDeadlineMs`, or sees another holder, stops leading at once.
 * - On a stop the lease is given back after the leader's work has ended, so that the next need not wait for it.
 * - A leader that hung (a suspended process, a slow disk) and wakes after its lease is over writes nothing, if its writes
 *   ask `assertLeading` (`permitWrites`): its own clock has gone on. What is left is a suspension between that question
 *   and the system call that sends the write, so writes must be safe without it: Berth's are guarded by preconditions
 *   and `test` operations.
 */

import { isAborted, pause } from './abort.ts';
import type { Api, CallOptions } from './api.ts';
import type { Clock, Random } from './clock.ts';
import { type Lease, type LeaseSpec, leases } from './core.ts';
import { isApiError } from './errors.ts';
import type { Log } from './log.ts';

export interface LeaderElectionOptions {
  readonly api: Api;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly lease: { readonly namespace: string; readonly name: string };
  /** Unique among the candidates: the pod's name and uid, or host name and pid. */
  readonly identity: string;
  /** Milliseconds that others wait before they take over an unrenewed lease. Whole seconds. Defaults to 15,000. */
  readonly leaseDurationMs?: number | undefined;
  /** Milliseconds without a renewal after which the leader gives up. Defaults to 10,000. */
  readonly renewDeadlineMs?: number | undefined;
  /** Milliseconds between attempts. Defaults to 2,000. */
  readonly retryPeriodMs?: number | undefined;
  /** Called at the moment in which leadership is lost, before the work's signal aborts. Must not throw. */
  readonly onLost?: (() => void) | undefined;
}

/** Attempts to acquire are spread over this many retry periods, so that candidates do not march in step. */
const JITTER = 1.2;

/** The reason with which the signal of the leader's work aborts. */
export class LeadershipLost extends Error {
  override readonly name = 'LeadershipLost';
}

/** RFC 3339 with microseconds: the API server refuses a MicroTime with any other number of digits. */
export function formatMicroTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, -1)}000Z`;
}

interface Times {
  readonly leaseDurationMs: number;
  readonly renewDeadlineMs: number;
  readonly retryPeriodMs: number;
}

function checked(options: LeaderElectionOptions): Times {
  const {
    leaseDurationMs = 15_000,
    renewDeadlineMs = 10_000,
    retryPeriodMs = 2000,
    identity,
    lease,
  } = options;
  const refuse = (problem: string): never => {
    throw new Error(`leader election: ${problem}`);
  };
  if (identity === '') refuse('identity is empty: give each candidate a name of its own');
  if (lease.namespace === '' || lease.name === '') refuse('the lease needs a namespace and a name');
  if (leaseDurationMs < 1000 || leaseDurationMs % 1000 !== 0) {
    refuse(`leaseDurationMs is ${leaseDurationMs}: use whole seconds`);
  }
  if (renewDeadlineMs >= leaseDurationMs) {
    refuse(`renewDeadlineMs (${renewDeadlineMs}) must be less than leaseDurationMs (${leaseDurationMs})`);
  }
  if (retryPeriodMs <= 0 || retryPeriodMs * JITTER >= renewDeadlineMs) {
    refuse(
      `retryPeriodMs is ${retryPeriodMs}: ${JITTER} times it must be less than renewDeadlineMs (${renewDeadlineMs})`,
    );
  }
  return { leaseDurationMs, renewDeadlineMs, retryPeriodMs };
}

export class LeaderElector {
  readonly #options: LeaderElectionOptions;
  readonly #leaseDurationMs: number;
  readonly #renewDeadlineMs: number;
  readonly #retryPeriodMs: number;
  /** The lease as it was last seen, and the monotonic time at which it was first seen so. */
  #observed: Lease | undefined;
  #observedAt = 0;
  /** Monotonic time before the request that last acquired or renewed. */
  #renewedAt = 0;
  #leading = false;

  /** @throws Error for an empty identity or times that do not fit together. */
  constructor(options: LeaderElectionOptions) {
    const times = checked(options);
    this.#options = options;
    this.#leaseDurationMs = times.leaseDurationMs;
    this.#renewDeadlineMs = times.renewDeadlineMs;
    this.#retryPeriodMs = times.retryPeriodMs;
  }

  get isLeader(): boolean {
    return this.#leading;
  }

  /**
   * Returns if nobody else can have taken the lease over yet.
   * @throws LeadershipLost otherwise, whether or not that has been noticed elsewhere
   */
  assertLeading(): void {
    const over = this.#renewedAt + this.#renewDeadlineMs;
    if (!this.#leading || this.#options.clock.monotonic() >= over) {
      throw new LeadershipLost('not the leader, or not for sure: nothing is written');
    }
  }

  /** The holder that was last seen. */
  get leader(): string | undefined {
    const holder = this.#observed?.spec?.holderIdentity;
    return holder === '' ? undefined : holder;
  }

  /**
   * Waits for leadership, then runs `lead` until it ends. Its signal aborts when `signal` does or when leadership
   * is lost; the lease is renewed until `lead` has ended.
   * Resolves with 'lost' if leadership was lost, else with 'stopped' (also if it never led).
   * @throws what `lead` throws, unless its signal had aborted.
   */
  async run(lead: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<'stopped' | 'lost'> {
    const { log, identity } = this.#options;
    if (!(await this.#acquire(signal))) return 'stopped';
    this.#leading = true;
    log.info({ identity }, 'leading');
    const ended = new AbortController();
    const lost = new AbortController();
    const leading = AbortSignal.any([signal, lost.signal]);
    const renewal = this.#renewUntil(ended.signal, lost);
    try {
      await lead(leading);
    } catch (error) {
      if (!leading.aborted) throw error;
      log.debug({ error }, 'the leader was interrupted');
    } finally {
      ended.abort();
      await renewal;
      if (this.#leading) await this.#release();
      this.#leading = false;
    }
    return lost.signal.aborted ? 'lost' : 'stopped';
  }

  async #acquire(signal: AbortSignal): Promise<boolean> {
    const { clock, random } = this.#options;
    while (!signal.aborted) {
      if (await this.#attempt({ signal, timeoutMs: this.#renewDeadlineMs })) return true;
      await pause(clock, this.#retryPeriodMs * (1 + random() * JITTER), signal);
    }
    return false;
  }

  /** Renews until `ended`; aborts `lost` when that has failed for too long. */
  async #renewUntil(ended: AbortSignal, lost: AbortController): Promise<void> {
    const { clock, log, identity, onLost } = this.#options;
    for (;;) {
      const deadline = this.#renewedAt + this.#renewDeadlineMs;
      await pause(clock, Math.min(this.#retryPeriodMs, deadline - clock.monotonic()), ended);
      if (ended.aborted) return;
      const left = deadline - clock.monotonic();
      const renewed = left > 0 && (await this.#renew(left, ended));
      if (isAborted(ended)) return;
      const over = clock.monotonic() >= this.#renewedAt + this.#renewDeadlineMs;
      if (!renewed && (over || this.#heldByOther())) {
        this.#leading = false;
        log.error({ identity, leader: this.leader }, 'leadership lost');
        onLost?.();
        lost.abort(new LeadershipLost('leadership lost'));
        return;
      }
    }
  }

  /** One attempt that ends within `ms`, however many requests it takes. */
  async #renew(ms: number, ended: AbortSignal): Promise<boolean> {
    const limit = new AbortController();
    const cancel = this.#options.clock.after(ms, () => limit.abort(new Error('renew deadline')));
    try {
      return await this.#attempt({ signal: AbortSignal.any([ended, limit.signal]) });
    } finally {
      cancel();
    }
  }

  #heldByOther(): boolean {
    return this.leader !== undefined && this.leader !== this.#options.identity;
  }

  /** One attempt to acquire or renew; true if the lease is ours for another duration. Failures are logged. */
  async #attempt(options: CallOptions): Promise<boolean> {
    const { clock, log, lease, identity } = this.#options;
    const started = clock.monotonic();
    try {
      const mine = this.#leading ? this.#observed : undefined;
      const held = mine === undefined ? await this.#lookAndTake(options) : await this.#write(mine, options);
      if (held) this.#renewedAt = started;
      return held;
    } catch (error) {
      if (options.signal?.aborted === true) return false;
      log.warn(
        { lease: `${lease.namespace}/${lease.name}`, identity, error },
        'cannot acquire or renew the lease',
      );
      return this.#leading && (await this.#lookAgain(options));
    }
  }

  /** After a failed renewal: the write may have happened, or somebody else may have taken the lease. */
  async #lookAgain(options: CallOptions): Promise<boolean> {
    const { clock, log } = this.#options;
    const lookedAt = clock.monotonic();
    try {
      const held = await this.#lookAndTake(options);
      if (held) this.#renewedAt = lookedAt;
      return held;
    } catch (error) {
      log.warn({ error }, 'cannot renew the lease');
      return false;
    }
  }

  async #lookAndTake(options: CallOptions): Promise<boolean> {
    const { api, clock, lease, identity } = this.#options;
    let found: Lease;
    try {
      found = await api.get(leases, lease, options);
    } catch (error) {
      if (!isApiError(error, 'NotFound')) throw error;
      const created = await api.create(
        leases,
        { metadata: { ...lease }, spec: this.#spec(undefined) },
        options,
      );
      this.#observe(created);
      return true;
    }
    this.#observe(found);
    const holder = found.spec?.holderIdentity ?? '';
    const durationMs = (found.spec?.leaseDurationSeconds ?? 0) * 1000;
    const fresh = clock.monotonic() < this.#observedAt + durationMs;
    if (holder !== '' && holder !== identity && fresh) return false;
    return this.#write(found, options);
  }

  async #write(present: Lease, options: CallOptions): Promise<boolean> {
    const { api } = this.#options;
    const next = { metadata: present.metadata, spec: this.#spec(present.spec) };
    this.#observe(await api.update(leases, next, options));
    return true;
  }

  #observe(lease: Lease): void {
    const unchanged =
      this.#observed?.metadata.uid === lease.metadata.uid &&
      this.#observed?.metadata.resourceVersion === lease.metadata.resourceVersion;
    if (unchanged) return;
    this.#observed = lease;
    this.#observedAt = this.#options.clock.monotonic();
  }

  #spec(present: LeaseSpec | undefined): LeaseSpec {
    const { clock, identity } = this.#options;
    const now = formatMicroTime(clock.now());
    const again = present?.holderIdentity === identity;
    const transitions = present?.leaseTransitions ?? 0;
    return {
      holderIdentity: identity,
      leaseDurationSeconds: this.#leaseDurationMs / 1000,
      acquireTime: again ? (present.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: again || present === undefined ? transitions : transitions + 1,
    };
  }

  /** Gives the lease back. A failure is logged: the lease then ends by itself. */
  async #release(): Promise<void> {
    const { api, clock, log } = this.#options;
    const observed = this.#observed;
    if (observed === undefined) return;
    const now = formatMicroTime(clock.now());
    const spec: LeaseSpec = {
      ...observed.spec,
      holderIdentity: '',
      leaseDurationSeconds: 1,
      acquireTime: now,
      renewTime: now,
    };
    try {
      await api.update(leases, { metadata: observed.metadata, spec }, { timeoutMs: this.#renewDeadlineMs });
      log.info({ identity: this.#options.identity }, 'gave the lease back');
    } catch (error) {
      log.warn({ error }, 'cannot give the lease back, it ends by itself');
    }
  }
}
