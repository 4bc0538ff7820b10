/** What is wrong with a pool that parses: mistakes that the CRD's own rules cannot see. */

import { formatAddress, parseAddress } from './address.ts';
import { cidrContains, cidrRange, formatCidr, parseCidr } from './cidr.ts';
import type { Pool } from './pool.ts';
import { whyUnusable } from './usable.ts';

/** One reason for a pool not to be Ready. `reason` is a condition reason, `message` one line with the cure. */
export interface PoolProblem {
  readonly reason: 'SubnetNotUnicast' | 'GatewayUnusable' | 'RouteGatewayOffLink' | 'NoUsableAddresses';
  readonly message: string;
}

/** Blocks that no interface of a network can have (IANA special-purpose registries, RFC 6890). */
const NOT_UNICAST: readonly (readonly [cidr: string, what: string])[] = [
  ['0.0.0.0/8', '"this network"'],
  ['127.0.0.0/8', 'loopback'],
  ['224.0.0.0/4', 'multicast'],
  ['255.255.255.255/32', 'limited broadcast'],
  ['::/128', 'the unspecified address'],
  ['::1/128', 'loopback'],
  ['ff00::/8', 'multicast'],
];

/** IPv6 routers are usually reached by their link-local address, which is on every link. */
const LINK_LOCAL = parseCidr('fe80::/10');

/** Everything that keeps the pool from being Ready, worst first; empty if nothing does. */
export function poolProblems(pool: Pool): PoolProblem[] {
  return [...subnetProblems(pool), ...gatewayProblems(pool), ...routeProblems(pool), ...rangeProblems(pool)];
}

function subnetProblems({ subnet }: Pool): PoolProblem[] {
  const { family, first, last } = cidrRange(subnet);
  return NOT_UNICAST.flatMap(([text, what]): PoolProblem[] => {
    const block = cidrRange(parseCidr(text));
    if (block.family !== family || block.last < first || block.first > last) return [];
    const message = `subnet ${formatCidr(subnet)} overlaps ${text} (${what}); make a pool of unicast addresses`;
    return [{ reason: 'SubnetNotUnicast', message }];
  });
}

function gatewayProblems({ subnet, gateway }: Pool): PoolProblem[] {
  const role = gateway && whyUnusable(subnet, undefined, gateway);
  if (gateway === undefined || role === undefined) return [];
  const what = role === 'anycast' ? 'subnet-router anycast' : role;
  const message = `gateway ${formatAddress(gateway)} is the ${what} address of ${formatCidr(subnet)}; name another`;
  return [{ reason: 'GatewayUnusable', message }];
}

function routeProblems({ subnet, routes }: Pool): PoolProblem[] {
  return routes.flatMap((route, i): PoolProblem[] => {
    if (route.gw === undefined) return [];
    const gateway = parseAddress(route.gw);
    if (cidrContains(subnet, gateway) || cidrContains(LINK_LOCAL, gateway)) return [];
    const message = `routes[${i}] to ${route.dst}: gw ${route.gw} is not on-link in ${formatCidr(subnet)}; name a gateway inside the subnet`;
    return [{ reason: 'RouteGatewayOffLink', message }];
  });
}

function rangeProblems({ subnet, staticOnly, dynamic, requestable }: Pool): PoolProblem[] {
  if (staticOnly ? !requestable.isEmpty : !dynamic.isEmpty) return [];
  const message = staticOnly
    ? `no address of ${formatCidr(subnet)} is left to be requested; shorten excludes`
    : 'no usable address is left in ranges; extend ranges, shorten excludes, or write "ranges: []" for static requests only';
  return [{ reason: 'NoUsableAddresses', message }];
}
