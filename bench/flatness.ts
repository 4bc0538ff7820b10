/**
 * Whether an ADD costs the same however many addresses of its pool are allocated: ADDs, and raw creates beside them, in pools with
 * 100, 1,000, 10,000 and 65,000 reservations, of which the last is a /16 that is nearly full. All pools are there at once and
 * take turns, so that no slow minute of the machine falls on one of them.
 */
import { ipReservations } from '../crds/resources.ts';
import type { Cluster, TestPod } from '../e2e/harness/cluster.ts';
import { inParallel } from '../e2e/harness/parallel.ts';
import { parseAddress } from '../ipam/address.ts';
import { reservationName } from '../ipam/name.ts';
import { connect } from '../kube/client.ts';
import {
  createPods,
  meterOf,
  nodeWithoutAgent,
  progressOf,
  QUICK,
  ROUNDS,
  say,
  scaled,
  startBenchCluster,
} from './setup.ts';
import { joined, type Round, type Row, summarise } from './stats.ts';
import { AgentCalls, RawCreates } from './subjects.ts';
import type { CpuMeter } from './usage.ts';

const CALLERS = 32;
/** Fewer than the fullest pool has free. */
const OPERATIONS = scaled(400);
/** How often in a round so many creates and ADDs take turns: a round must outlast some of the API server's collections (callers.ts). */
const TURNS = QUICK ? 1 : 3;
/** Addresses that are taken before ADDs are measured. */
const LEVELS: readonly number[] = QUICK ? [100, 500] : [100, 1_000, 10_000, 65_000].map((n) => scaled(n));
const PODS = 50;

export interface FlatnessRow extends Row {
  /** Reservations of the pool when it was measured. */
  readonly allocated: number;
  /** CPU milliseconds of one operation, by process. */
  readonly cpuMs: Readonly<Record<string, number>>;
}

/** @throws Error if an operation fails */
export async function measureFlatness(): Promise<FlatnessRow[]> {
  const cluster = await startBenchCluster({ name: 'flatness' });
  try {
    return await measure(cluster);
  } finally {
    await cluster.stop();
  }
}

/** A pool, and what was measured in it. */
class Level {
  readonly allocated: number;
  readonly #raw: RawCreates;
  readonly #calls: AgentCalls;
  readonly #rounds: Readonly<Record<'create' | 'add', Round[]>> = { create: [], add: [] };
  readonly #cpu: Readonly<Record<'create' | 'add', CpuMeter>>;

  constructor(allocated: number, raw: RawCreates, calls: AgentCalls, meter: () => CpuMeter) {
    this.allocated = allocated;
    this.#raw = raw;
    this.#calls = calls;
    this.#cpu = { create: meter(), add: meter() };
  }

  async warmUp(): Promise<void> {
    await this.#calls.run(8, scaled(500));
  }

  async round(): Promise<void> {
    const create: Round[] = [];
    const add: Round[] = [];
    for (let turn = 0; turn < TURNS; turn += 1) {
      create.push(await this.#cpu.create.around(OPERATIONS, () => this.#raw.run(CALLERS, OPERATIONS)));
      add.push(await this.#cpu.add.around(OPERATIONS, () => this.#calls.addOnly(CALLERS, OPERATIONS)));
      await this.#calls.delLast(CALLERS, OPERATIONS);
      await this.#raw.clean();
    }
    this.#rounds.create.push(joined(create));
    this.#rounds.add.push(joined(add));
  }

  rows(): FlatnessRow[] {
    const { create, add } = this.#rounds;
    const of = (name: 'create' | 'add', row: Row): FlatnessRow => ({
      allocated: this.allocated,
      ...row,
      cpuMs: this.#cpu[name].perOperation(),
    });
    return [
      of('create', { ...summarise('create', CALLERS, create), ratio: 1 }),
      of('add', summarise('add/agent', CALLERS, add, create)),
    ];
  }
}

async function measure(cluster: Cluster): Promise<FlatnessRow[]> {
  const agent = cluster.agent('node-1');
  const pods = await createPods(cluster, PODS);
  // Raw creates are of another node: the agent must not look after them.
  const { node, kubeconfig } = await nodeWithoutAgent(cluster, 'other');
  const other = await cluster.createPod(node, 'other');
  const agentApi = await connect({ kubeconfig, userAgent: 'berth-bench' });
  const elsewhere = await cluster.createPod('elsewhere', 'elsewhere');
  const raw = await RawCreates.in(cluster, agentApi, other, 'raw');
  const meter = (): CpuMeter => meterOf(cluster, agent.program.pid);
  const levels: Level[] = [];
  for (const [index, allocated] of LEVELS.entries()) {
    const pool = `with-${allocated}`;
    await cluster.createPool(pool, { subnet: `10.${index}.0.0/16`, cooldown: '0s' });
    await take(cluster, elsewhere, { pool, network: index, count: allocated });
    await cluster.whenPool(
      pool,
      'the operator has counted',
      ({ status }) => status?.bound === `${allocated}`,
    );
    levels.push(
      new Level(allocated, raw, new AgentCalls(agent, pods, { pools: [pool], interfaces: 1 }), meter),
    );
  }
  for (const level of levels) await level.warmUp();
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const level of levels) await level.round();
    say(`flatness: round ${round} of ${ROUNDS} done`);
  }
  await agentApi.close();
  return levels.flatMap((level) => level.rows());
}

/**
 * Makes reservations as another node's agent would have.
 * @param pod is alive on that node: the operator would take them back otherwise
 * @param network second byte of the pool's addresses
 */
async function take(
  cluster: Cluster,
  pod: TestPod,
  { pool, network, count }: { readonly pool: string; readonly network: number; readonly count: number },
): Promise<void> {
  const step = progressOf(`flatness: reservations of ${pool} made`, count);
  const numbers = Array.from({ length: count }, (_, i) => i);
  await inParallel(32, numbers, async (i) => {
    const host = hostOf(i);
    const address = `10.${network}.${host >> 8}.${host & 255}`;
    await cluster.api.create(ipReservations, {
      apiVersion: 'ipam.berth.dev/v1alpha1',
      kind: 'IPReservation',
      metadata: { name: reservationName('default', parseAddress(address)) },
      spec: {
        network: 'default',
        address,
        pool,
        state: 'Bound',
        owner: {
          kind: 'Pod',
          namespace: pod.namespace,
          name: pod.name,
          uid: pod.uid,
          node: pod.node,
          containerID: `e${network}-${i}`,
          ifname: 'eth0',
          cniNetwork: 'bench',
        },
      },
    });
    step();
  });
}

/** Scatters 0 to 65,000 over the /16 without a collision: multiplication by an odd number permutes the 65,536 hosts. */
function hostOf(index: number): number {
  return Math.imul(index + 1, 40_503) & 0xffff;
}
