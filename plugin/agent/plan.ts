/** What an ADD will claim, decided from what is known before anything is written. Pure. */
import type { Subject } from '../../ipam/admit.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, combine } from './errors.ts';
import type { PodFacts } from './owners.ts';
import type { PoolEntry } from './pools.ts';
import type { ParsedRequest } from './request.ts';
import { assertRepresentable } from './result.ts';
import { type FamilyGroup, selectPools, type UsablePool, usablePools } from './select.ts';
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
  /** True for a pool that was found full a moment ago. */
  readonly isExhausted: (pool: string) => boolean;
  /** What is said of such a pool. */
  readonly exhausted: (pool: UsablePool) => CniError;
}

/** What an ADD has decided before it writes anything. */
interface Plan {
  readonly wishes: readonly { readonly wish: Wish; readonly pool: UsablePool }[];
  readonly groups: readonly FamilyGroup[];
}

/**
 * Decides from what is known, without a write, so that an ADD that cannot succeed changes nothing.
 * @throws CniError 105, 104, 103, 101, 11 or 7
 */
export function planAdd(request: ParsedRequest, around: Around): Plan {
  const { pools, pod, namespace, nodeLabels } = around;
  const { network } = request.config.ipam;
  const subject: Subject = { node: { labels: nodeLabels }, namespace, pod };
  const sources = poolSources(request, pod, namespace?.annotations);
  const wishes = wishesOf(request, pod);
  const isNamed = sources.some((s) => s.pools !== undefined && s.pools.length > 0);
  let groups: FamilyGroup[];
  try {
    groups = selectPools(sources, pools, subject, network);
  } catch (error) {
    // Without a pool named and without a default, the addresses asked for by value are all there is to give.
    if (
      !(error instanceof CniError && error.code === ErrorCode.poolNotFound && !isNamed && wishes.length > 0)
    ) {
      throw error;
    }
    groups = [];
  }
  const candidates = isNamed
    ? groups.flatMap((g) => g.pools)
    : usablePools(poolsOfNetwork(pools.values(), network ?? 'default'), subject, network);
  const placed = placeWishes(wishes, candidates);
  const dynamic = unservedGroups(groups, wishes);
  assertRepresentable(request.config.cniVersion, [
    ...wishes.map((w) => w.address.family),
    ...dynamic.map((g) => g.family),
  ]);
  // A family that is known to be full must not cost the other one a write and its undo.
  const full = dynamic.filter((g) => g.pools.every((p) => around.isExhausted(p.name)));
  const [first, ...rest] = full.flatMap((g) => g.pools.map((p) => around.exhausted(p)));
  if (first !== undefined) {
    throw combine([first, ...rest]);
  }
  return { wishes: placed, groups: dynamic };
}
