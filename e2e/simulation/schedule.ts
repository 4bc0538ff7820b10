/**
 * A schedule: everything that happens to a cluster, made from a seed. Steps are independent of each other and of how
 * things went before: one that has nothing to do does nothing. So steps can be dropped, and the rest means the same.
 */
import { SeededRandom } from '../../plugin/agent/testing/random.ts';
import { EFFECTS, type Effect } from './link.ts';
import type { Errand } from './podworker.ts';
import type { Habits } from './runtime.ts';

export const NODES: readonly string[] = ['node-1', 'node-2', 'node-3'];
export const PODS: readonly string[] = ['a', 'b', 'c', 'd', 'e', 'f'];
export const POOLS: readonly string[] = ['v4', 'v6'];

/** Which watches stand still: those of one resource, or all. */
export type Stalled = 'all' | 'pods' | 'ipreservations' | 'ippools' | 'nodes';

/** Where a fault strikes. */
export type Place = 'node-1' | 'node-2' | 'node-3' | 'operator';

export type Action =
  | { readonly do: 'create'; readonly pod: string; readonly node: string; readonly isStatic: boolean }
  /** `graceful`: its node ends it first. `force`: the object is gone at once. */
  | { readonly do: 'delete'; readonly pod: string; readonly how: 'graceful' | 'force' }
  /** Gone, and there again under its name in the same moment. */
  | { readonly do: 'replace'; readonly pod: string; readonly node: string }
  | { readonly do: 'finish'; readonly pod: string; readonly phase: 'Succeeded' | 'Failed' }
  /** A static pod's mirror is deleted; the kubelet makes it again. */
  | { readonly do: 'deleteMirror'; readonly pod: string; readonly backMs: number }
  | { readonly do: 'errand'; readonly pod: string; readonly errand: Errand }
  /** A reservation that no journal remembers, of an earlier sandbox of the pod. */
  | { readonly do: 'leftover'; readonly pod: string }
  | { readonly do: 'gc'; readonly node: string }
  | { readonly do: 'restartRuntime'; readonly node: string }
  | { readonly do: 'killAgent'; readonly node: string; readonly effects: number; readonly backMs: number }
  | { readonly do: 'stopAgent'; readonly node: string; readonly backMs: number }
  | { readonly do: 'losePower'; readonly node: string; readonly bytes: number; readonly backMs: number }
  | {
      readonly do: 'deleteNode';
      readonly node: string;
      readonly machine: 'same' | 'new';
      readonly backMs: number;
    }
  | { readonly do: 'taintNode'; readonly node: string; readonly forMs: number }
  | { readonly do: 'killOperator'; readonly effects: number; readonly backMs: number }
  /** Two of them lead. */
  | { readonly do: 'secondOperator'; readonly forMs: number }
  /** Stopped for so long that another one leads; woken it goes on, and for a while both do. */
  | { readonly do: 'pauseOperator'; readonly forMs: number; readonly bothMs: number }
  | { readonly do: 'fault'; readonly at: Place; readonly effect: Effect; readonly skip: number }
  | { readonly do: 'storm'; readonly at: Place; readonly forMs: number; readonly rate: number }
  | { readonly do: 'partition'; readonly at: Place; readonly forMs: number }
  | { readonly do: 'outage'; readonly forMs: number }
  | { readonly do: 'stall'; readonly at: Place; readonly of: Stalled; readonly forMs: number }
  /** Watches break, and where they were is too old: the present state is listed, and what lies between is never seen. */
  | { readonly do: 'expire'; readonly at: Place }
  /** The API server is put back to an older state; `silent`: it does not let its watches know. */
  | {
      readonly do: 'restore';
      readonly agoMs: number;
      readonly isBumped: boolean;
      readonly watches: 'break' | 'silent';
      readonly downMs: number;
    }
  /** Lists and watches come from a replica that is behind; live reads do not. */
  | { readonly do: 'stale'; readonly at: Place; readonly backMs: number; readonly forMs: number }
  | { readonly do: 'clockJump'; readonly at: Place; readonly byMs: number }
  | { readonly do: 'resizePool'; readonly pool: string; readonly last: number }
  | { readonly do: 'deletePool'; readonly pool: string; readonly backMs: number };

export type Step = Action & {
  /** Milliseconds that pass before it. */
  readonly after: number;
};

export interface Setup {
  readonly nodes: readonly string[];
  readonly pools: readonly string[];
  /** The last byte of the last address of the ranges, which begin with 2. */
  readonly last: number;
  readonly cooldown: string;
  readonly allocation: 'Random' | 'Ascending';
  readonly latencyMs: number;
  readonly compactFrom: number;
  readonly habits: Habits;
  /** A person keeps an address for pod a. */
  readonly isHeld: boolean;
  /** A person keeps an address for something outside the cluster. */
  readonly isExternal: boolean;
  /** A person binds an address to a node. */
  readonly isNodes: boolean;
  /** Pod b asks for its address by value. */
  readonly isRequested: boolean;
}

