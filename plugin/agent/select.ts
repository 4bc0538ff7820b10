/**
 * Which pools an attachment may be served from, in which order (docs/cni.md): pure, so that every rule
 * is a line of a table.
 */

import type { Family } from '../../ipam/address.ts';
import { admits, type Subject } from '../../ipam/admit.ts';
import { DEFAULT_NETWORK } from '../../ipam/pool.ts';
import { ErrorCode } from '../protocol.ts';
import { whereSaid } from './annotations.ts';
import { CniError, messageOf, quoted } from './errors.ts';
import type { PoolEntry } from './pools.ts';

/** A place that may name pools, from the strongest to the weakest. */
export interface PoolSource {
  /** How an error message calls it: `annotation ipam.berth.dev/pools of pod shop/web`. */
  readonly from: string;
  /** undefined or empty: it names none, and the next source is asked. */
  readonly pools: readonly string[] | undefined;
  /** How to write it for one interface alone, where it now holds for all. */
  readonly byInterface?: string;
}

/** The pools that may serve a family. */
export interface FamilyGroup {
  readonly family: Family;
  /** In the order in which they are tried. */
  readonly pools: readonly UsablePool[];
  /** Those that are named and passed over, for messages. */
  readonly skipped: readonly Objection[];
}

/** Why a family cannot be served. */
export interface FamilyFailure {
  /** undefined: it is not about one family. */
  readonly family: Family | undefined;
  readonly error: CniError;
}

