/**
 * Keeps a pool's finalizer and status.
 *
 * - The finalizer is there before Ready is True, and comes off only after two live counts of nothing, far enough
 *   apart for every agent to have seen that the pool is closed.
 * - A status is written when it differs: at once what somebody waits for, the rest paced (every agent receives it).
 * - A write carries the hint (`status.occupancy`) of its moment, if the pool should have one.
 */

import { encodeOccupancy } from '../crds/occupancy.ts';
import { FINALIZER_IN_USE, ipPools, ipReservations } from '../crds/resources.ts';
import type { IPPool, IPPoolStatus } from '../crds/types.ts';
import { reservationName } from '../ipam/name.ts';
import type { Api, JsonPatchOperation } from '../kube/api.ts';
import type { Clock } from '../kube/clock.ts';
import type { Outcome } from '../kube/controller.ts';
import { isApiError } from '../kube/errors.ts';
import type { Log } from '../kube/log.ts';
import type { ReadonlyStore } from '../kube/store.ts';
import type { ConflictIndex } from './conflicts.ts';
import { dueAfter, wantsHint } from './hint.ts';
import { ADDRESS_STATES, type OperatorMetrics } from './metrics.ts';
import type { PoolCatalog } from './poolcatalog.ts';
import { poolStatus, type Understood, urgencyOf } from './poolstatus.ts';
import type { UsageIndex } from './usageindex.ts';

/** Milliseconds between two empty counts of a pool that is being deleted. */
export const EMPTY_COUNTS_APART_MS = 10_000;
/** Milliseconds until a write that met a newer object is looked at again, should the watch not say so earlier. */
const LOOK_AGAIN_MS = 1_000;
/** Milliseconds for which the cache may have a pool as it was before the last write. */
const BEHIND_MS = 5_000;

export interface PoolOptions {
  readonly api: Pick<Api, 'list' | 'patch' | 'update'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly pools: ReadonlyStore<IPPool>;
  readonly catalog: PoolCatalog;
  readonly usage: UsageIndex;
  readonly conflicts: Pick<ConflictIndex, 'of'>;
  /** Whether pools and reservations have been read; before, counts are not what they seem. */
  readonly synced: () => boolean;
  /** Count, and write nothing. */
  readonly dryRun: boolean;
  readonly metrics: Pick<OperatorMetrics, 'poolAddresses' | 'hintAge'>;
}

/** What is remembered of a pool between two reconciles. */
interface Memory {
  readonly uid: string | undefined;
  /** What the usage index was told; another object means that the spec has changed. */
  understood?: Understood;
  /** Monotonic time of the last status write. */
  writtenAt?: number;
  /** Bytes of the pool as it was written then. */
  writtenBytes?: number;
  /** What `usage.changes` was at the last hint. */
  hintedAt?: number;
  /** The version that the last write replaced: while the cache still has it, the cache is behind, for a moment. */
  replaced?: { readonly version: string | undefined; readonly until: number } | undefined;
  /** Monotonic time of the first of the empty counts. */
  emptySince?: number | undefined;
}