export interface Schedule {
  readonly seed: number;
  readonly setup: Setup;
  readonly steps: readonly Step[];
}

/** The last byte of the highest address that a pool can be grown to. */
export const HIGHEST = 12;

/** The address of a pool with this last byte. */
export function addressOf(pool: string, last: number): string {
  return pool === 'v4' ? `10.0.0.${last}` : `fd00::${last.toString(16)}`;
}

const PAUSES_MS: readonly number[] = [0, 0, 1, 30, 200, 1_000, 1_000, 3_000, 10_000, 30_000, 70_000];
const SHORT_MS: readonly number[] = [500, 3_000, 12_000, 40_000, 100_000];

/** The schedule of a seed. */
export function scheduleOf(seed: number): Schedule {
  const random = new SeededRandom(seed * 7_919 + 13);
  const setup = makeSetup(random);
  // Each seed leaves out some kinds of steps, and has more of some others: what is rare together shows.
  const focus = [random.pick(KINDS), random.pick(KINDS)];
  // Where an agent has forgotten something, mending takes its time and hides what else is left over.
  const rate = ({ isForgetful }: Kind): number => (isForgetful === true ? 0.2 : 0.5);
  const kinds = KINDS.filter(
    (kind) => kind.share > 3 || focus.includes(kind) || random.next() < rate(kind),
  ).map((kind) => (focus.includes(kind) ? { ...kind, share: kind.share + 20 } : kind));
  const total = kinds.reduce((sum, { share }) => sum + share, 0);
  const steps: Step[] = PODS.slice(0, 2 + random.below(4)).map((pod) => ({
    after: 0,
    ...create(random, setup, pod),
  }));
  const count = 25 + random.below(40);
  while (steps.length < count) {
    let roll = random.next() * total;
    const kind = kinds.find(({ share }) => (roll -= share) < 0);
    if (kind !== undefined) steps.push({ after: random.pick(PAUSES_MS), ...kind.make(random, setup) });
  }
  return { seed, setup, steps };
}

function makeSetup(random: SeededRandom): Setup {
  const often = (): number => random.pick([0, 0, 0.2, 0.5]);
  return {
    nodes: NODES.slice(0, random.next() < 0.7 ? 2 : 3),
    pools: random.next() < 0.6 ? POOLS.slice(0, 1) : POOLS,
    last: random.pick([3, 4, 5, 7, 9]),
    cooldown: random.pick(['0s', '0s', '30s', '30s', '120s']),
    allocation: random.pick(['Random', 'Ascending']),
    latencyMs: random.pick([0, 3, 30, 400]),
    compactFrom: random.pick([1 << 20, 1 << 20, 3_000]),
    habits: { forgetDel: often(), retrySame: often(), overtake: often(), repeatDel: often() },
    isHeld: random.next() < 0.3,
    isExternal: random.next() < 0.2,
    isNodes: random.next() < 0.2,
    isRequested: random.next() < 0.3,
  };
}

interface Kind {
  /** How often, among the others. */
  readonly share: number;
  /** After it an agent may not know of a reservation. */
  readonly isForgetful?: boolean;
  readonly make: (random: SeededRandom, setup: Setup) => Action;
}

const pod = (random: SeededRandom): string => random.pick(PODS);
const nodeOf = (random: SeededRandom, { nodes }: Setup): string => random.pick(nodes);
const place = (random: SeededRandom, { nodes }: Setup): Place =>
  // A Setup's nodes are of NODES.
  random.next() < 0.25 ? 'operator' : (random.pick(nodes) as Place);
const span = (random: SeededRandom): number => Math.round(random.pick(SHORT_MS) * (0.5 + random.next()));
/** Unknown outcomes are the hardest, so there are more of them. */
const MANY_EFFECTS: readonly Effect[] = [...EFFECTS, 'late', 'late', 'unanswered', 'unanswered'];
const STALLED: readonly Stalled[] = [
  'all',
  'pods',
  'pods',
  'ipreservations',
  'ipreservations',
  'ippools',
  'nodes',
];

function create(random: SeededRandom, setup: Setup, name: string): Action {
  return { do: 'create', pod: name, node: nodeOf(random, setup), isStatic: random.next() < 0.2 };
}

