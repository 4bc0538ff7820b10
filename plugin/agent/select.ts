/**
 * Which pools an attachment may be served from, in which order (design, section 4.2): pure, so that every rule
 * is a line of a table.
 */

import type { Family } from '../../ipam/address.ts';
import { admits, type Subject } from '../../ipam/admit.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, combine } from './errors.ts';
import type { PoolEntry } from './pools.ts';

/** A place that may name pools, from the strongest to the weakest. */
export interface PoolSource {
  /** How an error message calls it: `annotation ipam.berth.dev/pools of pod shop/web`. */
  readonly from: string;
  /** undefined or empty: it names none, and the next source is asked. */
  readonly pools: readonly string[] | undefined;
}

/** A pool that may serve, with its family's rivals after it. */
export interface FamilyGroup {
  readonly family: Family;
  /** In the order in which they are tried. */
  readonly pools: readonly UsablePool[];
}

/** An entry that is compiled, Ready and carries the finalizer. */
export type UsablePool = PoolEntry & { readonly pool: NonNullable<PoolEntry['pool']> };

/** Why a pool is passed over: `refused` (104) for good, `pending` (11) for now. */
interface Objection {
  readonly kind: 'refused' | 'pending';
  readonly pool: string;
  readonly family: Family | undefined;
  readonly why: string;
}

/** The first objection to using the pool for this subject; undefined if there is none. */
export function objectionTo(
  entry: PoolEntry,
  subject: Subject,
  network: string | undefined,
): Objection | undefined {
  const { pool } = entry;
  const family = pool?.family;
  const refused = (why: string): Objection => ({ kind: 'refused', pool: entry.name, family, why });
  const pending = (why: string): Objection => ({ kind: 'pending', pool: entry.name, family, why });
  if (pool === undefined) {
    return refused(`its specification is not valid: ${entry.invalid ?? 'unknown reason'}`);
  }
  if (network !== undefined && pool.network !== network) {
    return refused(
      `it belongs to network "${pool.network}", the network configuration asks for "${network}"`,
    );
  }
  if (entry.deleting) {
    return refused('it is being deleted');
  }
  const refusal = admits(pool, subject);
  if (refusal !== undefined) {
    return refused(refusal.message);
  }
  if (entry.ready === 'False') {
    return refused(`it is not Ready: ${entry.readyMessage}`);
  }
  if (entry.ready !== 'True' || !entry.hasFinalizer) {
    return pending('the operator has not declared it Ready yet');
  }
  return undefined;
}

function isUsable(entry: PoolEntry): entry is UsablePool {
  return entry.pool !== undefined;
}

/** Usable entries and objections, grouped by family in the order of the first pool of each. */
function group(
  entries: readonly PoolEntry[],
  subject: Subject,
  network: string | undefined,
): { groups: FamilyGroup[]; objections: Objection[] } {
  const byFamily = new Map<Family, UsablePool[]>();
  const objections: Objection[] = [];
  for (const entry of entries) {
    const objection = objectionTo(entry, subject, network);
    const family = entry.pool?.family;
    const own = family === undefined ? undefined : (byFamily.get(family) ?? []);
    if (family !== undefined && own !== undefined) {
      byFamily.set(family, own);
    }
    if (objection !== undefined) {
      objections.push(objection);
    } else if (own !== undefined && isUsable(entry)) {
      own.push(entry);
    }
  }
  return { groups: [...byFamily].map(([family, pools]) => ({ family, pools })), objections };
}

function explain(objections: readonly Objection[]): string {
  return objections.map((o) => `pool ${o.pool}: ${o.why}`).join('\n');
}

