/**
 * The rules of "How a pod gets its addresses" (docs/cni.md), said once more: plain, slow, and without a line of the
 * product. What one ADD may be answered, as far as it does not depend on who else asks at the same time.
 */
import { COMMON_POOLS, IPS, type Mix, type MixAdd, type MixPool, POOLS, type Selector } from './mix.ts';

/** An address as family and number. */
export interface Ip {
  readonly family: 4 | 6;
  readonly value: bigint;
}

/** An address asked for by value, and the pool that gives it. */
export interface Wanted {
  readonly ip: Ip;
  readonly pool: MixPool;
}

/** A family in which any address will do. */
export interface Choice {
  readonly family: 4 | 6;
  /** In the order in which they are tried. */
  readonly pools: readonly MixPool[];
}

/** Refused whatever else happens, with one of these codes; or what is to be given. */
export type Verdict =
  | { readonly refused: ReadonlySet<number> }
  | {
      readonly wanted: readonly Wanted[];
      readonly choices: readonly Choice[];
      /** In the order of the answer. */
      readonly families: readonly (4 | 6)[];
      /** Under which addresses may be held for the pod. */
      readonly holder: string | undefined;
    };

/** One address without prefix length; undefined if it is none. */
export function parseIp(text: string): Ip | undefined {
  if (!text.includes(':')) {
    const parts = text.split('.');
    const fits = parts.length === 4 && parts.every((p) => /^(0|[1-9]\d{0,2})$/.test(p) && Number(p) < 256);
    return fits ? { family: 4, value: parts.reduce((sum, p) => sum * 256n + BigInt(p), 0n) } : undefined;
  }
  const halves = text.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const groups = halves.flat();
  if (halves.length > 2 || groups.some((g) => !/^[0-9a-fA-F]{1,4}$/.test(g))) return undefined;
  if (halves.length === 1 ? groups.length !== 8 : groups.length > 7) return undefined;
  const zeros = Array<string>(8 - groups.length).fill('0');
  const all = [...(halves[0] ?? []), ...zeros, ...(halves[1] ?? [])];
  return { family: 6, value: all.reduce((sum, g) => sum * 65536n + BigInt(`0x${g}`), 0n) };
}

function bits(family: 4 | 6): number {
  return family === 4 ? 32 : 128;
}

/** First and last address of "a", "a/n" or "a-b" as a pool has them. */
function span(text: string): { family: 4 | 6; first: bigint; last: bigint } {
  const [from = '', to] = text.split('-');
  const [address = '', length] = from.split('/');
  const ip = parseIp(address);
  const end = to === undefined ? ip : parseIp(to);
  if (ip === undefined || end === undefined) throw new Error(`the generator wrote ${text}`);
  const last =
    length === undefined ? end.value : ip.value + 2n ** BigInt(bits(ip.family) - Number(length)) - 1n;
  return { family: ip.family, first: ip.value, last };
}

export function prefixOf(pool: MixPool): number {
  return Number(pool.spec.subnet.split('/')[1]);
}

export function familyOf(pool: MixPool): 4 | 6 {
  return span(pool.spec.subnet).family;
}

function within(ip: Ip, texts: readonly string[]): boolean {
  return texts.some((text) => {
    const { family, first, last } = span(text);
    return family === ip.family && first <= ip.value && ip.value <= last;
  });
}

/** Inside the subnet, and none of its addresses that nobody gets. */
export function isGivable(pool: MixPool, ip: Ip): boolean {
  const { spec } = pool;
  const { family, first, last } = span(spec.subnet);
  if (!within(ip, [spec.subnet])) return false;
  if (bits(family) - prefixOf(pool) >= 2) {
    if (ip.value === first || (family === 4 && ip.value === last)) return false;
  }
  return !within(ip, spec.gateway === undefined ? [] : [spec.gateway]) && !within(ip, spec.excludes ?? []);
}

/** What the pool gives to those that ask for no particular address. */
export function isDynamic(pool: MixPool, ip: Ip): boolean {
  return isGivable(pool, ip) && within(ip, pool.spec.ranges ?? [pool.spec.subnet]);
}

/** More addresses than a mix can take: nobody counts them. */
export function isEndless({ spec }: MixPool): boolean {
  const { family } = span(spec.subnet);
  return spec.ranges === undefined && bits(family) - Number(spec.subnet.split('/')[1]) > 12;
}

