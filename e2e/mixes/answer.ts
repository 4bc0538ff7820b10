/** Reading what an ADD answered: the result of any version as addresses, routes and DNS settings. */
import type { MixAdd, MixAnswer, MixPool } from './mix.ts';
import { attachmentOf, type MixReservation } from './mix.ts';
import { type Ip, parseIp } from './model.ts';

/** @throws Error if it is none */
export function ipOf(text: string): Ip {
  const ip = parseIp(text);
  if (ip === undefined) throw new Error(`${text} is no address`);
  return ip;
}

/** Names an address of a network. */
export function key(network: string, { family, value }: Ip): string {
  return `${network} ${family} ${value}`;
}

export function same(a: Ip, b: Ip): boolean {
  return a.family === b.family && a.value === b.value;
}

export interface Given {
  readonly ip: Ip;
  readonly prefix: number;
  readonly gateway: string | undefined;
}

function given(address: unknown, gateway: unknown): Given | undefined {
  if (typeof address !== 'string' || (gateway !== undefined && typeof gateway !== 'string')) return undefined;
  const [text = '', prefix] = address.split('/');
  const ip = parseIp(text);
  return ip === undefined || prefix === undefined ? undefined : { ip, prefix: Number(prefix), gateway };
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

/** The addresses of a result, in its order (below 0.3.0 IPv4 is the first); undefined if it is none. */
export function addressesOf(add: MixAdd, { output }: MixAnswer): Given[] | undefined {
  if (output['cniVersion'] !== add.cniVersion || 'interfaces' in output) return undefined;
  const old = add.cniVersion === '0.1.0' || add.cniVersion === '0.2.0';
  if (old && 'ips' in output) return undefined;
  const entries: unknown[] = old
    ? [output['ip4'], output['ip6']].filter((each) => each !== undefined)
    : Array.isArray(output['ips'])
      ? output['ips']
      : [];
  const all = entries.map((entry) => {
    const { address, ip, gateway } = record(entry);
    return given(old ? ip : address, gateway);
  });
  return all.includes(undefined) ? undefined : all.flatMap((each) => each ?? []);
}

export function routesOf({ output }: MixAnswer): unknown[] {
  const lists = 'ips' in output ? [output] : [record(output['ip4']), record(output['ip6'])];
  return lists.flatMap(({ routes }) => (Array.isArray(routes) ? (routes as unknown[]) : []));
}

export function distinct<T>(items: readonly T[]): T[] {
  const seen = new Map(items.map((item) => [canonical(item), item]));
  return [...seen.values()];
}

/** Lists one after the other (a second mention of the same says nothing new), and the first domain. */
export function dnsOf(pools: readonly MixPool[]): Record<string, unknown> {
  const lists = (['nameservers', 'search', 'options'] as const).map(
    (name) => [name, distinct(pools.flatMap((pool) => pool.spec.dns?.[name] ?? []))] as const,
  );
  const domain = pools.map((pool) => pool.spec.dns?.domain).find((each) => (each ?? '') !== '');
  return {
    ...Object.fromEntries(lists.filter(([, list]) => list.length > 0)),
    ...(domain !== undefined && { domain }),
  };
}

/** Text that does not depend on the order of keys. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

/** Addresses that more than one answer gave, over all mixes. */
export function givenTwice(
  rounds: Iterable<{ add: MixAdd; answer: MixAnswer; after: readonly MixReservation[] }>,
): string[] {
  const owners = new Map<string, string>();
  const twice: string[] = [];
  for (const { add, answer, after } of rounds) {
    const who = attachmentOf(add);
    for (const { ip } of answer.code === 0 ? (addressesOf(add, answer) ?? []) : []) {
      const networks = after.filter(
        (row) => row.attachment === attachmentOf(add) && same(ipOf(row.address), ip),
      );
      if (networks.length !== 1) twice.push(`${ip.value} of ${who} has ${networks.length} reservations`);
      for (const { network } of networks) {
        const earlier = owners.get(key(network, ip));
        if (earlier !== undefined && earlier !== who)
          twice.push(`${ip.value} in ${network}: ${earlier}, ${who}`);
        owners.set(key(network, ip), who);
      }
    }
  }
  return twice;
}