const KINDS: readonly Kind[] = [
  { share: 14, make: (r, s) => create(r, s, pod(r)) },
  { share: 9, make: (r) => ({ do: 'delete', pod: pod(r), how: 'graceful' }) },
  { share: 3, make: (r) => ({ do: 'delete', pod: pod(r), how: 'force' }) },
  { share: 3, make: (r, s) => ({ do: 'replace', pod: pod(r), node: nodeOf(r, s) }) },
  { share: 2, make: (r) => ({ do: 'finish', pod: pod(r), phase: r.pick(['Succeeded', 'Failed']) }) },
  { share: 2, make: (r) => ({ do: 'deleteMirror', pod: pod(r), backMs: r.below(20_000) }) },
  { share: 9, make: (r) => ({ do: 'errand', pod: pod(r), errand: 'restart' }) },
  { share: 4, make: (r) => ({ do: 'errand', pod: pod(r), errand: r.pick(['repeat', 'check', 'strayDel']) }) },
  { share: 1, make: (r, s) => ({ do: 'gc', node: nodeOf(r, s) }) },
  { share: 2, make: (r, s) => ({ do: 'restartRuntime', node: nodeOf(r, s) }) },
  {
    share: 7,
    make: (r, s) => ({
      do: 'killAgent',
      node: nodeOf(r, s),
      effects: r.below(12) - 1,
      backMs: r.pick([0, 500, span(r)]),
    }),
  },
  { share: 2, make: (r, s) => ({ do: 'stopAgent', node: nodeOf(r, s), backMs: r.pick([0, span(r)]) }) },
  {
    share: 2,
    isForgetful: true,
    make: (r, s) => ({ do: 'losePower', node: nodeOf(r, s), bytes: r.below(2_000), backMs: span(r) }),
  },
  {
    share: 2,
    isForgetful: true,
    make: (r, s) => ({
      do: 'deleteNode',
      node: nodeOf(r, s),
      machine: r.pick(['same', 'new']),
      backMs: span(r),
    }),
  },
  { share: 1, make: (r, s) => ({ do: 'taintNode', node: nodeOf(r, s), forMs: span(r) }) },
  { share: 3, make: (r) => ({ do: 'killOperator', effects: r.below(8) - 1, backMs: r.pick([0, span(r)]) }) },
  { share: 1, make: (r) => ({ do: 'secondOperator', forMs: span(r) * 3 }) },
  { share: 2, make: (r) => ({ do: 'pauseOperator', forMs: span(r) * 2, bothMs: span(r) }) },
  {
    share: 16,
    make: (r, s) => ({
      do: 'fault',
      at: place(r, s),
      effect: r.pick(MANY_EFFECTS),
      skip: r.pick([0, 0, 1, 2, 4]),
    }),
  },
  {
    share: 3,
    make: (r, s) => ({ do: 'storm', at: place(r, s), forMs: span(r), rate: r.pick([0.1, 0.3, 0.8]) }),
  },
  { share: 3, make: (r, s) => ({ do: 'partition', at: place(r, s), forMs: span(r) }) },
  { share: 1, make: (r) => ({ do: 'outage', forMs: span(r) }) },
  {
    share: 4,
    // A watch that is silent for 90 s is begun anew, so that is as long as the operator can be blind.
    make: (r, s) => ({
      do: 'stall',
      at: r.next() < 0.6 ? 'operator' : place(r, s),
      of: r.pick(STALLED),
      forMs: r.pick([span(r), 100_000]),
    }),
  },
  { share: 2, isForgetful: true, make: (r) => ({ do: 'leftover', pod: pod(r) }) },
  { share: 2, make: (r, s) => ({ do: 'expire', at: place(r, s) }) },
  {
    share: 2,
    isForgetful: true,
    make: (r) => ({
      do: 'restore',
      agoMs: r.pick([1_000, 5_000, 20_000, 60_000, 300_000]),
      isBumped: r.next() < 0.5,
      watches: r.pick(['break', 'break', 'silent']),
      downMs: r.pick([0, 0, span(r)]),
    }),
  },
  {
    share: 2,
    make: (r, s) => ({
      do: 'stale',
      at: place(r, s),
      backMs: r.pick([1_000, 10_000, 60_000, 300_000]),
      forMs: span(r),
    }),
  },
  {
    share: 2,
    make: (r, s) => ({
      do: 'clockJump',
      at: place(r, s),
      byMs: r.pick([-1, 1]) * r.pick([2_000, 90_000, 1_500_000]),
    }),
  },
  { share: 2, make: (r, s) => ({ do: 'resizePool', pool: r.pick(s.pools), last: 3 + r.below(HIGHEST - 2) }) },
  { share: 1, make: (r, s) => ({ do: 'deletePool', pool: r.pick(s.pools), backMs: span(r) }) },
];

/** A step in one line. */
export function describeStep({ after, do: what, ...rest }: Step): string {
  const details = Object.entries(rest).map(
    ([key, value]) => `${key}=${typeof value === 'number' ? Math.round(value * 100) / 100 : value}`,
  );
  return `+${after} ms ${what} ${details.join(' ')}`;
}