/** Every address that the pool gives dynamically. */
export function dynamicOf(pool: MixPool): Ip[] {
  const values = new Set<bigint>();
  for (const text of pool.spec.ranges ?? [pool.spec.subnet]) {
    const { first, last } = span(text);
    for (let value = first; value <= last; value += 1n) values.add(value);
  }
  const family = familyOf(pool);
  return [...values].map((value) => ({ family, value })).filter((ip) => isDynamic(pool, ip));
}

/** Mistakes that keep the operator from saying Ready. */
export function isOfUse(pool: MixPool): boolean {
  const { spec } = pool;
  const { family, first, last } = span(spec.subnet);
  if (spec.gateway !== undefined && bits(family) - prefixOf(pool) >= 2) {
    const gateway = parseIp(spec.gateway)?.value;
    if (gateway === first || (gateway === last && family === 4)) return false;
  }
  const offLink = (spec.routes ?? []).some(
    ({ gw }) =>
      gw !== undefined && !gw.startsWith('fe80:') && !within(parseIp(gw) ?? never(gw), [spec.subnet]),
  );
  if (offLink) return false;
  const { ranges, ...rest } = spec;
  const open: MixPool = ranges?.length === 0 ? { ...pool, spec: rest } : pool;
  return isEndless(open)
    ? !within({ family, value: first + 1n }, spec.excludes ?? [])
    : dynamicOf(open).length > 0;
}

function never(text: string): never {
  throw new Error(`the generator wrote ${text}`);
}

function selects(selector: Selector | undefined, labels: Record<string, string> | undefined): boolean {
  const exact = Object.entries(selector?.matchLabels ?? {});
  const expressions = selector?.matchExpressions ?? [];
  if (exact.length + expressions.length === 0) return true;
  if (labels === undefined) return false;
  return (
    exact.every(([key, value]) => labels[key] === value) &&
    expressions.every(({ key, operator, values = [] }) => {
      const value = labels[key];
      if (operator === 'Exists') return value !== undefined;
      if (operator === 'DoesNotExist') return value === undefined;
      const listed = value !== undefined && values.includes(value);
      return operator === 'In' ? listed : !listed;
    })
  );
}

/** Whether the pool may serve this ADD at all. */
function admits(mix: Mix, pool: MixPool, add: MixAdd): boolean {
  const { spec } = pool;
  const { pod } = add;
  const namespace = mix.namespaces.find((n) => n.name === pod?.namespace);
  return (
    (add.network === undefined || spec.network === add.network) &&
    spec.disabled !== true &&
    !pool.deleting &&
    isOfUse(pool) &&
    selects(spec.nodeSelector, { 'kubernetes.io/hostname': add.node }) &&
    selects(spec.namespaceSelector, namespace?.labels) &&
    selects(spec.podSelector, pod?.labels)
  );
}

