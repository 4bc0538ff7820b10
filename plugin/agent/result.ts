/** The IPAM result of a CNI plugin, in the shape that the configuration's cniVersion asks for. */
import { ErrorCode } from '../protocol.ts';
import { CniError } from './errors.ts';

/** A route as an IPPool has it (CNI spec 1.1.0, "routes"). */
export interface ResultRoute {
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
}

export interface ResultDns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** What an ADD gave, whatever the version it is reported in. */
export interface NeutralResult {
  readonly ips: readonly { readonly family: 4 | 6; readonly address: string; readonly gateway?: string }[];
  readonly routes: readonly ResultRoute[];
  readonly dns: ResultDns;
}

/** Routes of several pools one after the other, without doubles. */
export function mergeRoutes(lists: readonly (readonly ResultRoute[])[]): ResultRoute[] {
  const seen = new Map<string, ResultRoute>();
  for (const route of lists.flat()) {
    const { dst, gw, mtu, advmss, priority, table, scope } = route;
    seen.set(JSON.stringify([dst, gw, mtu, advmss, priority, table, scope]), route);
  }
  return [...seen.values()];
}

/** DNS settings of several pools: lists one after the other without doubles, the first domain. */
export function mergeDns(all: readonly ResultDns[]): ResultDns {
  const join = (pick: (dns: ResultDns) => readonly string[] | undefined): string[] => [
    ...new Set(all.flatMap((dns) => pick(dns) ?? [])),
  ];
  const domain = all.find((dns) => dns.domain !== undefined && dns.domain !== '')?.domain;
  const nameservers = join((d) => d.nameservers);
  const search = join((d) => d.search);
  const options = join((d) => d.options);
  return {
    ...(nameservers.length > 0 && { nameservers }),
    ...(domain !== undefined && { domain }),
    ...(search.length > 0 && { search }),
    ...(options.length > 0 && { options }),
  };
}

/** Routes as versions before 1.1.0 know them; those that differed only in what is left out become one. */
function shortRoutes(routes: readonly ResultRoute[]): ResultRoute[] {
  return mergeRoutes([routes.map(({ dst, gw }) => ({ dst, ...(gw !== undefined && { gw }) }))]);
}

function oldFamily(result: NeutralResult, family: 4 | 6): Record<string, unknown> | undefined {
  const own = result.ips.filter((ip) => ip.family === family);
  const ip = own[0];
  if (ip === undefined) {
    return undefined;
  }
  const routes = shortRoutes(result.routes.filter((route) => route.dst.includes(':') === (family === 6)));
  return {
    ip: ip.address,
    ...(ip.gateway !== undefined && { gateway: ip.gateway }),
    ...(routes.length > 0 && { routes }),
  };
}

/**
 * Whether this version has room for the result.
 * @throws CniError 7 for two addresses of one family below 0.3.0, which has one field for each.
 */
export function assertRepresentable(cniVersion: string, families: readonly (4 | 6)[]): void {
  const old = cniVersion === '0.1.0' || cniVersion === '0.2.0';
  if (old && new Set(families).size < families.length) {
    throw new CniError(
      ErrorCode.invalidConfig,
      `cniVersion ${cniVersion} has room for one address of each family`,
      'use cniVersion 0.3.0 or later for several addresses of one family',
    );
  }
}

/**
 * The abbreviated result of an IPAM plugin (CNI spec, "Delegated plugins (IPAM)"): no `interfaces`.
 * @throws CniError 7 as `assertRepresentable`
 */
export function formatResult(result: NeutralResult, cniVersion: string): Record<string, unknown> {
  assertRepresentable(
    cniVersion,
    result.ips.map((ip) => ip.family),
  );
  if (cniVersion === '0.1.0' || cniVersion === '0.2.0') {
    const ip4 = oldFamily(result, 4);
    const ip6 = oldFamily(result, 6);
    return {
      cniVersion,
      ...(ip4 !== undefined && { ip4 }),
      ...(ip6 !== undefined && { ip6 }),
      dns: result.dns,
    };
  }
  const withVersion = cniVersion.startsWith('0.');
  return {
    cniVersion,
    ips: result.ips.map(({ family, address, gateway }) => ({
      ...(withVersion && { version: String(family) }),
      address,
      ...(gateway !== undefined && { gateway }),
    })),
    routes: cniVersion === '1.1.0' ? result.routes : shortRoutes(result.routes),
    dns: result.dns,
  };
}
