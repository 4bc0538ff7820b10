/** The CNI result of an attachment's addresses, made from what its pools say. */
import { type Address, formatAddress, parseAddress } from '../../ipam/address.ts';
import type { Pool } from '../../ipam/pool.ts';
import { mergeDns, mergeRoutes, type NeutralResult } from './result.ts';

/** One address and the pool that it is from. */
export interface Given {
  readonly address: Address;
  readonly pool: Pool;
}

type Settings = Pick<NeutralResult, 'routes' | 'dns'>;

function settingsOf(pools: readonly Pool[]): Settings {
  return {
    routes: mergeRoutes(pools.map((p) => p.routes)),
    dns: mergeDns(pools.flatMap((p) => p.dns ?? [])),
  };
}

/** Those of one pool alone: the same for nearly every address that it gives, which all share them. */
const known = new WeakMap<Pool, Settings>();

function settingsOfOne(pool: Pool): Settings {
  const before = known.get(pool);
  if (before !== undefined) return before;
  const made = settingsOf([pool]);
  known.set(pool, made);
  return made;
}

/** Addresses in this order; routes and DNS of their pools in the order of first use. */
export function resultOf(given: readonly Given[]): NeutralResult {
  const pools = [...new Set(given.map((g) => g.pool))];
  const [first, ...others] = pools;
  const settings = first !== undefined && others.length === 0 ? settingsOfOne(first) : settingsOf(pools);
  return {
    ips: given.map(({ address, pool }) => ({
      family: address.family,
      address: `${formatAddress(address)}/${pool.subnet.prefixLength}`,
      ...(pool.gateway !== undefined && { gateway: formatAddress(pool.gateway) }),
    })),
    ...settings,
  };
}

/**
 * The result for addresses that are known only by their reservations (adopted after the journal was lost).
 * @returns undefined if a pool is gone: its prefix length is then not known
 */
export function resultFromClaims(
  claims: readonly { readonly address: string; readonly pool: string }[],
  poolOf: (name: string) => Pool | undefined,
): NeutralResult | undefined {
  const given: Given[] = [];
  for (const claim of claims) {
    const pool = poolOf(claim.pool);
    if (pool === undefined) {
      return undefined;
    }
    given.push({ address: parseAddress(claim.address), pool });
  }
  return resultOf(given.toSorted((a, b) => a.address.family - b.address.family));
}
