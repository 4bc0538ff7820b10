/** What a pod, its namespace and the network configuration say about pools and addresses (docs/cni.md). */
import { type Address, type Family, formatAddress } from '../../ipam/address.ts';
import { cidrContains, parseInterfaceAddress } from '../../ipam/cidr.ts';
import { IpamError } from '../../ipam/errors.ts';
import { ErrorCode } from '../protocol.ts';
import {
  annotationFor,
  IPS_ANNOTATION,
  POOLS_ANNOTATION,
  type Said,
  splitList,
  whereSaid,
} from './annotations.ts';
import { AnnotationError, CniError } from './errors.ts';
import type { PodFacts } from './owners.ts';
import type { PoolEntry } from './pools.ts';
import type { ParsedRequest } from './request.ts';
import { explain, type FamilyGroup, type PoolSource, type StaticPools, type UsablePool } from './select.ts';

/** An address asked for by value. */
export interface Wish {
  readonly address: Address;
  /** Where it was asked for, the first place first, with the prefix lengths given there. */
  readonly asked: readonly (Omit<Said, 'items'> & { readonly prefixLength: number | undefined })[];
}

/** As many as a network configuration may list: one pod must not empty a pool. */
const MAX_WISHES = 64;

/** The five sources of pools but the last (the defaults), from the strongest to the weakest. */
export function poolSources(
  request: ParsedRequest,
  pod: PodFacts | undefined,
  namespaceAnnotations: Readonly<Record<string, string>> | undefined,
): PoolSource[] {
  const { config, id, cniNetwork } = request;
  const args = config.args?.cni?.pools ?? undefined;
  const annotation = (of: string, value: string | undefined): PoolSource => {
    const { items, ...said } = annotationFor(
      `annotation ${POOLS_ANNOTATION} of ${of}`,
      value,
      id.ifname,
      cniNetwork,
    );
    return { ...said, pools: items };
  };
  return [
    { from: 'args.cni.pools', pools: typeof args === 'string' ? splitList(args) : args },
    annotation(`pod ${pod?.namespace}/${pod?.name}`, pod?.annotations[POOLS_ANNOTATION]),
    annotation(`namespace ${pod?.namespace}`, namespaceAnnotations?.[POOLS_ANNOTATION]),
    { from: 'ipam.pools of the network configuration', pools: config.ipam.pools },
  ];
}

function refuse(source: string, isAnnotation: boolean, why: string, cure: string, cause?: unknown): CniError {
  const message = `${source}: ${why}`;
  return isAnnotation
    ? new AnnotationError(message, cure, cause)
    : new CniError(ErrorCode.invalidConfig, message, cure, cause);
}

function parseWish(
  text: string,
  from: string,
  isAnnotation: boolean,
): ReturnType<typeof parseInterfaceAddress> {
  try {
    return parseInterfaceAddress(text.trim());
  } catch (error) {
    if (error instanceof IpamError) {
      const why = `${JSON.stringify(text)} is not an address: ${error.message}`;
      throw refuse(from, isAnnotation, why, 'write 10.20.1.7 or 10.20.1.7/16', error);
    }
    throw error;
  }
}

/**
 * The addresses asked for by value, in the order of the request; the same one from several channels counts once.
 * @throws CniError 7 for one that is no address, for a malformed annotation, and for more than 64
 */
export function wishesOf(request: ParsedRequest, pod: PodFacts | undefined): Wish[] {
  const { config, id, cniNetwork } = request;
  const ofPod = `annotation ${IPS_ANNOTATION} of pod ${pod?.namespace}/${pod?.name}`;
  const channels: (Omit<Said, 'items'> & { items: readonly string[] | undefined; isAnnotation?: true })[] = [
    { ...annotationFor(ofPod, pod?.annotations[IPS_ANNOTATION], id.ifname, cniNetwork), isAnnotation: true },
    { from: 'runtimeConfig.ips', items: config.runtimeConfig?.ips ?? undefined },
    { from: 'args.cni.ips', items: config.args?.cni?.ips ?? undefined },
    { from: 'IP of CNI_ARGS', items: request.requestedByArgs },
  ];
  const wishes = new Map<string, Wish>();
  for (const { items, isAnnotation = false, ...said } of channels) {
    for (const text of items ?? []) {
      const { address, prefixLength } = parseWish(text, said.from, isAnnotation);
      const key = formatAddress(address);
      wishes.set(key, { address, asked: [...(wishes.get(key)?.asked ?? []), { ...said, prefixLength }] });
      if (wishes.size > MAX_WISHES) {
        const why = `one interface can not have more than ${MAX_WISHES} addresses`;
        throw refuse(said.from, isAnnotation, why, 'ask for fewer addresses');
      }
    }
  }
  return [...wishes.values()];
}

