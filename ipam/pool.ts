/** A pool compiled for use: texts parsed, defaults filled in, and the set of addresses it may give worked out. */

import type { Address, Family } from './address.ts';
import { formatAddress, parseAddress } from './address.ts';
import type { Cidr } from './cidr.ts';
import { cidrContains, cidrRange, formatCidr, parseCidr } from './cidr.ts';
import { parseDuration } from './duration.ts';
import { IpamError, quote } from './errors.ts';
import type { Range } from './range.ts';
import { parseRange } from './range.ts';
import { RangeSet } from './rangeset.ts';
import type { LabelSelector } from './selector.ts';
import { usableSet } from './usable.ts';

export type { PoolProblem } from './problems.ts';
export { poolProblems } from './problems.ts';

/** A route as the pool has it; the fields beyond `dst` and `gw` are those of CNI 1.1.0. */
export interface PoolRoute {
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
}

/** Resolver settings as the pool has them. */
export interface PoolDns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** `spec` of an IPPool, as its CRD has it. What is absent has the CRD's default. */
export interface PoolSpec {
  readonly network?: string;
  readonly subnet: string;
  readonly ranges?: readonly string[];
  readonly excludes?: readonly string[];
  readonly gateway?: string;
  readonly routes?: readonly PoolRoute[];
  readonly dns?: PoolDns;
  readonly nodeSelector?: LabelSelector;
  readonly namespaceSelector?: LabelSelector;
  readonly podSelector?: LabelSelector;
  readonly default?: boolean;
  readonly disabled?: boolean;
  readonly staticRequests?: 'Allow' | 'Deny';
  readonly cooldown?: string;
  readonly allocation?: 'Random' | 'Ascending';
}

/** A compiled pool. Immutable; a change of the spec makes a new one. */
export interface Pool {
  readonly name: string;
  readonly network: string;
  readonly family: Family;
  readonly subnet: Cidr;
  readonly gateway: Address | undefined;
  /** What dynamic allocation gives: ranges ∩ usable − excludes − gateway. */
  readonly dynamic: RangeSet;
  /** What may be asked for by value: subnet ∩ usable − excludes − gateway. Contains `dynamic`. */
  readonly requestable: RangeSet;
  /** `spec.excludes`. */
  readonly excluded: RangeSet;
  /** Size of `dynamic`. */
  readonly capacity: bigint;
  /** True for `ranges: []`: addresses by value only. */
  readonly staticOnly: boolean;
  /** How long a released address rests, in milliseconds; 0: not at all. */
  readonly cooldownMs: number;
  readonly allocation: 'Random' | 'Ascending';
  readonly isDefault: boolean;
  readonly disabled: boolean;
  readonly staticRequests: 'Allow' | 'Deny';
  readonly routes: readonly PoolRoute[];
  readonly dns: PoolDns | undefined;
  readonly nodeSelector: LabelSelector | undefined;
  readonly namespaceSelector: LabelSelector | undefined;
  readonly podSelector: LabelSelector | undefined;
}

/** `spec.network` of a pool that names none. */
export const DEFAULT_NETWORK = 'default';

/** `spec.cooldown` of a pool that names none. */
const DEFAULT_COOLDOWN = '30s';
const MAX_COOLDOWN = '24h';

/**
 * Compiles a pool's spec. Checks whatever it reads, also what the CRD's rules have checked before: they may be older
 * than this program.
 * @throws IpamError InvalidPool, whose message begins with the field
 */
export function compilePool(name: string, spec: PoolSpec): Pool {
  const subnet = field('spec.subnet', spec.subnet, parseCidr);
  const { family } = subnet;
  const gateway = gatewayField(spec.gateway, subnet);
  const excluded = rangesField('spec.excludes', spec.excludes ?? [], subnet);
  const requestable = usableSet(subnet).subtract(excluded).subtract(gatewaySet(family, gateway));
  const ranges =
    spec.ranges === undefined
      ? RangeSet.of(family, [cidrRange(subnet)])
      : rangesField('spec.ranges', spec.ranges, subnet);
  const dynamic = ranges.intersect(requestable);
  for (const [i, route] of (spec.routes ?? []).entries()) checkRoute(`spec.routes[${i}]`, route, family);
  return {
    name,
    network: spec.network ?? DEFAULT_NETWORK,
    family,
    subnet,
    gateway,
    dynamic,
    requestable,
    excluded,
    capacity: dynamic.size,
    staticOnly: spec.ranges?.length === 0,
    cooldownMs: field('spec.cooldown', spec.cooldown ?? DEFAULT_COOLDOWN, parseCooldown),
    allocation: spec.allocation ?? 'Random',
    isDefault: spec.default ?? false,
    disabled: spec.disabled ?? false,
    staticRequests: spec.staticRequests ?? 'Allow',
    routes: spec.routes ?? [],
    dns: spec.dns,
    nodeSelector: spec.nodeSelector,
    namespaceSelector: spec.namespaceSelector,
    podSelector: spec.podSelector,
  };
}

function parseCooldown(text: string): number {
  const ms = parseDuration(text);
  if (ms <= parseDuration(MAX_COOLDOWN)) return ms;
  throw new IpamError('InvalidDuration', text, `${quote(text)} is too long; write at most ${MAX_COOLDOWN}`);
}

function gatewayField(text: string | undefined, subnet: Cidr): Address | undefined {
  if (text === undefined) return undefined;
  const gateway = field('spec.gateway', text, parseAddress);
  if (!cidrContains(subnet, gateway)) throw outside('spec.gateway', text, subnet);
  return gateway;
}

function gatewaySet(family: Family, gateway: Address | undefined): RangeSet {
  return RangeSet.of(
    family,
    gateway === undefined ? [] : [{ family, first: gateway.value, last: gateway.value }],
  );
}

function rangesField(path: string, texts: readonly string[], subnet: Cidr): RangeSet {
  const whole = cidrRange(subnet);
  const ranges = texts.map((text, i): Range => {
    const range = field(`${path}[${i}]`, text, parseRange);
    if (range.family !== subnet.family || range.first < whole.first || range.last > whole.last) {
      throw outside(`${path}[${i}]`, text, subnet);
    }
    return range;
  });
  return RangeSet.of(subnet.family, ranges);
}

function checkRoute(path: string, route: PoolRoute, family: Family): void {
  const families: [string, string, Family][] = [
    [`${path}.dst`, route.dst, field(`${path}.dst`, route.dst, parseCidr).family],
  ];
  if (route.gw !== undefined) {
    families.push([`${path}.gw`, route.gw, field(`${path}.gw`, route.gw, parseAddress).family]);
  }
  for (const [where, text, actual] of families) {
    if (actual === family) continue;
    const message = `${where}: ${quote(text)} is IPv${actual}, the subnet IPv${family}; write one of the subnet's family`;
    throw new IpamError('InvalidPool', text, message);
  }
}

/** `parse(text)`, its refusal turned into one that names the field. */
function field<T>(path: string, text: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof IpamError)) throw error;
    throw new IpamError('InvalidPool', text, `${path}: ${error.message}`, error);
  }
}

function outside(path: string, text: string, subnet: Cidr): IpamError {
  const { family, first, last } = cidrRange(subnet);
  const bounds = `${formatAddress({ family, value: first })} to ${formatAddress({ family, value: last })}`;
  const message = `${path}: ${quote(text)} lies outside subnet ${formatCidr(subnet)}; write addresses from ${bounds}`;
  return new IpamError('InvalidPool', text, message);
}