/** What the sources come to. */
export interface Selection {
  /** In the order of the pools; each has one pool at least. */
  readonly groups: readonly FamilyGroup[];
  readonly failures: readonly FamilyFailure[];
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
  const { pool, family } = entry;
  const refused = (why: string): Objection => ({ kind: 'refused', pool: entry.name, family, why });
  const pending = (why: string): Objection => ({ kind: 'pending', pool: entry.name, family, why });
  if (pool === undefined) {
    return refused(`its specification is not valid: ${entry.invalid ?? 'unknown reason'}`);
  }
  if (network !== undefined && pool.network !== network) {
    return refused(
      `it belongs to network "${pool.network}", the network configuration asks for ${JSON.stringify(network)}`,
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
    const { family } = entry;
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
  return objections.map(({ pool, why }) => `pool ${pool}: ${messageOf(why)}`);
}

function named(
  source: PoolSource & { readonly pools: readonly string[] },
  pools: ReadonlyMap<string, PoolEntry>,
  subject: Subject,
  network: string | undefined,
): Selection {
  const names = [...new Set(source.pools)];
  const entries = names.flatMap((name) => pools.get(name) ?? []);
  const { groups, nameless } = group(entries, subject, network);
  const where = whereSaid('named', source);
  const failures: FamilyFailure[] = [];
  const missing = names.filter((name) => !pools.has(name)).map(quoted);
  if (missing.length > 0) {
    const error = new CniError(
      ErrorCode.poolNotFound,
      `pool ${missing.join(', ')} does not exist`,
      [...where, 'kubectl get ippools lists those that do'].join('\n'),
    );
    failures.push({ family: undefined, error });
  }
  // A pool whose family is unknown is skipped like any other, unless nothing else is named.
  if (nameless.length > 0 && groups.length === 0) {
    failures.push({ family: undefined, error: noneLeft(undefined, where, nameless) });
  }
  return select(groups, where, failures);
}

/** The families that have pools, and a failure for each that has none left. */
function select(
  groups: readonly FamilyGroup[],
  where: readonly string[],
  failures: readonly FamilyFailure[] = [],
): Selection {
  const [usable, empty] = [
    groups.filter((g) => g.pools.length > 0),
    groups.filter((g) => g.pools.length === 0),
  ];
  const unserved = empty.map(({ family, skipped }) => ({ family, error: noneLeft(family, where, skipped) }));
  return { groups: usable, failures: [...failures, ...unserved] };
}

function noneLeft(
  family: Family | undefined,
  where: readonly string[],
  objections: readonly Objection[],
): CniError {
  // One that is only not Ready yet may still serve: that is worth another try.
  const isPending = objections.some((o) => o.kind === 'pending');
  const names = objections.map((o) => o.pool).join(', ');
  const reasons = explain(objections);
  const [only] = objections;
  const why = objections.length === 1 && only !== undefined ? messageOf(only.why) : reasons.join('; ');
  const pool = `${family === undefined ? '' : `IPv${family}: `}pool ${names}`;
  return new CniError(
    isPending ? ErrorCode.tryAgainLater : ErrorCode.poolNotAllowed,
    `${pool} ${isPending ? 'can not be used yet' : 'may not be used by this pod'}: ${why}`,
    [...where, ...reasons].join('\n'),
  );
}

function defaults(pools: ReadonlyMap<string, PoolEntry>, subject: Subject, network: string): Selection {
  const entries = [...pools.values()]
    .filter((e) => e.isDefault && e.network === network)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const admitted = entries.filter((e) => objectionTo(e, subject, network)?.kind !== 'refused');
  if (admitted.length === 0) {
    const asked = JSON.stringify(network);
    const why =
      entries.length === 0
        ? `no pool of network ${asked} has spec.default: true`
        : explain(entries.flatMap((e) => objectionTo(e, subject, network) ?? [])).join('\n');
    const error = new CniError(
      ErrorCode.poolNotFound,
      `nothing names a pool, and no default pool of network ${asked} serves this pod`,
      `${why}\nname pools in the network configuration (ipam.pools) or make one the default (spec.default: true)`,
    );
    return { groups: [], failures: [{ family: undefined, error }] };
  }
  const { groups } = group(admitted, subject, network);
  // Defaults are answered IPv4 first (docs/cni.md), whatever their names.
  return select(
    groups.toSorted((a, b) => a.family - b.family),
    ['default pools (spec.default)'],
  );
}

/** The source that names pools; undefined: none does, and the network's defaults are used. */
export function sourceOf(
  sources: readonly PoolSource[],
): (PoolSource & { readonly pools: readonly string[] }) | undefined {
  for (const source of sources) {
    if (source.pools !== undefined && source.pools.length > 0) {
      return { ...source, pools: source.pools };
    }
  }
  return undefined;
}

/**
 * The pools that may serve, by family: the first source that names any wins, else the network's defaults. The failures
 * have code 105 for a pool that does not exist or where there is none to use, 104 for a family whose pools may all not be
 * used, 11 for one whose pools are not Ready yet.
 * @param network of the network configuration; every pool used must belong to it
 */
export function selectPools(
  sources: readonly PoolSource[],
  pools: ReadonlyMap<string, PoolEntry>,
  subject: Subject,
  network: string | undefined,
): Selection {
  const source = sourceOf(sources);
  return source === undefined
    ? defaults(pools, subject, network ?? DEFAULT_NETWORK)
    : named(source, pools, subject, network);
}

/** What may be asked for an address by value. */
export interface StaticPools {
  readonly usable: readonly UsablePool[];
  /** Those that may serve as soon as they are Ready. */
  readonly pending: readonly UsablePool[];
  /** Those that are passed over for good, and why. */
  readonly refused: readonly { readonly entry: UsablePool; readonly objection: Objection }[];
}

/** The entries by whether they may serve this subject. */
export function staticPools(
  entries: readonly PoolEntry[],
  subject: Subject,
  network: string | undefined,
): StaticPools {
  const judged = entries
    .filter(isUsable)
    .map((entry) => ({ entry, objection: objectionTo(entry, subject, network) }));
  return {
    usable: judged.flatMap(({ entry, objection }) => (objection === undefined ? [entry] : [])),
    pending: judged.flatMap(({ entry, objection }) => (objection?.kind === 'pending' ? [entry] : [])),
    refused: judged.flatMap(({ entry, objection }) =>
      objection?.kind === 'refused' ? [{ entry, objection }] : [],
    ),
  };
}