function named(
  source: PoolSource & { readonly pools: readonly string[] },
  pools: ReadonlyMap<string, PoolEntry>,
  subject: Subject,
  network: string | undefined,
): FamilyGroup[] {
  const names = [...new Set(source.pools)];
  const entries = names.flatMap((name) => pools.get(name) ?? []);
  const { groups, objections } = group(entries, subject, network);
  const failures: CniError[] = [];
  const missing = names.filter((name) => !pools.has(name));
  if (missing.length > 0) {
    failures.push(
      new CniError(
        ErrorCode.poolNotFound,
        `pool ${missing.join(', ')} does not exist`,
        `named by ${source.from}; kubectl get ippools lists those that do`,
      ),
    );
  }
  const nameless = objections.filter((o) => o.family === undefined);
  for (const { family, pools: usable } of groups) {
    if (usable.length === 0) {
      failures.push(
        noneLeft(
          `IPv${family}`,
          source.from,
          objections.filter((o) => o.family === family),
        ),
      );
    }
  }
  // A pool whose family is unknown is skipped like any other, unless nothing else is named.
  if (nameless.length > 0 && groups.length === 0) {
    failures.push(noneLeft('', source.from, nameless));
  }
  return failOr(groups, failures);
}

function noneLeft(family: string, from: string, objections: readonly Objection[]): CniError {
  const pending = objections.some((o) => o.kind === 'pending');
  const names = objections.map((o) => o.pool).join(', ');
  const first = objections[0]?.why ?? 'no pool';
  return new CniError(
    pending ? ErrorCode.tryAgainLater : ErrorCode.poolNotAllowed,
    pending
      ? `${family === '' ? '' : `${family}: `}pool ${names} can not be used yet: ${first}`
      : `${family === '' ? '' : `${family}: `}pool ${names} may not be used by this pod: ${first}`,
    `named by ${from}\n${explain(objections)}`,
  );
}

function failOr(groups: FamilyGroup[], failures: readonly CniError[]): FamilyGroup[] {
  const [first, ...rest] = failures;
  if (first !== undefined) {
    throw combine([first, ...rest]);
  }
  return groups;
}

function defaults(pools: ReadonlyMap<string, PoolEntry>, subject: Subject, network: string): FamilyGroup[] {
  const entries = [...pools.values()]
    .filter((e) => e.isDefault && e.network === network)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const admitted = entries.filter((e) => objectionTo(e, subject, network)?.kind !== 'refused');
  if (admitted.length === 0) {
    const why =
      entries.length === 0
        ? `no pool of network "${network}" has spec.default: true`
        : explain(entries.flatMap((e) => objectionTo(e, subject, network) ?? []));
    throw new CniError(
      ErrorCode.poolNotFound,
      `nothing names a pool, and no default pool of network "${network}" serves this pod`,
      `${why}\nname pools in the network configuration (ipam.pools) or make one the default (spec.default: true)`,
    );
  }
  const { groups, objections } = group(admitted, subject, network);
  const failures = groups
    .filter((g) => g.pools.length === 0)
    .map((g) =>
      noneLeft(
        `IPv${g.family}`,
        'spec.default',
        objections.filter((o) => o.family === g.family),
      ),
    );
  // Defaults are answered IPv4 first (design, section 4.4), whatever their names.
  return failOr(groups, failures).toSorted((a, b) => a.family - b.family);
}

/**
 * The pools that may serve, by family: the first source that names any wins, else the network's defaults.
 * @param network of the network configuration; every pool used must belong to it
 * @throws CniError 105 for a pool that does not exist or where there is none to use, 104 for a family whose pools
 *   may all not be used, 11 for one whose pools are not Ready yet
 */
export function selectPools(
  sources: readonly PoolSource[],
  pools: ReadonlyMap<string, PoolEntry>,
  subject: Subject,
  network: string | undefined,
): FamilyGroup[] {
  for (const source of sources) {
    if (source.pools !== undefined && source.pools.length > 0) {
      return named({ ...source, pools: source.pools }, pools, subject, network);
    }
  }
  return defaults(pools, subject, network ?? 'default');
}

/** Those of the entries that may serve this subject now. */
export function usablePools(
  entries: readonly PoolEntry[],
  subject: Subject,
  network: string | undefined,
): UsablePool[] {
  return entries.filter(isUsable).filter((entry) => objectionTo(entry, subject, network) === undefined);
}
