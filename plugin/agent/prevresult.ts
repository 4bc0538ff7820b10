/** What a CHECK's prevResult says of addresses, against what is reserved. Pure. */
import { formatAddress, isCanonicalAddress, parseAddress } from '../../ipam/address.ts';
import { cidrContains, parseInterfaceAddress } from '../../ipam/cidr.ts';
import { IpamError } from '../../ipam/errors.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError } from './errors.ts';
import type { PoolEntry } from './pools.ts';
import type { Claim } from './state.ts';

/** The addresses of a prevResult. Every version that has CHECK has them in `ips`. */
function reportedAddresses(prevResult: Readonly<Record<string, unknown>>): Set<string> {
  const ips: unknown = prevResult['ips'];
  const addresses = (Array.isArray(ips) ? ips : []).flatMap((ip: unknown) => {
    const address: unknown =
      typeof ip === 'object' && ip !== null && 'address' in ip ? ip.address : undefined;
    return typeof address === 'string' ? [canonical(address)] : [];
  });
  return new Set(addresses);
}

/** The address as reservations spell it; as it is if it is none. */
function canonical(text: string): string {
  try {
    return formatAddress(parseInterfaceAddress(text).address);
  } catch (error) {
    if (error instanceof IpamError) {
      return text;
    }
    throw error;
  }
}

/**
 * prevResult, where there is one, must have every address of the attachment, and none besides them of its network:
 * another plugin of the chain may have given more, but not from a subnet in which Berth gives addresses to others.
 * @throws CniError 106
 */
export function comparePrevResult(
  prevResult: Readonly<Record<string, unknown>> | null | undefined,
  claims: readonly Pick<Claim, 'network' | 'address' | 'pool'>[],
  pools: Iterable<Pick<PoolEntry, 'name' | 'network' | 'pool'>>,
): void {
  if (prevResult === undefined || prevResult === null) {
    return;
  }
  const reported = reportedAddresses(prevResult);
  const absent = claims.find((claim) => !reported.has(claim.address));
  if (absent !== undefined) {
    throw new CniError(
      ErrorCode.checkFailed,
      `address ${absent.address} of pool ${absent.pool} is reserved for the attachment, but prevResult does not have it`,
    );
  }
  const own = new Set(claims.map((claim) => claim.address));
  const networks = new Set(claims.map((claim) => claim.network));
  const near = [...pools].filter((entry) => networks.has(entry.network));
  for (const text of reported) {
    const address = own.has(text) || !isCanonicalAddress(text) ? undefined : parseAddress(text);
    const entry = near.find(
      ({ pool }) => address !== undefined && pool !== undefined && cidrContains(pool.subnet, address),
    );
    if (entry !== undefined) {
      throw new CniError(
        ErrorCode.checkFailed,
        `prevResult has address ${text} of pool ${entry.name}, which is not reserved for the attachment`,
      );
    }
  }
}