/** Where an address was asked for, and how to ask for it on one interface alone. */
export function whereAsked({ asked }: Wish): string[] {
  return asked.flatMap((said) => whereSaid('asked for', said));
}

const OUTSIDE = 'it lies outside its subnet';

/** Why this pool does not give this address by value; undefined if it does. */
function refusalOf({ pool }: UsablePool, { address, asked }: Wish): string | undefined {
  if (pool.family !== address.family || !cidrContains(pool.subnet, address)) {
    return OUTSIDE;
  }
  if (pool.staticRequests === 'Deny') {
    return 'the pool gives no addresses by value (spec.staticRequests: Deny)';
  }
  const length = pool.subnet.prefixLength;
  const wrong = asked.find(({ prefixLength }) => prefixLength !== undefined && prefixLength !== length);
  if (wrong !== undefined) {
    return `the prefix length is /${wrong.prefixLength}, the subnet's is /${length} (asked for by ${wrong.from})`;
  }
  if (pool.excluded.contains(address.value)) {
    return 'it is excluded (spec.excludes)';
  }
  if (pool.gateway?.value === address.value) {
    return 'it is the gateway';
  }
  if (!pool.requestable.contains(address.value)) {
    return 'it is the network, broadcast or anycast address of the subnet';
  }
  return undefined;
}

/** Wishes with the pools that give them, and why others can not be given. */
export interface Placement {
  readonly placed: readonly { readonly wish: Wish; readonly pool: UsablePool }[];
  readonly failures: readonly CniError[];
}

/**
 * The pool that gives each wish. The failures have code 103 with every pool's reason, 11 where a pool that is not Ready
 * yet may have the address.
 */
export function placeWishes(wishes: readonly Wish[], pools: StaticPools): Placement {
  const placed: { wish: Wish; pool: UsablePool }[] = [];
  const failures: CniError[] = [];
  for (const wish of wishes) {
    const pool = pools.usable.find((entry) => refusalOf(entry, wish) === undefined);
    if (pool === undefined) {
      failures.push(misplaced(wish, pools));
    } else {
      placed.push({ wish, pool });
    }
  }
  return { placed, failures };
}

function misplaced(wish: Wish, { usable, pending, refused }: StaticPools): CniError {
  const text = formatAddress(wish.address);
  const coming = pending.find((entry) => refusalOf(entry, wish) === undefined);
  if (coming !== undefined) {
    return new CniError(
      ErrorCode.tryAgainLater,
      `requested address ${text} can not be given yet: the operator has not declared pool ${coming.name} Ready`,
      whereAsked(wish).join('\n'),
    );
  }
  const reasons = [...usable, ...pending].map((entry) => ({ entry, why: refusalOf(entry, wish) ?? '' }));
  const telling = [
    ...reasons.filter(({ why }) => why !== OUTSIDE).map(({ entry, why }) => `pool ${entry.name}: ${why}`),
    ...explain(
      refused.filter(({ entry }) => refusalOf(entry, wish) !== OUTSIDE).map(({ objection }) => objection),
    ),
  ];
  const elsewhere = reasons.map(({ entry }) => `pool ${entry.name}: ${OUTSIDE}`);
  const why =
    [telling, elsewhere].find((lines) => lines.length > 0)?.join('; ') ?? 'no pool may serve this pod';
  return new CniError(
    ErrorCode.addressNotAllowed,
    `requested address ${text} can not be given: ${why}`,
    [
      ...whereAsked(wish),
      ...reasons.map(({ entry, why: reason }) => `pool ${entry.name}: ${reason}`),
      ...explain(refused.map(({ objection }) => objection)),
    ].join('\n'),
  );
}

/** The families that no wish serves: they are served dynamically. */
export function unservedGroups(groups: readonly FamilyGroup[], wishes: readonly Wish[]): FamilyGroup[] {
  const served = new Set<Family>(wishes.map((w) => w.address.family));
  return groups.filter((g) => !served.has(g.family));
}

/** All pools of a network, for a request by value that names no pool. */
export function poolsOfNetwork(entries: Iterable<PoolEntry>, network: string): PoolEntry[] {
  return [...entries].filter((e) => e.network === network).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