export class PoolReconciler {
  readonly #options: PoolOptions;
  readonly #memories = new Map<string, Memory>();

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /**
   * Brings the pool's finalizer and status to what they should be.
   * @throws ApiError; it is tried again with backoff
   */
  async reconcile(name: string, signal: AbortSignal): Promise<Outcome> {
    const { pools, catalog, synced, dryRun } = this.#options;
    if (!synced()) {
      return { type: 'requeueAfter', ms: LOOK_AGAIN_MS };
    }
    const pool = pools.get(name);
    const understood = catalog.get(name);
    if (pool === undefined || understood === undefined) {
      this.#forget(name);
      return { type: 'done' };
    }
    const memory = this.#memory(name, pool, understood);
    const status = this.#status(name, pool, understood);
    this.#measure(name, status, pool);
    if (dryRun) {
      return { type: 'done' };
    }
    if (this.#isBehind(memory, pool)) {
      // The next event is on its way. Looking again is only for the case that it never comes.
      return { type: 'requeueAfter', ms: LOOK_AGAIN_MS };
    }
    try {
      if (pool.metadata.deletionTimestamp === undefined) {
        return (
          (await this.#claim(name, pool, memory, signal)) ??
          (await this.#publish(name, pool, status, memory, signal))
        );
      }
      const published = await this.#publish(name, pool, status, memory, signal);
      return earlier(published, await this.#letGo(name, pool, memory, signal));
    } catch (error) {
      if (isApiError(error, 'NotFound', 'Conflict', 'TestFailed')) {
        this.#options.log.debug({ pool: name, error: error.message }, 'the pool has changed: looking again');
        return { type: 'requeueAfter', ms: LOOK_AGAIN_MS };
      }
      throw error;
    }
  }

  /** Not for long: an API server that is restored from a snapshot has the replaced version for good. */
  #isBehind({ replaced }: Memory, { metadata }: IPPool): boolean {
    return (
      replaced !== undefined &&
      replaced.version === metadata.resourceVersion &&
      this.#options.clock.monotonic() < replaced.until
    );
  }

  /** A write that changes nothing makes no new version, and so no event to wait for. */
  #noteReplaced(memory: Memory, before: IPPool, after: IPPool): void {
    const version = before.metadata.resourceVersion;
    const until = this.#options.clock.monotonic() + BEHIND_MS;
    memory.replaced = after.metadata.resourceVersion === version ? undefined : { version, until };
  }

  #status(name: string, { metadata, status }: IPPool, understood: Understood): IPPoolStatus {
    const { clock, usage, conflicts } = this.#options;
    const { pool } = understood;
    const gateway = pool?.gateway && reservationName(pool.network, pool.gateway);
    return poolStatus({
      understood,
      generation: metadata.generation,
      terminating: metadata.deletionTimestamp !== undefined,
      usage: usage.usage(name),
      waiting: usage.waiting(name),
      gatewayReservation: gateway !== undefined && usage.isBound(gateway) ? gateway : undefined,
      conflicts: conflicts.of(name),
      previous: status,
      now: clock.now(),
    });
  }

