/**
 * What a pod, its namespace and the network configuration say about pools and addresses (design, 4.2 and 4.3).
 *
 * Everything read here was written by users: it is compared and quoted, never used as a path, selector or format.
 */
import { type Address, type Family, formatAddress, parseAddress } from '../../ipam/address.ts';
import { cidrContains } from '../../ipam/cidr.ts';
import { IpamError } from '../../ipam/errors.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, combine } from './errors.ts';
import type { PodFacts } from './owners.ts';
import type { PoolEntry } from './pools.ts';
import type { ParsedRequest } from './request.ts';
import type { FamilyGroup, PoolSource, UsablePool } from './select.ts';

export const POOLS_ANNOTATION = 'ipam.berth.dev/pools';
export const IPS_ANNOTATION = 'ipam.berth.dev/ips';

/** An address asked for by value. */
export interface Wish {
  readonly address: Address;
  readonly prefixLength: number | undefined;
  /** Where it was asked for. */
  readonly from: string;
}

function splitList(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function malformed(annotation: string, why: string): CniError {
  return new CniError(
    ErrorCode.invalidConfig,
    `${annotation} is malformed: ${why}`,
    'write a comma list, "a,b", or JSON by interface, {"net1": ["a", "b"]}',
  );
}

/**
 * An annotation's value for one interface, in either form: a comma list for all, or JSON by ifname or cniNetwork.
 * @param annotation how an error message calls it
 * @returns undefined where it says nothing of this interface
 * @throws CniError 7 that names the annotation
 */
export function annotationFor(
  annotation: string,
  value: string | undefined,
  ifname: string,
  cniNetwork: string,
): string[] | undefined {
  const trimmed = value?.trim() ?? '';
  if (trimmed === '') {
    return undefined;
  }
  if (!trimmed.startsWith('{')) {
    return splitList(trimmed);
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(trimmed);
  } catch (error) {
    throw malformed(annotation, error instanceof Error ? error.message : String(error));
  }
  const entries = new Map(Object.entries(parsed ?? {}));
  for (const [key, items] of entries) {
    const isList = Array.isArray(items) && items.every((item) => typeof item === 'string');
    if (typeof items !== 'string' && !isList) {
      throw malformed(
        annotation,
        `the value of ${JSON.stringify(key)} is neither a string nor a list of strings`,
      );
    }
  }
  const own: unknown = entries.get(ifname) ?? entries.get(cniNetwork);
  const items = typeof own === 'string' ? [own] : Array.isArray(own) ? own.map(String) : [];
  const list = items.flatMap(splitList);
  return list.length === 0 ? undefined : list;
}

/** The five sources of pools but the last (the defaults), from the strongest to the weakest. */
export function poolSources(
  request: ParsedRequest,
  pod: PodFacts | undefined,
  namespaceAnnotations: Readonly<Record<string, string>> | undefined,
): PoolSource[] {
  const { config, id, cniNetwork } = request;
  const args = config.args?.cni?.pools;
  const ofPod = `annotation ${POOLS_ANNOTATION} of pod ${pod?.namespace}/${pod?.name}`;
  const ofNamespace = `annotation ${POOLS_ANNOTATION} of namespace ${pod?.namespace}`;
  return [
    { from: 'args.cni.pools', pools: typeof args === 'string' ? splitList(args) : args },
    { from: ofPod, pools: annotationFor(ofPod, pod?.annotations[POOLS_ANNOTATION], id.ifname, cniNetwork) },
    {
      from: ofNamespace,
      pools: annotationFor(ofNamespace, namespaceAnnotations?.[POOLS_ANNOTATION], id.ifname, cniNetwork),
    },
    { from: 'ipam.pools of the network configuration', pools: config.ipam.pools },
  ];
}

function parseWish(text: string, from: string): Wish {
  const [address = '', prefix, ...more] = text.trim().split('/');
  const badPrefix = more.length > 0 || (prefix !== undefined && !/^(0|[1-9]\d{0,2})$/.test(prefix));
  try {
    if (badPrefix) {
      throw new IpamError('InvalidCidr', text, 'the prefix length is not a number');
    }
    return {
      address: parseAddress(address),
      prefixLength: prefix === undefined ? undefined : Number(prefix),
      from,
    };
  } catch (error) {
    if (error instanceof IpamError) {
      throw new CniError(
        ErrorCode.invalidConfig,
        `${from}: ${JSON.stringify(text)} is not an address: ${error.message}`,
        'write 10.20.1.7 or 10.20.1.7/16',
        error,
      );
    }
    throw error;
  }
}

/**
 * The addresses asked for by value, in the order of the request; the same one from several channels counts once.
 * @throws CniError 7 for one that is no address or for a malformed annotation
 */
export function wishesOf(request: ParsedRequest, pod: PodFacts | undefined): Wish[] {
  const { config, id, cniNetwork } = request;
  const ofPod = `annotation ${IPS_ANNOTATION} of pod ${pod?.namespace}/${pod?.name}`;
  const channels: [string, readonly string[] | undefined][] = [
    [ofPod, annotationFor(ofPod, pod?.annotations[IPS_ANNOTATION], id.ifname, cniNetwork)],
    ['runtimeConfig.ips', config.runtimeConfig?.ips],
    ['args.cni.ips', config.args?.cni?.ips],
    ['IP of CNI_ARGS', request.requestedByArgs],
  ];
  const wishes = new Map<string, Wish>();
  for (const [from, texts] of channels) {
    for (const text of texts ?? []) {
      const wish = parseWish(text, from);
      const key = formatAddress(wish.address);
      const earlier = wishes.get(key);
      wishes.set(key, {
        ...wish,
        ...earlier,
        prefixLength: checkedPrefix(key, earlier, wish),
      });
    }
  }
  return [...wishes.values()];
}

/** The prefix length of an address that was asked for once or more often. */
function checkedPrefix(address: string, earlier: Wish | undefined, wish: Wish): number | undefined {
  const { prefixLength } = wish;
  if (
    earlier?.prefixLength !== undefined &&
    prefixLength !== undefined &&
    earlier.prefixLength !== prefixLength
  ) {
    throw new CniError(
      ErrorCode.addressNotAllowed,
      `${address} is asked for as /${earlier.prefixLength} by ${earlier.from} and as /${prefixLength} by ${wish.from}`,
    );
  }
  return earlier?.prefixLength ?? prefixLength;
}

/** Why this pool does not give this address by value; undefined if it does. */
function refusalOf(entry: UsablePool, wish: Wish): string | undefined {
  const { pool } = entry;
  if (pool.family !== wish.address.family || !cidrContains(pool.subnet, wish.address)) {
    return `it lies outside its subnet`;
  }
  if (pool.staticRequests === 'Deny') {
    return 'the pool gives no addresses by value (spec.staticRequests: Deny)';
  }
  if (wish.prefixLength !== undefined && wish.prefixLength !== pool.subnet.prefixLength) {
    return `the prefix length is /${wish.prefixLength}, the subnet's is /${pool.subnet.prefixLength}`;
  }
  if (pool.excluded.contains(wish.address.value)) {
    return 'it is excluded (spec.excludes)';
  }
  if (pool.gateway?.value === wish.address.value) {
    return 'it is the gateway';
  }
  if (!pool.requestable.contains(wish.address.value)) {
    return 'it is the network, broadcast or anycast address of the subnet';
  }
  return undefined;
}

/**
 * The pool that gives each wish.
 * @throws CniError 103 with every pool's reason
 */
export function placeWishes(
  wishes: readonly Wish[],
  candidates: readonly UsablePool[],
): { wish: Wish; pool: UsablePool }[] {
  const placed: { wish: Wish; pool: UsablePool }[] = [];
  const failures: CniError[] = [];
  for (const wish of wishes) {
    const pool = candidates.find((entry) => refusalOf(entry, wish) === undefined);
    if (pool !== undefined) {
      placed.push({ wish, pool });
      continue;
    }
    const text = formatAddress(wish.address);
    const reasons = candidates.map((entry) => ({ name: entry.name, why: refusalOf(entry, wish) ?? '' }));
    const telling = reasons.find((r) => r.why !== 'it lies outside its subnet') ?? reasons[0];
    failures.push(
      new CniError(
        ErrorCode.addressNotAllowed,
        `requested address ${text} can not be given: ${telling === undefined ? 'no pool may serve this pod' : `pool ${telling.name}: ${telling.why}`}`,
        [`asked for by ${wish.from}`, ...reasons.map((r) => `pool ${r.name}: ${r.why}`)].join('\n'),
      ),
    );
  }
  const [first, ...rest] = failures;
  if (first !== undefined) {
    throw combine([first, ...rest]);
  }
  return placed;
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
