/**
 * Which pools an attachment may be served from, in which order (docs/cni.md): pure, so that every rule
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
  /** How to write it for one interface alone, where it now holds for all. */
  readonly byInterface?: string | undefined;
}

/** A pool that may serve, with its family's rivals after it. */
export interface FamilyGroup {
  readonly family: Family;
  /** In the order in which they are tried. */
  readonly pools: readonly UsablePool[];
  /** Those that are named and passed over, for messages. */
  readonly skipped: readonly Objection[];
}

/** An entry that is compiled, Ready and carries the finalizer. */
export type UsablePool = PoolEntry & { readonly pool: NonNullable<PoolEntry['pool']> };

/** Why a pool is passed over: `refused` (104) for good, `pending` (11) for now. */
export interface Objection {
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
): { groups: FamilyGroup[]; nameless: Objection[] } {
  const byFamily = new Map<Family, { pools: UsablePool[]; skipped: Objection[] }>();
  const nameless: Objection[] = [];
  for (const entry of entries) {
    const objection = objectionTo(entry, subject, network);
    const family = entry.pool?.family;
    if (family === undefined) {
      nameless.push(...(objection === undefined ? [] : [objection]));
      continue;
    }
    const own = byFamily.get(family) ?? { pools: [], skipped: [] };
    byFamily.set(family, own);
    if (objection !== undefined) {
      own.skipped.push(objection);
    } else if (isUsable(entry)) {
      own.pools.push(entry);
    }
  }
  return { groups: [...byFamily].map(([family, own]) => ({ family, ...own })), nameless };
}

/** One line for each pool that is passed over. */
export function explain(objections: readonly Objection[]): string[] {
  return objections.map((o) => `pool ${o.pool}: ${o.why}`);
}

function named(
  source: PoolSource & { readonly pools: readonly string[] },
  pools: ReadonlyMap<string, PoolEntry>,
  subject: Subject,
  network: string | undefined,
): FamilyGroup[] {
  const names = [...new Set(source.pools)];
  const entries = names.flatMap((name) => pools.get(name) ?? []);
  const { groups, nameless } = group(entries, subject, network);
  const failures: CniError[] = [];
  const missing = names.filter((name) => !pools.has(name));
  if (missing.length > 0) {
    failures.push(
      new CniError(
        ErrorCode.poolNotFound,
        `pool ${missing.join(', ')} does not exist`,
        [...describe(source), 'kubectl get ippools lists those that do'].join('\n'),
      ),
    );
  }
  const empty = groups.filter((g) => g.pools.length === 0);
  failures.push(...empty.map((g) => noneLeft(g.family, describe(source), g.skipped)));
  // A pool whose family is unknown is skipped like any other, unless nothing else is named.
  if (nameless.length > 0 && groups.length === 0) {
    failures.push(noneLeft(undefined, describe(source), nameless));
  }
  return failOr(groups, failures);
}

/** Where pools were named, and how to name them for one interface alone. */
function describe({ from, byInterface }: PoolSource): string[] {
  return [
    `named by ${from}`,
    ...(byInterface === undefined
      ? []
      : [`it holds for every interface; for one alone write ${byInterface}`]),
  ];
}

function noneLeft(
  family: Family | undefined,
  where: readonly string[],
  objections: readonly Objection[],
): CniError {
  // One that is only not Ready yet may still serve: that is worth another try.
  const isPending = objections.some((o) => o.kind === 'pending');
  const names = objections.map((o) => o.pool).join(', ');
  const telling = objections.find((o) => !isPending || o.kind === 'pending')?.why ?? '';
  const pool = `${family === undefined ? '' : `IPv${family}: `}pool ${names}`;
  return new CniError(
    isPending ? ErrorCode.tryAgainLater : ErrorCode.poolNotAllowed,
    `${pool} ${isPending ? 'can not be used yet' : 'may not be used by this pod'}: ${telling}`,
    [...where, ...explain(objections)].join('\n'),
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
        : explain(entries.flatMap((e) => objectionTo(e, subject, network) ?? [])).join('\n');
    throw new CniError(
      ErrorCode.poolNotFound,
      `nothing names a pool, and no default pool of network "${network}" serves this pod`,
      `${why}\nname pools in the network configuration (ipam.pools) or make one the default (spec.default: true)`,
    );
  }
  const { groups } = group(admitted, subject, network);
  const failures = groups
    .filter((g) => g.pools.length === 0)
    .map((g) => noneLeft(g.family, ['default pools (spec.default)'], g.skipped));
  // Defaults are answered IPv4 first (docs/cni.md), whatever their names.
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

/** Those of the entries that may serve this subject now, and those that may as soon as they are Ready. */
export function usablePools(
  entries: readonly PoolEntry[],
  subject: Subject,
  network: string | undefined,
): { usable: UsablePool[]; pending: UsablePool[] } {
  const compiled = entries.filter(isUsable);
  const objection = (entry: PoolEntry): Objection | undefined => objectionTo(entry, subject, network);
  return {
    usable: compiled.filter((entry) => objection(entry) === undefined),
    pending: compiled.filter((entry) => objection(entry)?.kind === 'pending'),
  };
}