/** "a, b" */
function commaList(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** What an annotation says for this interface; 'malformed' if it says it wrongly. */
function annotated(text: string | undefined, add: MixAdd): string[] | 'malformed' {
  const value = (text ?? '').trim();
  if (value === '') return [];
  if (!/^[[{"]/.test(value)) return commaList(value);
  let json: unknown;
  try {
    json = JSON.parse(value);
  } catch {
    return 'malformed';
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return 'malformed';
  const entries = new Map<string, string[]>();
  for (const [key, item] of Object.entries(json)) {
    const list: unknown[] = Array.isArray(item) ? item : [item];
    if (list.some((each) => typeof each !== 'string')) return 'malformed';
    entries.set(key, list.map(String).flatMap(commaList));
  }
  // Empty is absent.
  const own = [entries.get(add.ifname), entries.get(add.cniNetwork)].find((list) => (list ?? []).length > 0);
  return own ?? [];
}

interface Asked {
  readonly ip: Ip;
  readonly prefixes: Set<number>;
}

/** The addresses of all four channels, each once; 'malformed' if one is no address. */
function asked(texts: readonly string[]): Asked[] | 'malformed' {
  const all: Asked[] = [];
  for (const text of texts) {
    const [address = '', length, more] = text.trim().split('/');
    const ip = parseIp(address);
    if (ip === undefined || more !== undefined) return 'malformed';
    if (length !== undefined && !(/^(0|[1-9]\d{0,2})$/.test(length) && Number(length) <= bits(ip.family))) {
      return 'malformed';
    }
    const seen = all.find((a) => a.ip.family === ip.family && a.ip.value === ip.value);
    const one = seen ?? { ip, prefixes: new Set() };
    if (seen === undefined) all.push(one);
    if (length !== undefined) one.prefixes.add(Number(length));
  }
  return all;
}

function byName(a: MixPool, b: MixPool): number {
  return a.name < b.name ? -1 : 1;
}

function unique<T>(items: readonly T[]): T[] {
  return [...new Set(items)];
}

/** The pools that are named, or the defaults, by family; and what is wrong with them. */
function chosen(
  mix: Mix,
  add: MixAdd,
  names: readonly string[],
): { choices: Choice[]; failures: number[]; candidates: MixPool[] } {
  const pools = [...mix.pools, ...COMMON_POOLS];
  const network = add.network ?? 'default';
  const group = (members: readonly MixPool[]): Choice[] =>
    unique(members.map(familyOf)).map((family) => ({
      family,
      pools: members.filter((pool) => familyOf(pool) === family && admits(mix, pool, add)),
    }));
  if (names.length > 0) {
    const named = unique(names).flatMap((name) => pools.find((pool) => pool.name === name) ?? []);
    const choices = group(named);
    const failures = [
      ...(named.length < unique(names).length ? [105] : []),
      ...(choices.some((choice) => choice.pools.length === 0) ? [104] : []),
    ];
    return { choices, failures, candidates: named.filter((pool) => admits(mix, pool, add)) };
  }
  const open = pools
    .filter((pool) => pool.spec.network === network && admits(mix, pool, add))
    .toSorted(byName);
  const choices = group(open.filter((pool) => pool.spec.default === true)).toSorted(
    (a, b) => a.family - b.family,
  );
  return { choices, failures: choices.length === 0 ? [105] : [], candidates: open };
}

/** The sources of pools, the strongest first; 'malformed' if an annotation is. */
function sources(mix: Mix, add: MixAdd): string[][] | 'malformed' {
  const namespace = mix.namespaces.find((n) => n.name === add.pod?.namespace);
  const ofPod = annotated(add.pod?.annotations[POOLS], add);
  const ofNamespace = annotated(namespace?.annotations[POOLS], add);
  if (ofPod === 'malformed' || ofNamespace === 'malformed') return 'malformed';
  const ofArgs = typeof add.argPools === 'string' ? commaList(add.argPools) : (add.argPools ?? []);
  return [ofArgs, ofPod, ofNamespace, add.pools ?? []];
}

/** What the rules say of this ADD. */
export function judge(mix: Mix, add: MixAdd): Verdict {
  // Nothing can be said of a pod that the API does not know.
  if (add.pod !== undefined && add.uid === 'wrong') return { refused: new Set([11]) };
  const all = sources(mix, add);
  const ips = annotated(add.pod?.annotations[IPS], add);
  if (all === 'malformed' || ips === 'malformed') return { refused: new Set([7]) };
  const channels = [ips, add.runtimeIps ?? [], add.argIps ?? [], add.cniArgsIp ?? []];
  const wishes = asked(channels.flat());
  if (wishes === 'malformed') return { refused: new Set([7]) };
  return decide(mix, add, all.find((source) => source.length > 0) ?? [], wishes);
}

/** The answer, from the pools that are named and the addresses that are asked for. */
function decide(mix: Mix, add: MixAdd, names: readonly string[], wishes: readonly Asked[]): Verdict {
  const { choices, failures, candidates } = chosen(mix, add, names);
  // Without a name and without a default, what is asked for by value is all there is to give.
  const hard = names.length === 0 && wishes.length > 0 ? failures.filter((code) => code !== 105) : failures;

  const wanted: Wanted[] = [];
  for (const { ip, prefixes } of wishes) {
    const pool = candidates.find(
      (each) =>
        each.spec.staticRequests !== 'Deny' &&
        isGivable(each, ip) &&
        [...prefixes].every((prefix) => prefix === prefixOf(each)),
    );
    if (pool === undefined) hard.push(103);
    else wanted.push({ ip, pool });
  }
  const open = choices.filter((choice) => !wishes.some((wish) => wish.ip.family === choice.family));
  const given = [...wishes.map((wish) => wish.ip.family), ...open.map((choice) => choice.family)];
  const tooOld = ['0.1.0', '0.2.0'].includes(add.cniVersion) && unique(given).length < given.length;
  const first = [105, 104, 103].find((code) => hard.includes(code));
  // 7 has no place in the order of precedence.
  const codes = [...(first === undefined ? [] : [first]), ...(tooOld ? [7] : [])];
  if (codes.length > 0) return { refused: new Set(codes) };
  const families = unique<4 | 6>([...(names.length > 0 ? choices.map((choice) => choice.family) : []), 4, 6]);
  return {
    wanted,
    choices: open,
    families,
    holder: add.pod === undefined ? undefined : `Pod/${add.pod.namespace}/${add.pod.name}`,
  };
}
