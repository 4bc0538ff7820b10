/** What an ADD will claim, decided from what is known before anything is written. Pure. */
import type { Family } from '../../ipam/address.ts';
import type { Subject } from '../../ipam/admit.ts';
import { DEFAULT_NETWORK } from '../../ipam/pool.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, combine } from './errors.ts';
import type { PodFacts } from './owners.ts';
import type { PoolEntry } from './pools.ts';
import type { ParsedRequest } from './request.ts';
import { assertRepresentable } from './result.ts';
import { type FamilyGroup, type PoolSource, selectPools, type UsablePool, usablePools } from './select.ts';
import { placeWishes, poolSources, poolsOfNetwork, unservedGroups, type Wish, wishesOf } from './wishes.ts';

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
  readonly wishes: readonly { readonly wish: Wish; readonly pool: UsablePool }[];
  /** The families that no wish serves. */
  readonly groups: readonly FamilyGroup[];
  /** The refusals of families that are known to be full: the ADD can not succeed. */
  readonly full: readonly CniError[];
  /** Families in the order in which they are answered. */
  readonly families: readonly Family[];
}

/**
 * Decides from what is known, without a write, so that an ADD that cannot succeed changes nothing.
 * @throws CniError 105, 104, 103, 11 or 7: of several failures the one that comes first (docs/errors.md)
 */
export function planAdd(request: ParsedRequest, around: Around): Plan {
  const { pools, pod, namespace, nodeLabels } = around;
  const { network } = request.config.ipam;
  const subject: Subject = { node: { labels: nodeLabels }, namespace, pod };
  const sources = poolSources(request, pod, namespace?.annotations);
  const source = sources.find((s) => s.pools !== undefined && s.pools.length > 0);
  const failures: CniError[] = [];
  const wishes = attempt(failures, () => wishesOf(request, pod)) ?? [];
  const mayBeNone = source === undefined && wishes.length > 0;
  const groups = attempt(failures, () => groupsFor(sources, pools, subject, network, mayBeNone)) ?? [];
  // Not `groups`: they lack the pools that are only not Ready yet.
  const candidates =
    source?.pools?.flatMap((name) => pools.get(name) ?? []) ??
    poolsOfNetwork(pools.values(), network ?? DEFAULT_NETWORK);
  const usable = usablePools(candidates, subject, network);
  const placed = attempt(failures, () => placeWishes(wishes, usable)) ?? [];
  throwFirst(failures);
  const dynamic = unservedGroups(groups, wishes);
  assertRepresentable(request.config.cniVersion, [
    ...wishes.map((w) => w.address.family),
    ...dynamic.map((g) => g.family),
  ]);
  // A family that is known to be full must not cost the other one a write and its undo.
  const full = dynamic.filter((g) => g.pools.every((p) => isFull(p, around))).map(around.exhausted);
  const named = source === undefined ? [] : groups.map((g) => g.family);
  return { wishes: placed, groups: dynamic, full, families: [...new Set<Family>([...named, 4, 6])] };
}

/** Nothing if it is refused: the refusal waits for the others, as one of them may come before it. */
function attempt<T>(failures: CniError[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof CniError) {
      failures.push(error);
      return undefined;
    }
    throw error;
  }
}

function throwFirst([first, ...rest]: readonly CniError[]): void {
  if (first !== undefined) {
    throw combine([first, ...rest]);
  }
}

/** Known to be full, and nothing in it waits for this pod. */
function isFull(pool: UsablePool, { isExhausted, holders }: Around): boolean {
  return isExhausted(pool.name) && !pool.heldForTruncated && !holders.some((h) => pool.heldFor.has(h));
}

function groupsFor(
  sources: readonly PoolSource[],
  pools: ReadonlyMap<string, PoolEntry>,
  subject: Subject,
  network: string | undefined,
  mayBeNone: boolean,
): FamilyGroup[] {
  try {
    return selectPools(sources, pools, subject, network);
  } catch (error) {
    // Without a pool named and without a default, the addresses asked for by value are all there is to give.
    if (mayBeNone && error instanceof CniError && error.code === ErrorCode.poolNotFound) {
      return [];
    }
    throw error;
  }
}
