/** Mixes from a seed. Small subnets, so that addresses are fought over; names of the mix's own, so that mixes are not. */
import fc from 'fast-check';
import {
  IPS,
  type Mix,
  type MixAdd,
  type MixNamespace,
  type MixPod,
  type MixPool,
  type MixReservation,
  NODES,
  POOLS,
  type PoolSpec,
  type Selector,
} from './mix.ts';

/** A subnet's text, and its addresses by number. */
interface Subnet {
  readonly text: string;
  readonly bits: number;
  readonly base: string;
}

const SUBNETS: readonly Subnet[] = [
  // The first two overlap.
  { base: '10.1.0.', text: '10.1.0.0/29', bits: 3 },
  { base: '10.1.0.', text: '10.1.0.0/28', bits: 4 },
  { base: '10.2.0.', text: '10.2.0.0/30', bits: 2 },
  { base: '10.3.0.', text: '10.3.0.0/31', bits: 1 },
  { base: '10.4.0.', text: '10.4.0.0/32', bits: 0 },
  { base: '10.5.0.', text: '10.5.0.0/24', bits: 8 },
  { base: 'fd00:1::', text: 'fd00:1::/125', bits: 3 },
  { base: 'fd00:2::', text: 'fd00:2::/126', bits: 2 },
  { base: 'fd00:3::', text: 'fd00:3::/127', bits: 1 },
  { base: 'fd00:4::', text: 'fd00:4::/128', bits: 0 },
  { base: 'fd00:5::', text: 'fd00:5::/64', bits: 64 },
];

const size = ({ bits }: Subnet): number => 2 ** Math.min(bits, 8);
const isV6 = ({ base }: Subnet): boolean => base.includes(':');

function addressAt(subnet: Subnet, index: number): string {
  const last = isV6(subnet) ? index.toString(16) : String(index);
  // "fd00:1::0" is not how it is written.
  return isV6(subnet) && index === 0 ? subnet.base : `${subnet.base}${last}`;
}

const INVALID_IPS = [
  '10.1.0.256',
  '010.1.0.1',
  '10.1.0.1/33',
  'fe80::1%eth0',
  'web',
  '10.1.0.1/',
  '::ffff:10.1.0.1',
];
const MALFORMED = ['{"net1": 3}', '["a"]', '{', '"a"', '{"net1": [1]}', '{"net1": {"a": "b"}}'];
const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0', '1.1.0', '1.1.0', '1.1.0'];

/** Draws from the seed. */
class Die {
  readonly #below: (limit: number) => number;

  constructor(below: (limit: number) => number) {
    this.#below = below;
  }

  /** 0 to limit - 1. */
  below(limit: number): number {
    return this.#below(limit);
  }

