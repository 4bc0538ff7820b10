/**
 * What a pod, its namespace and the network configuration say about pools and addresses (docs/cni.md).
 *
 * Everything read here was written by users: it is compared and quoted, never used as a path, selector or format.
 */
import { type Address, type Family, formatAddress } from '../../ipam/address.ts';
import { cidrContains, parseInterfaceAddress } from '../../ipam/cidr.ts';
import { IpamError } from '../../ipam/errors.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, combine, messageOf } from './errors.ts';
import type { PodFacts } from './owners.ts';
import type { PoolEntry } from './pools.ts';
import type { ParsedRequest } from './request.ts';
import type { FamilyGroup, PoolSource, UsablePool, usablePools } from './select.ts';

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

/** The JSON form. */
function byInterface(annotation: string, text: string): Map<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw malformed(annotation, messageOf(error));
  }
  const entries = new Map<string, unknown>(Object.entries(parsed ?? {}));
  for (const [key, items] of entries) {
    const isList = Array.isArray(items) && items.every((item) => typeof item === 'string');
    if (typeof items !== 'string' && !isList) {
      throw malformed(
        annotation,
        `the value of ${JSON.stringify(key)} is neither a string nor a list of strings`,
      );
    }
  }
  return entries;
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
  if (/^["[]/.test(trimmed)) {
    throw malformed(annotation, 'JSON that is no object');
  }
  if (!trimmed.startsWith('{')) {
    return splitList(trimmed);
  }
  const entries = byInterface(annotation, trimmed);
  // An empty value is as good as none: the network's is looked at then.
  return [ifname, cniNetwork]
    .map((key) => entries.get(key))
    .map((own) => (typeof own === 'string' ? [own] : Array.isArray(own) ? own.map(String) : []))
    .map((items) => items.flatMap(splitList))
    .find((list) => list.length > 0);
}

/** The five sources of pools but the last (the defaults), from the strongest to the weakest. */
export function poolSources(
  request: ParsedRequest,
  pod: PodFacts | undefined,
  namespaceAnnotations: Readonly<Record<string, string>> | undefined,
): PoolSource[] {
  const { config, id, cniNetwork } = request;
  const args = config.args?.cni?.pools;
  const annotation = (of: string, value: string | undefined): PoolSource => {
    const from = `annotation ${POOLS_ANNOTATION} of ${of}`;
    const pools = annotationFor(from, value, id.ifname, cniNetwork);
    const isForAll = pools !== undefined && value?.trim().startsWith('{') === false;
    return { from, pools, ...(isForAll && { byInterface: JSON.stringify({ [id.ifname]: pools }) }) };
  };
  return [
    { from: 'args.cni.pools', pools: typeof args === 'string' ? splitList(args) : args },
    annotation(`pod ${pod?.namespace}/${pod?.name}`, pod?.annotations[POOLS_ANNOTATION]),
    annotation(`namespace ${pod?.namespace}`, namespaceAnnotations?.[POOLS_ANNOTATION]),
    { from: 'ipam.pools of the network configuration', pools: config.ipam.pools },
  ];
}

function parseWish(text: string, from: string): Wish {
  try {
    const { address, prefixLength } = parseInterfaceAddress(text.trim());
    return { address, prefixLength, from };
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

const OUTSIDE = 'it lies outside its subnet';

/** Why this pool does not give this address by value; undefined if it does. */
function refusalOf(entry: UsablePool, wish: Wish): string | undefined {
  const { pool } = entry;
  if (pool.family !== wish.address.family || !cidrContains(pool.subnet, wish.address)) {
    return OUTSIDE;
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
 * @param pools those that may serve, and those that may as soon as they are Ready
 * @throws CniError 103 with every pool's reason, 11 where a pool that is not Ready yet may have the address
 */
export function placeWishes(
  wishes: readonly Wish[],
  { usable: candidates, pending }: ReturnType<typeof usablePools>,
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
    const coming = pending.find((entry) => refusalOf(entry, wish) === undefined);
    if (coming !== undefined) {
      failures.push(
        new CniError(
          ErrorCode.tryAgainLater,
          `requested address ${text} can not be given yet: the operator has not declared pool ${coming.name} Ready`,
          `asked for by ${wish.from}`,
        ),
      );
      continue;
    }
    const reasons = candidates.map((entry) => ({ name: entry.name, why: refusalOf(entry, wish) ?? '' }));
    const telling = reasons.find((r) => r.why !== OUTSIDE) ?? reasons[0];
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
