/** Subnets in prefix notation (RFC 4632, RFC 4291 2.3). */

import type { Address, Family } from './address.ts';
import { addressBits, formatAddress, parseAddress } from './address.ts';
import { IpamError, quote } from './errors.ts';
import type { Range } from './range.ts';

/** A subnet. `base` is its first address: the bits after `prefixLength` are zero. */
export interface Cidr {
  readonly family: Family;
  readonly base: bigint;
  readonly prefixLength: number;
}

/**
 * Parses `address/prefix length`, without host bits.
 * @throws IpamError InvalidCidr; InvalidAddress for the part before the slash
 */
export function parseCidr(text: string): Cidr {
  const { address, prefixLength } = parseInterfaceAddress(text);
  if (prefixLength === undefined) {
    const cure = `write ${formatAddress(address)}/${addressBits(address.family)} for that one address`;
    throw refusal(text, 'has no prefix length', cure);
  }
  const base =
    (address.value >> hostBits(address.family, prefixLength)) << hostBits(address.family, prefixLength);
  const cidr: Cidr = { family: address.family, base, prefixLength };
  if (base !== address.value) {
    throw refusal(text, `has bits set after the first ${prefixLength}`, `write ${formatCidr(cidr)}`);
  }
  return cidr;
}

/**
 * Parses an address with or without the prefix length of its subnet, `10.20.1.7/16` or `10.20.1.7`: how CNI writes
 * the address of an interface.
 * @throws IpamError InvalidAddress, InvalidCidr
 */
export function parseInterfaceAddress(text: string): { address: Address; prefixLength?: number } {
  const slash = text.indexOf('/');
  if (slash < 0) return { address: parseAddress(text) };
  const address = parseAddress(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  const bits = addressBits(address.family);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(digits) || Number(digits) > bits) {
    throw refusal(
      text,
      `has ${quote(digits)} as prefix length`,
      `write a number from 0 to ${bits} without leading zeros`,
    );
  }
  return { address, prefixLength: Number(digits) };
}

/** The canonical text, `10.20.0.0/16`. */
export function formatCidr(cidr: Cidr): string {
  return `${formatAddress({ family: cidr.family, value: cidr.base })}/${cidr.prefixLength}`;
}

/** All addresses of the subnet, network and broadcast address included. */
export function cidrRange(cidr: Cidr): Range {
  const size = 1n << hostBits(cidr.family, cidr.prefixLength);
  return { family: cidr.family, first: cidr.base, last: cidr.base + size - 1n };
}

/** True if the address is of the subnet's family and inside it. */
export function cidrContains(cidr: Cidr, address: Address): boolean {
  return (
    cidr.family === address.family &&
    address.value >> hostBits(cidr.family, cidr.prefixLength) ===
      cidr.base >> hostBits(cidr.family, cidr.prefixLength)
  );
}

function hostBits(family: Family, prefixLength: number): bigint {
  return BigInt(addressBits(family) - prefixLength);
}

function refusal(text: string, reason: string, cure: string): IpamError {
  return new IpamError('InvalidCidr', text, `${quote(text)} ${reason}; ${cure}`);
}