  percent(chance: number): boolean {
    return this.#below(100) < chance;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.#below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  /** The value, or undefined: to be spread. */
  maybe<K extends string, V>(chance: number, name: K, value: () => V): Partial<Record<K, V>> {
    // A computed key loses its type.
    return this.percent(chance) ? ({ [name]: value() } as Partial<Record<K, V>>) : {};
  }

  shuffled<T>(items: readonly T[]): T[] {
    const rest = [...items];
    return items.map(() => rest.splice(this.#below(rest.length), 1)).flat();
  }

  some<T>(items: readonly T[], most: number): T[] {
    return this.shuffled(items).slice(0, 1 + this.#below(most));
  }
}

/** Mix number `index` of a seed: the same whenever it is asked for. */
export function generateMix(seed: number, index: number): Mix {
  const below = (limit: number): fc.Arbitrary<number> => fc.noBias(fc.nat({ max: limit - 1 }));
  const arbitrary = fc.gen().map((draw) => build(`m${index}`, new Die((limit) => draw(below, limit))));
  // Far apart, so that neighbouring seeds share no mix.
  const [mix] = fc.sample(arbitrary, { seed: (Math.imul(seed, 1_000_003) + index) | 0, numRuns: 1 });
  if (mix === undefined) throw new Error('fast-check gave no sample');
  return mix;
}

/** A pool and where its addresses lie. */
interface Place {
  readonly pool: MixPool;
  readonly subnet: Subnet;
}

function build(id: string, die: Die): Mix {
  const networks = die.percent(80) ? [`${id}-red`] : [`${id}-red`, `${id}-blue`];
  const places = Array.from({ length: 1 + die.below(5) }, (_, i) => place(die, id, i, die.pick(networks)));
  const namespaces = Array.from({ length: 1 + die.below(2) }, (_, i) => namespace(die, id, i, places));
  const pods = Array.from({ length: 1 + die.below(3) }, (_, i) => pod(die, i, die.pick(namespaces), places));
  const reservations = reserve(die, id, places, pods);
  const adds = pods.flatMap((each) => {
    const ifnames = die.percent(30) ? ['net1', 'eth0'] : ['net1'];
    return ifnames.map((ifname) => ({
      ...add(die, each, places, networks),
      container: `${id}-${each.name}`,
      ifname,
    }));
  });
  return { id, pools: places.map((each) => each.pool), namespaces, pods, reservations, adds };
}

function place(die: Die, id: string, index: number, network: string): Place {
  const subnet = die.pick(SUBNETS);
  const deleting = die.percent(4) && subnet.bits >= 2;
  const spec: PoolSpec = {
    network,
    subnet: subnet.text,
    cooldown: die.pick(['0s', '1h']),
    ...addressing(die, subnet),
    ...die.maybe(25, 'routes', () => routes(die, subnet)),
    ...die.maybe(25, 'dns', () => dns(die)),
    ...die.maybe(10, 'nodeSelector', () => selector(die, 'kubernetes.io/hostname', NODES)),
    ...die.maybe(12, 'namespaceSelector', () => selector(die, 'team', ['a', 'b'])),
    ...die.maybe(12, 'podSelector', () => selector(die, 'app', ['web', 'db'])),
    ...die.maybe(50, 'default', () => die.percent(80)),
    ...die.maybe(10, 'disabled', () => die.percent(70)),
    ...die.maybe(20, 'staticRequests', () => die.pick(['Deny', 'Allow'] as const)),
    ...die.maybe(40, 'allocation', () => die.pick(['Ascending', 'Random'] as const)),
  };
  return { subnet, pool: { name: `${id}-${'abcdef'[index]}`, spec, deleting } };
}

function addressing(die: Die, subnet: Subnet): Pick<PoolSpec, 'gateway' | 'ranges' | 'excludes'> {
  const at = (index: number): string => addressAt(subnet, index);
  const range = (): string => {
    const first = die.below(size(subnet));
    const last = first + die.below(Math.min(4, size(subnet) - first));
    return first === last ? at(first) : `${at(first)}-${at(last)}`;
  };
  return {
    // Now and then the network or the broadcast address, which is a mistake.
    ...die.maybe(40, 'gateway', () =>
      at(die.percent(85) ? Math.min(1, size(subnet) - 1) : die.pick([0, size(subnet) - 1])),
    ),
    ...die.maybe(30, 'ranges', () =>
      die.percent(25) ? [] : Array.from({ length: 1 + die.below(2) }, range),
    ),
    ...die.maybe(25, 'excludes', () => (die.percent(10) ? [subnet.text] : [range()])),
  };
}

function routes(die: Die, subnet: Subnet): NonNullable<PoolSpec['routes']> {
  const far = isV6(subnet) ? ['::/0', 'fd99::/32'] : ['0.0.0.0/0', '172.16.0.0/12'];
  return die.some(far, 2).map((dst) => ({
    dst,
    // Now and then one that is not on the link, which is a mistake.
    ...die.maybe(50, 'gw', () =>
      die.percent(90) ? addressAt(subnet, 0) : isV6(subnet) ? 'fd77::1' : '10.99.0.1',
    ),
    ...die.maybe(30, 'mtu', () => 1400),
    ...die.maybe(30, 'priority', () => 100 + die.below(2)),
  }));
}

function dns(die: Die): NonNullable<PoolSpec['dns']> {
  return {
    ...die.maybe(70, 'nameservers', () => die.some(['10.0.0.2', '10.0.0.3', 'fd00::2'], 2)),
    ...die.maybe(50, 'domain', () => die.pick(['one.example', 'two.example'])),
    ...die.maybe(50, 'search', () => die.some(['a.example', 'b.example'], 2)),
    ...die.maybe(30, 'options', () => ['ndots:2']),
  };
}

function selector(die: Die, key: string, values: readonly string[]): Selector {
  const form = die.below(5);
  if (form === 0) return { matchLabels: { [key]: die.pick(values) } };
  if (form === 1) return { matchExpressions: [{ key, operator: 'In', values: die.some(values, 2) }] };
  if (form === 2) return { matchExpressions: [{ key, operator: 'NotIn', values: [die.pick(values)] }] };
  if (form === 3) return { matchExpressions: [{ key, operator: 'Exists' }] };
  return {};
}

/** Names of pools as a user might write them, now and then of one that does not exist. */
function names(die: Die, places: readonly Place[]): string[] {
  const own = die.some(
    places.map((each) => each.pool.name),
    3,
  );
  return die.percent(6) ? die.shuffled([...own, 'm-missing']) : own;
}

/** An annotation in one of its forms. */
function annotation(die: Die, list: readonly string[]): string {
  if (die.percent(45)) return list.join(die.pick([',', ', ']));
  const value = die.percent(30) ? list.join(',') : [...list];
  const key = die.pick(['net1', 'net1', 'eth0', 'fabric', 'elsewhere']);
  const more = die.percent(30)
    ? { [die.pick(['net1', 'eth0', 'storage'])]: die.percent(50) ? list[0] : '' }
    : {};
  return JSON.stringify({ ...more, [key]: value });
}

function namespace(die: Die, id: string, index: number, places: readonly Place[]): MixNamespace {
  const annotations = die.maybe(25, POOLS, () =>
    die.percent(4) ? die.pick(MALFORMED) : annotation(die, names(die, places)),
  );
  return {
    name: `${id}-ns${index}`,
    labels: die.maybe(70, 'team', () => die.pick(['a', 'b'])),
    annotations,
  };
}

function pod(die: Die, index: number, { name }: MixNamespace, places: readonly Place[]): MixPod {
  return {
    namespace: name,
    name: `pod-${index}`,
    node: die.pick(NODES),
    labels: die.maybe(70, 'app', () => die.pick(['web', 'db'])),
    annotations: {
      ...die.maybe(40, POOLS, () =>
        die.percent(4) ? die.pick(MALFORMED) : die.percent(5) ? ' ' : annotation(die, names(die, places)),
      ),
      ...die.maybe(25, IPS, () =>
        die.percent(4) ? die.pick(MALFORMED) : annotation(die, wishes(die, places)),
      ),
    },
  };
}

/** One to three addresses, mostly such as the pools have, with and without a prefix length. */
function wishes(die: Die, places: readonly Place[]): string[] {
  return Array.from({ length: die.percent(70) ? 1 : 1 + die.below(3) }, () => {
    if (die.percent(2)) return die.pick(INVALID_IPS);
    const { subnet, pool } = die.pick(places);
    const { gateway } = pool.spec;
    const isGateway = gateway !== undefined && die.percent(6);
    // Mostly one that can be given, now and then the first, the last, or one beyond.
    const inner = size(subnet) >= 4 && die.percent(75);
    const at = inner
      ? 2 + die.below(Math.min(size(subnet), 10) - 3)
      : die.below(Math.min(size(subnet), 10) + (die.percent(10) ? 1 : 0));
    const address = isGateway ? gateway : addressAt(subnet, at);
    const length = Number(subnet.text.split('/')[1]);
    if (die.percent(45)) return address;
    return `${address}/${die.percent(90) ? length : Math.max(0, length - 1)}`;
  });
}

function reserve(die: Die, id: string, places: readonly Place[], pods: readonly MixPod[]): MixReservation[] {
  const made = new Map<string, MixReservation>();
  const put = (row: MixReservation): void => {
    const name = `${row.network} ${row.address}`;
    if (!made.has(name)) made.set(name, row);
  };
  for (const { pool, subnet } of places.filter((each) => each.pool.deleting)) {
    // It keeps the pool from vanishing.
    put({ network: pool.spec.network, address: addressAt(subnet, 2), pool: pool.name, state: 'Held' });
  }
  for (let i = die.below(6); i > 0; i -= 1) {
    const { pool, subnet } = die.pick(places);
    // Now and then an address that is not the pool's: accepted, reported, and of no use to anybody.
    const of = die.percent(7) ? die.pick(SUBNETS) : subnet;
    const address = addressAt(of, die.below(Math.min(size(of), 8)));
    const row = { network: pool.spec.network, address, pool: pool.name };
    const holder = die.pick(pods);
    const attachment = `${id}-earlier-${i}/net1`;
    const kind = die.below(6);
    if (kind === 0) put({ ...row, state: 'Bound', attachment });
    else if (kind === 1) put({ ...row, state: 'Held' });
    else if (kind === 2) put({ ...row, state: 'Held', holder: `Pod/${holder.namespace}/somebody-else` });
    else if (kind === 3 && pool.spec.cooldown === '1h') put({ ...row, state: 'Released', attachment });
    else put({ ...row, state: 'Held', holder: `Pod/${holder.namespace}/${holder.name}` });
  }
  return [...made.values()];
}

function add(
  die: Die,
  of: MixPod,
  places: readonly Place[],
  networks: readonly string[],
): Omit<MixAdd, 'container' | 'ifname'> {
  const form = die.below(100);
  const channels = die.percent(30) ? wishes(die, places) : [];
  // Who asks by value mostly names the pools that may have it.
  const all = channels.length > 0 && die.percent(60);
  const channel = (chance: number): string[] | undefined => {
    const own = channels.filter(() => die.percent(chance));
    return own.length === 0 ? undefined : own;
  };
  return {
    node: of.node,
    ...(form >= 4 && { pod: of }),
    uid: form < 92 ? 'right' : form < 97 ? 'absent' : 'wrong',
    cniVersion: die.pick(VERSIONS),
    cniNetwork: die.pick(['fabric', 'storage']),
    network: !all && die.percent(65) ? die.pick(networks) : undefined,
    pools: all
      ? die.shuffled(places.map((each) => each.pool.name))
      : die.percent(50)
        ? names(die, places)
        : die.percent(5)
          ? []
          : undefined,
    argPools:
      !all && die.percent(15)
        ? die.percent(50)
          ? names(die, places).join(', ')
          : names(die, places)
        : undefined,
    runtimeIps: channel(50),
    argIps: channel(40),
    cniArgsIp: channel(50),
  };
}
