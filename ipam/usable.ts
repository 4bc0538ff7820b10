/** Which addresses of a subnet an interface can have. */

import type { Address } from './address.ts';
import { addressBits } from './address.ts';
import type { Cidr } from './cidr.ts';
import { cidrRange } from './cidr.ts';
import { RangeSet } from './rangeset.ts';

/** Why an address inside the subnet is not given: its role there. */
export type UnusableRole = 'network' | 'broadcast' | 'anycast' | 'gateway';

/**
 * Point-to-point links and host routes have no room for addresses with a role: in IPv4 /31 (RFC 3021) and /32, and in
 * IPv6 /127 (RFC 6164) and /128, every address is usable.
 */
function hasReservedAddresses(subnet: Cidr): boolean {
  return addressBits(subnet.family) - subnet.prefixLength >= 2;
}

/**
 * The subnet without the network and broadcast address (IPv4) or the subnet-router anycast address (IPv6, RFC 4291
 * 2.6.1). The gateway is not considered: that is the pool's.
 */
export function usableSet(subnet: Cidr): RangeSet {
  const { family, first, last } = cidrRange(subnet);
  if (!hasReservedAddresses(subnet)) return RangeSet.of(family, [{ family, first, last }]);
  return RangeSet.of(family, [{ family, first: first + 1n, last: family === 4 ? last - 1n : last }]);
}

/** The role that keeps this address of the subnet from being given; undefined if it has none or lies outside. */
export function whyUnusable(
  subnet: Cidr,
  gateway: Address | undefined,
  address: Address,
): UnusableRole | undefined {
  if (address.family !== subnet.family) return undefined;
  if (hasReservedAddresses(subnet)) {
    const { first, last } = cidrRange(subnet);
    if (address.value === first) return subnet.family === 4 ? 'network' : 'anycast';
    if (address.value === last && subnet.family === 4) return 'broadcast';
  }
  return gateway?.family === address.family && gateway.value === address.value ? 'gateway' : undefined;
}
