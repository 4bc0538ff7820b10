/** IP addresses as numbers: strict parsing, and the one canonical spelling (RFC 5952) for output. */

import { IpamError, quote } from './errors.ts';

/** The IP version. */
export type Family = 4 | 6;

/** An address. `value` is the big-endian number: 0 ≤ value < 2^32 or 2^128. */
export interface Address {
  readonly family: Family;
  readonly value: bigint;
}

/** Bits of an address: 32 or 128. */
export function addressBits(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/** The highest address value of the family. */
export function maxAddress(family: Family): bigint {
  return family === 4 ? 0xffff_ffffn : (1n << 128n) - 1n;
}

/** IPv4-mapped addresses, ::ffff:0:0/96 (RFC 4291 2.5.5.2), as the upper 96 bits. */
const MAPPED_PREFIX = 0xffffn;

/**
 * Parses one address. Stricter than most parsers where spellings are ambiguous or name no address of their own:
 * IPv4 is four decimal numbers without leading zeros (some programs read those as octal); IPv6 is any spelling of
 * RFC 4291 2.2, but no zone and no IPv4-mapped address (Kubernetes refuses both as well).
 * @throws IpamError InvalidAddress
 */
export function parseAddress(text: string): Address {
  return text.includes(':')
    ? { family: 6, value: parseIPv6(text) }
    : { family: 4, value: BigInt(parseIPv4(text, text)) };
}

/** The canonical text: dotted decimal, or RFC 5952 section 4 (lower case, longest run of zeros as `::`, no dots). */
export function formatAddress(address: Address): string {
  if (address.family === 4) {
    const value = Number(address.value);
    return `${value >>> 24}.${(value >>> 16) & 0xff}.${(value >>> 8) & 0xff}.${value & 0xff}`;
  }
  const groups = ipv6Groups(address.value);
  const [start, length] = longestZeroRun(groups);
  const hex = groups.map((group) => group.toString(16));
  if (length < 2) return hex.join(':');
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`;
}

/** True if the text is an address that `parseAddress` accepts, spelled as `formatAddress` spells it. */
export function isCanonicalAddress(text: string): boolean {
  try {
    return formatAddress(parseAddress(text)) === text;
  } catch (error) {
    if (error instanceof IpamError) return false;
    throw error;
  }
}

/** The eight 16-bit groups of an IPv6 address, most significant first. */
export function ipv6Groups(value: bigint): number[] {
  const hex = value.toString(16).padStart(32, '0');
  return Array.from({ length: 8 }, (_, i) => Number.parseInt(hex.slice(i * 4, i * 4 + 4), 16));
}

/** Start and length of the longest run of zero groups, the first of equals (RFC 5952 4.2.3). */
function longestZeroRun(groups: readonly number[]): [start: number, length: number] {
  let best: [number, number] = [0, 0];
  let length = 0;
  for (const [i, group] of groups.entries()) {
    length = group === 0 ? length + 1 : 0;
    if (length > best[1]) best = [i - length + 1, length];
  }
  return best;
}

/** `whole` is what the user wrote, for the message; `text` is the dotted part of it. */
function parseIPv4(text: string, whole: string): number {
  const parts = text.split('.', 5);
  if (parts.length !== 4) {
    throw refusal(
      whole,
      'is not an IP address',
      'write four numbers such as 10.20.0.7, or IPv6 such as fd00::7',
    );
  }
  let value = 0;
  for (const part of parts) {
    if (!/^[0-9]+$/.test(part)) {
      throw refusal(
        whole,
        `has ${quote(part)} where a number is expected`,
        'write four numbers such as 10.20.0.7',
      );
    }
    if (part.length > 1 && part.startsWith('0')) {
      const cure = `write ${Number(part)} (some programs read ${part} as octal)`;
      throw refusal(whole, `has the leading zero of ${quote(part)}`, cure);
    }
    const byte = Number(part);
    if (byte > 255)
      throw refusal(whole, `has ${quote(part)}, which is more than 255`, 'write numbers from 0 to 255');
    value = value * 256 + byte;
  }
  return value;
}

function parseIPv6(text: string): bigint {
  if (text.includes('%')) {
    throw refusal(text, 'has a zone', `write the address alone, ${quote(text.slice(0, text.indexOf('%')))}`);
  }
  const sides = text.split('::', 3);
  if (sides.length > 2) throw refusal(text, 'has "::" more than once', 'write the other zero groups out');
  const [left = '', right] = sides;
  const head = ipv6Side(left, text, right === undefined);
  const tail = right === undefined ? [] : ipv6Side(right, text, true);
  const missing = 8 - head.length - tail.length;
  if (right === undefined ? missing !== 0 : missing < 1) {
    const reason = `has ${head.length + tail.length} groups${right === undefined ? '' : ' besides "::"'}`;
    throw refusal(text, reason, 'write eight groups of up to four hex digits, one run of zeros may be "::"');
  }
  const groups = [...head, ...Array.from({ length: missing }, () => 0), ...tail];
  const value = BigInt(`0x${groups.map((group) => group.toString(16).padStart(4, '0')).join('')}`);
  if (value >> 32n === MAPPED_PREFIX) {
    const plain = formatAddress({ family: 4, value: value & 0xffff_ffffn });
    throw refusal(text, 'is an IPv4 address mapped into IPv6', `write ${plain}`);
  }
  return value;
}

/** The groups on one side of `::`. `last` says that the text ends here, where RFC 4291 allows a dotted tail. */
function ipv6Side(side: string, text: string, last: boolean): number[] {
  if (side === '') {
    return [];
  }
  const parts = side.split(':');
  const groups: number[] = [];
  for (const [i, part] of parts.entries()) {
    if (last && i === parts.length - 1 && part.includes('.')) {
      const dotted = parseIPv4(part, text);
      groups.push(dotted >>> 16, dotted & 0xffff);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      const reason = part === '' ? 'has an empty group' : `has ${quote(part)} where a group is expected`;
      throw refusal(text, reason, 'write up to four hex digits between colons');
    }
  }
  return groups;
}

function refusal(text: string, reason: string, cure: string): IpamError {
  const value = text === '' ? 'an empty text' : quote(text);
  return new IpamError('InvalidAddress', text, `${value} ${reason}; ${cure}`);
}
