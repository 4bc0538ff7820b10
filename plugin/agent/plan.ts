/** What an ADD will claim, decided from what is known before anything is written. Pure. */
import type { Family } from '../../ipam/address.ts';
import type { Subject } from '../../ipam/admit.ts';
import { DEFAULT_NETWORK } from '../../ipam/pool.ts';
import { type CniError, combine } from './errors.ts';
import type { PodFacts } from './owners.ts';
import type { PoolEntry } from './pools.ts';
import type { ParsedRequest } from './request.ts';
import { assertRepresentable } from './result.ts';
import { type FamilyGroup, selectPools, sourceOf, staticPools, type UsablePool } from './select.ts';
import {
  type Placement,
  placeWishes,
  poolSources,
  poolsOfNetwork,
  unservedGroups,
  type Wish,
  wishesOf,
} from './wishes.ts';

export interface NamespaceFacts {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** What the plan is made from. */
export interface Around {
  readonly pools: ReadonlyMap<string, PoolEntry>;
  readonly nodeLabels: Readonly<Record<string, string>>;
  readonly namespace: NamespaceFacts | undefined;
  /** undefined for an owner that is no pod. */
  readonly pod: PodFacts | undefined;
  /** The identities under which addresses may be held for the pod. */
  readonly holders: readonly string[];
  /** True for a pool that was found full a moment ago. */
  readonly isExhausted: (pool: string) => boolean;
  /** What is said of a family whose pools all are. */
  readonly exhausted: (group: FamilyGroup) => CniError;
}

/** What an ADD has decided before it writes anything. */
interface Plan {
  readonly wishes: Placement['placed'];
  /** The families that no wish serves. */
  readonly groups: readonly FamilyGroup[];
  /** Families in the order in which they are answered. */
  readonly families: readonly Family[];
  /** What is said of families that were found full a moment ago: without a wish that is taken, too, the ADD fails of it. */
  readonly full: readonly CniError[];
}

/**
 * Decides from what is known, without a write, so that an ADD that cannot succeed changes nothing.
 * @throws CniError 105, 104, 103, 11 or 7
 */
export function planAdd(request: ParsedRequest, around: Around): Plan {
  const { pools, pod, namespace, nodeLabels } = around;
  const { network } = request.config.ipam;
  const subject: Subject = { node: { labels: nodeLabels }, namespace, pod };
  const sources = poolSources(request, pod, namespace?.annotations);
  const source = sourceOf(sources);
  const wishes = wishesOf(request, pod);
  const selection = selectPools(sources, pools, subject, network);
  // Not the groups: they lack the pools that are only not Ready yet.
  const candidates = (): PoolEntry[] =>
    source === undefined
      ? poolsOfNetwork(pools.values(), network ?? DEFAULT_NETWORK)
      : [...new Set(source.pools)].flatMap((name) => pools.get(name) ?? []);
  const placement: Placement =
    wishes.length === 0
      ? { placed: [], failures: [] }
      : placeWishes(wishes, staticPools(candidates(), subject, network));
  const dynamic = unservedGroups(selection.groups, wishes);
  assertRepresentable(request.config.cniVersion, [
    ...wishes.map((w) => w.address.family),
    ...dynamic.map((g) => g.family),
  ]);
  const full = dynamic.filter((g) => g.pools.every((p) => isFull(p, around))).map(around.exhausted);
  const unserved = selection.failures.filter(
    ({ family }) => source !== undefined || !isServed(family, wishes),
  );
  const [first, ...rest] = [...unserved.map(({ error }) => error), ...placement.failures];
  if (first !== undefined) {
    throw combine([first, ...rest, ...full]);
  }
  const named = source === undefined ? [] : selection.groups.map((g) => g.family);
  return {
    wishes: placement.placed,
    groups: dynamic,
    families: [...new Set<Family>([...named, 4, 6])],
    full,
  };
}

/** Where no pool is named, a family asked for by value needs no default pool; nor does an ADD with wishes need any. */
function isServed(family: Family | undefined, wishes: readonly Wish[]): boolean {
  return wishes.some((wish) => family === undefined || wish.address.family === family);
}

/** Known to be full, and nothing in it waits for this pod. */
function isFull(pool: UsablePool, { isExhausted, holders }: Around): boolean {
  return isExhausted(pool.name) && !pool.heldForTruncated && !holders.some((h) => pool.heldFor.has(h));
}
