/**
 * `node bench/hintsim.ts`: how many creates an ADD costs, by fill, age of the hint and number of agents (docs/hints.md).
 *
 * A model, not a measurement: agents take turns at random, none gives anything back, and a create takes no time. What
 * chooses the candidates is the agents' own code.
 */
import { AddressBitmap } from '../ipam/bitmap.ts';
import { Candidates } from '../ipam/candidates.ts';
import { compilePool, type Pool } from '../ipam/pool.ts';

const CAPACITY = 4_094;
/** Conflicts after which an agent lists, as the agents do. */
const CONFLICTS_BEFORE_LIST = 4;
/** Pools that are filled for each line. */
const RUNS = 5;
/** Shares of the pool at which the cost is looked at: the hundredth before each. */
const FILLS = [0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1] as const;

/** mulberry32: the same run every time. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Agent {
  readonly candidates: Candidates;
  readonly believed: AddressBitmap;
}

interface Cost {
  creates: number;
  lists: number;
  adds: number;
}

/** Fills a pool, with a hint for everybody after each `hintEvery` ADDs once half of it is taken (Infinity: never). */
function fill(
  pool: Pool,
  agentCount: number,
  hintEvery: number,
  costs: Map<number, Cost>,
  seed: number,
): void {
  const random = seeded(agentCount * 1_000 + seed);
  const truth = new AddressBitmap();
  const agents = Array.from(
    { length: agentCount },
    (): Agent => ({
      candidates: new Candidates(random),
      believed: new AddressBitmap(),
    }),
  );
  for (let taken = 0; taken < CAPACITY; taken += 1) {
    if (taken * 2 >= CAPACITY && taken % hintEvery === 0) {
      const plane = truth.plane(pool.dynamic);
      for (const agent of agents) agent.believed.setPlane(pool.dynamic, plane);
    }
    const agent = agents[Math.floor(random() * agents.length)];
    const share = FILLS.find((each) => taken >= (each - 0.01) * CAPACITY && taken < each * CAPACITY);
    if (agent === undefined) throw new Error('there is no agent');
    const { creates, lists } = add(pool, truth, agent);
    const cost = costs.get(share ?? -1);
    if (cost !== undefined) {
      cost.creates += creates;
      cost.lists += lists;
      cost.adds += 1;
    }
  }
}

function add(pool: Pool, truth: AddressBitmap, { candidates, believed }: Agent): Omit<Cost, 'adds'> {
  let creates = 0;
  let lists = 0;
  while (true) {
    const value = candidates.next(pool, believed, creates);
    if (
      value === undefined ||
      (creates > 0 && creates % CONFLICTS_BEFORE_LIST === 0 && lists * 4 < creates)
    ) {
      believed.setPlane(pool.dynamic, truth.plane(pool.dynamic));
      lists += 1;
      continue;
    }
    believed.set(value);
    creates += 1;
    if (truth.set(value)) return { creates, lists };
    candidates.jump(pool.name);
  }
}

function row(title: string, pool: Pool, agents: number, hintEvery: number): string {
  const costs = new Map(FILLS.map((share): [number, Cost] => [share, { creates: 0, lists: 0, adds: 0 }]));
  for (let seed = 0; seed < RUNS; seed += 1) fill(pool, agents, hintEvery, costs, seed);
  const cells = FILLS.map((share) => {
    const { creates, lists, adds } = costs.get(share) ?? { creates: 0, lists: 0, adds: 1 };
    const each = (creates / adds).toFixed(2);
    return lists === 0 ? each : `${each} + ${((100 * lists) / adds).toFixed(1)} %`;
  });
  return `| ${[title, agents, ...cells].join(' | ')} |`;
}

const random = compilePool('random', { subnet: '10.0.0.0/20' });
const lines = [
  `| hint | agents | ${FILLS.map((share) => `${share * 100} %`).join(' | ')} |`,
  `| --- | --- | ${FILLS.map(() => '---').join(' | ')} |`,
];
for (const agents of [10, 100, 400]) {
  for (const [title, every] of [
    ['none', Number.POSITIVE_INFINITY],
    ['100 ADDs', 100],
    ['10 ADDs', 10],
  ] as const) {
    lines.push(row(title, random, agents, every));
  }
}
process.stdout.write(`${lines.join('\n')}\n`);
