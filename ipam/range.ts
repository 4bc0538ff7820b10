/** Runs of consecutive addresses, as pools write them. */

import type { Family } from './address.ts';
import { addressBits, formatAddress, parseAddress } from './address.ts';
import { cidrRange, formatCidr, parseCidr } from './cidr.ts';
import { IpamError, quote } from './errors.ts';

/** Consecutive addresses of one family, `first` and `last` included; first ≤ last. */
export interface Range {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
}

/**
 * Parses an address, a CIDR without host bits, or `first-last` (both included).
 * @throws IpamError InvalidRange; InvalidAddress, InvalidCidr for the parts; MixedFamilies
 */
export function parseRange(text: string): Range {
  if (text.includes('/')) return cidrRange(parseCidr(text));
  const [from = '', to, ...more] = text.split('-', 3);
  if (more.length > 0) {
    throw new IpamError('InvalidRange', text, `${quote(text)} has more than one "-"; write first-last`);
  }
  const first = parseAddress(from);
  if (to === undefined) return { family: first.family, first: first.value, last: first.value };
  const last = parseAddress(to);
  if (first.family !== last.family) {
    const message = `${quote(text)} starts in IPv${first.family} and ends in IPv${last.family}; write one range for each`;
    throw new IpamError('MixedFamilies', text, message);
  }
  if (first.value > last.value) {
    const message = `${quote(text)} ends before it starts; write ${formatAddress(last)}-${formatAddress(first)}`;
    throw new IpamError('InvalidRange', text, message);
  }
  return { family: first.family, first: first.value, last: last.value };
}

/** The shortest canonical text: an address, else a CIDR where the range is one, else `first-last`. */
export function formatRange(range: Range): string {
  const { family, first, last } = range;
  const from = formatAddress({ family, value: first });
  if (first === last) return from;
  const size = last - first + 1n;
  const isBlock = (size & (size - 1n)) === 0n && first % size === 0n;
  if (!isBlock) return `${from}-${formatAddress({ family, value: last })}`;
  return formatCidr({
    family,
    base: first,
    prefixLength: addressBits(family) - (size.toString(2).length - 1),
  });
}
