/**
 * Whether an ADD costs the same however many addresses are allocated: ADDs, and raw creates beside them, with 100, 1,000,
 * 10,000 and 65,000 reservations of the pool there already, of which the last is a /16 that is nearly full.
 */
import { ipReservations } from '../crds/resources.ts';
import type { Cluster, TestPod } from '../e2e/harness/cluster.ts';
import { inParallel } from '../e2e/harness/parallel.ts';
import { parseAddress } from '../ipam/address.ts';
import { reservationName } from '../ipam/name.ts';
import { connect } from '../kube/client.ts';
import { createPods, progressOf, QUICK, ROUNDS, say, scaled, startBenchCluster } from './setup.ts';
import { type Round, type Row, summarise } from './stats.ts';
import { AgentCalls, RawCreates } from './subjects.ts';

const CALLERS = 32;
const OPERATIONS = scaled(400);
/** Addresses that are taken before ADDs are measured. */
const LEVELS: readonly number[] = QUICK ? [100, 1_000] : [100, 1_000, 10_000, 65_000].map((n) => scaled(n));
const PODS = 50;

export interface FlatnessRow extends Row {
  /** Reservations of the pool when it was measured. */
  readonly allocated: number;
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

async function measure(cluster: Cluster): Promise<FlatnessRow[]> {
  const agent = cluster.agent('node-1');
  await cluster.createPool('bench', { subnet: '10.0.0.0/16', cooldown: '0s' });
  const pods = await createPods(cluster, PODS);
  const [pod] = pods;
  const agentApi = await connect({ kubeconfig: agent.kubeconfig, userAgent: 'berth-bench' });
  const raw = new RawCreates(agentApi, pod, 'raw');
  const calls = new AgentCalls(agent, pods);
  await calls.run(8, scaled(500));
  const rows: FlatnessRow[] = [];
  const elsewhere = await cluster.createPod('elsewhere', 'elsewhere');
  let taken = 0;
  for (const level of LEVELS) {
    await take(cluster, elsewhere, taken, level);
    taken = level;
    await cluster.whenPool('bench', 'the operator has counted', ({ status }) => status?.bound === `${level}`);
    const rounds: { create: Round[]; add: Round[] } = { create: [], add: [] };
    for (let round = 0; round < ROUNDS; round += 1) {
      rounds.create.push(await raw.run(CALLERS, OPERATIONS));
      rounds.add.push((await calls.run(CALLERS, OPERATIONS)).add);
      await raw.clean();
    }
    rows.push(
      { allocated: level, ...summarise('create', CALLERS, rounds.create), ratio: 1 },
      { allocated: level, ...summarise('add/agent', CALLERS, rounds.add, rounds.create) },
    );
    say(`flatness: measured at ${level} allocated`);
  }
  await agentApi.close();
  return rows;
}

/**
 * Makes the reservations number `from` to `to`, as another node's agent would have.
 * @param pod is alive on that node: the operator would take them back otherwise
 */
async function take(cluster: Cluster, pod: TestPod, from: number, to: number): Promise<void> {
  const step = progressOf(`flatness: reservations made on the way to ${to}`, to - from);
  const numbers = Array.from({ length: to - from }, (_, i) => from + i);
  await inParallel(32, numbers, async (i) => {
    const host = hostOf(i);
    const address = `10.0.${host >> 8}.${host & 255}`;
    await cluster.api.create(ipReservations, {
      apiVersion: 'ipam.berth.dev/v1alpha1',
      kind: 'IPReservation',
      metadata: { name: reservationName('default', parseAddress(address)) },
      spec: {
        network: 'default',
        address,
        pool: 'bench',
        state: 'Bound',
        owner: {
          kind: 'Pod',
          namespace: pod.namespace,
          name: pod.name,
          uid: pod.uid,
          node: pod.node,
          containerID: `e${i}`,
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