  /** Puts the finalizer on; undefined if it is there. The status waits for the watch to bring the new object. */
  async #claim(
    name: string,
    pool: IPPool,
    memory: Memory,
    signal: AbortSignal,
  ): Promise<Outcome | undefined> {
    const { finalizers, resourceVersion } = pool.metadata;
    if (finalizers?.includes(FINALIZER_IN_USE) === true) {
      return undefined;
    }
    // The whole list is written: the test makes sure that nobody has changed it.
    const patch: JsonPatchOperation[] = [
      { op: 'test', path: '/metadata/resourceVersion', value: resourceVersion },
      { op: 'add', path: '/metadata/finalizers', value: [...(finalizers ?? []), FINALIZER_IN_USE] },
    ];
    this.#noteReplaced(memory, pool, await this.#options.api.patch(ipPools, { name }, patch, { signal }));
    return { type: 'requeueAfter', ms: LOOK_AGAIN_MS };
  }

  /** @param status what it should be, without its hint */
  async #publish(
    name: string,
    pool: IPPool,
    status: IPPoolStatus,
    memory: Memory,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { api, clock, log, usage } = this.#options;
    const changes = usage.changes(name);
    const wanted = this.#wantsHint(name, memory);
    const due = this.#due(name, pool, status, memory);
    if (due === undefined) {
      return { type: 'done' };
    }
    const rest = (memory.writtenAt ?? Number.NEGATIVE_INFINITY) + due - clock.monotonic();
    if (rest > 0) {
      return { type: 'requeueAfter', ms: rest };
    }
    const planes = wanted ? usage.planes(name) : undefined;
    const hint = planes && { occupancy: encodeOccupancy({ ...planes, time: clock.now() }) };
    const next: IPPool = { ...pool, status: { ...status, ...hint } };
    memory.writtenAt = clock.monotonic();
    const answer = await api.update(ipPools, next, { subresource: 'status', signal });
    memory.writtenBytes = JSON.stringify(next).length;
    memory.hintedAt = changes;
    this.#noteReplaced(memory, pool, answer);
    log.debug({ pool: name, status, hint: wanted }, 'wrote the status');
    return { type: 'done' };
  }

  #wantsHint(name: string, { understood }: Memory): boolean {
    return understood?.pool !== undefined && wantsHint(understood.pool, this.#options.usage.usage(name));
  }

  /** Milliseconds since the last write after which the next one is due; undefined: it says it all. */
  #due(name: string, pool: IPPool, status: IPPoolStatus, memory: Memory): number | undefined {
    const { occupancy: hint, ...old } = pool.status ?? {};
    const wanted = this.#wantsHint(name, memory);
    const changes = this.#options.usage.changes(name);
    return dueAfter({
      urgency: urgencyOf(pool.status && old, status),
      hintChanged: wanted !== (hint !== undefined) || (wanted && changes !== memory.hintedAt),
      free: BigInt(status.free ?? 0),
      capacity: BigInt(status.capacity ?? 0),
      changes: changes - (memory.hintedAt ?? 0),
      bytes: memory.writtenBytes ?? 0,
    });
  }

  /** Takes the finalizer off a pool that is being deleted, once nothing is left of it. */
  async #letGo(name: string, pool: IPPool, memory: Memory, signal: AbortSignal): Promise<Outcome> {
    const { api, clock, log, usage } = this.#options;
    const at = pool.metadata.finalizers?.indexOf(FINALIZER_IN_USE) ?? -1;
    if (at === -1) {
      return { type: 'done' };
    }
    const { bound, held, released } = usage.usage(name);
    if (bound + held + released > 0) {
      memory.emptySince = undefined;
      return { type: 'done' };
    }
    const { items } = await api.list(ipReservations, {
      fieldSelector: `spec.pool=${name}`,
      limit: 1,
      signal,
    });
    if (items.length > 0) {
      memory.emptySince = undefined;
      return { type: 'requeueAfter', ms: LOOK_AGAIN_MS };
    }
    const now = clock.monotonic();
    memory.emptySince ??= now;
    const rest = memory.emptySince + EMPTY_COUNTS_APART_MS - now;
    if (rest > 0) {
      return { type: 'requeueAfter', ms: rest };
    }
    const path = `/metadata/finalizers/${at}`;
    await api.patch(
      ipPools,
      { name },
      [
        { op: 'test', path: '/metadata/uid', value: pool.metadata.uid },
        { op: 'test', path, value: FINALIZER_IN_USE },
        { op: 'remove', path },
      ],
      { signal },
    );
    log.info({ pool: name }, 'nothing is left of the deleted pool: it may go');
    return { type: 'done' };
  }

  #memory(name: string, pool: IPPool, understood: Understood): Memory {
    let memory = this.#memories.get(name);
    if (memory === undefined || memory.uid !== pool.metadata.uid) {
      memory = { uid: pool.metadata.uid };
      this.#memories.set(name, memory);
    }
    if (memory.understood !== understood) {
      memory.understood = understood;
      this.#options.usage.setPool(name, understood.pool);
    }
    return memory;
  }

  #forget(name: string): void {
    if (this.#memories.delete(name)) {
      this.#options.usage.setPool(name, undefined);
      for (const state of ADDRESS_STATES) {
        this.#options.metrics.poolAddresses.remove({ pool: name, state });
      }
      this.#options.metrics.hintAge.published(name, undefined);
    }
  }

  #measure(pool: string, status: IPPoolStatus, { status: published }: IPPool): void {
    const time = published?.occupancy?.time;
    this.#options.metrics.hintAge.published(pool, time === undefined ? undefined : Date.parse(time));
    for (const state of ADDRESS_STATES) {
      this.#options.metrics.poolAddresses.set({ pool, state }, Number(status[state] ?? '0'));
    }
  }
}

/** The one of two outcomes that comes back sooner. */
function earlier(a: Outcome, b: Outcome): Outcome {
  if (a.type === 'requeueAfter' && b.type === 'requeueAfter') {
    return a.ms <= b.ms ? a : b;
  }
  return a.type === 'requeueAfter' ? a : b;
}
