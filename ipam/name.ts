/**
 * Names of reservations: `<network>.<address>`. The name is what makes an address unique in its network: etcd holds
 * one object of a name, so two creators cannot both succeed.
 */

import type { Address } from './address.ts';
import { formatAddress, ipv6Groups, isCanonicalAddress, parseAddress } from './address.ts';
import { IpamError, quote } from './errors.ts';

/** What a network may be called: a DNS label, so without the dot that ends it in a reservation's name. */
const NETWORK = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

/** An IPv6 address as part of an object's name: in full, with `-` for `:`, which object names may not contain. */
const IPV6_PART = /^[0-9a-f]{4}(-[0-9a-f]{4}){7}$/;

/**
 * The name of the reservation of this address: `storage.10.20.1.7`,
 * `default.fd00-0010-0000-0000-0000-0000-0000-0011`.
 * @throws IpamError InvalidName if the network is no DNS label
 */
export function reservationName(network: string, address: Address): string {
  if (!NETWORK.test(network)) throw badNetwork(network, network);
  if (address.family === 4) return `${network}.${formatAddress(address)}`;
  const groups = ipv6Groups(address.value).map((group) => group.toString(16).padStart(4, '0'));
  return `${network}.${groups.join('-')}`;
}

/**
 * The network and address of a reservation's name: the inverse of `reservationName`, which accepts no other spelling.
 * @throws IpamError InvalidName
 */
export function parseReservationName(name: string): { network: string; address: Address } {
  const dot = name.indexOf('.');
  const network = name.slice(0, Math.max(dot, 0));
  const part = name.slice(dot + 1);
  if (!NETWORK.test(network)) throw badNetwork(name, network);
  const text = IPV6_PART.test(part) ? part.replaceAll('-', ':') : part;
  if (text === part && (part.includes(':') || !isCanonicalAddress(part))) {
    const cure =
      'write an IPv4 address, or an IPv6 address as 32 hex digits in eight groups with "-" between them';
    throw new IpamError('InvalidName', name, `${quote(name)} has ${quote(part)} for an address; ${cure}`);
  }
  try {
    return { network, address: parseAddress(text) };
  } catch (error) {
    if (!(error instanceof IpamError)) throw error;
    throw new IpamError('InvalidName', name, `${quote(name)} names no address: ${error.message}`, error);
  }
}

function badNetwork(value: string, network: string): IpamError {
  const cure = 'write up to 63 lower-case letters, digits and "-", such as "storage"';
  return new IpamError('InvalidName', value, `${quote(value)} has ${quote(network)} for a network; ${cure}`);
}
