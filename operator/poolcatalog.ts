/** Pools as the operator understands them, compiled once for each change of the spec. */

import type { IPPool } from '../crds/types.ts';
import { IpamError } from '../ipam/errors.ts';
import { compilePool, poolProblems } from '../ipam/pool.ts';
import type { ReadonlyStore } from '../kube/store.ts';
import type { Understood } from './poolstatus.ts';

/** Milliseconds that addresses of a pool rest whose spec cannot be read: the default of the kind. */
const UNREADABLE_COOLDOWN_MS = 30_000;

export class PoolCatalog {
  readonly #pools: ReadonlyStore<IPPool>;
  readonly #cache = new Map<string, { readonly version: string; readonly understood: Understood }>();

  constructor(pools: ReadonlyStore<IPPool>) {
    this.#pools = pools;
  }

  /** The pool of this name, undefined if there is none. The same object until its spec changes. */
  get(name: string): Understood | undefined {
    const pool = this.#pools.get(name);
    if (pool === undefined) {
      this.#cache.delete(name);
      return undefined;
    }
    const version = JSON.stringify([pool.metadata.uid, pool.metadata.generation]);
    const known = this.#cache.get(name);
    if (known?.version === version) {
      return known.understood;
    }
    const understood = understand(name, pool);
    this.#cache.set(name, { version, understood });
    return understood;
  }

  /** Milliseconds that a released address of the pool rests: 0 for a pool that is gone. */
  cooldownOf(name: string): number {
    const understood = this.get(name);
    return understood === undefined ? 0 : (understood.pool?.cooldownMs ?? UNREADABLE_COOLDOWN_MS);
  }
}

function understand(name: string, { spec }: IPPool): Understood {
  try {
    const pool = compilePool(name, spec);
    return { pool, problems: poolProblems(pool) };
  } catch (error) {
    if (!(error instanceof IpamError)) {
      throw error;
    }
    return { pool: undefined, problems: [{ reason: 'InvalidSpec', message: error.message }] };
  }
}
