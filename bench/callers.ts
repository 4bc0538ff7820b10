/**
 * What an ADD and a DEL cost at 1, 8, 32 and 100 callers, beside raw creates of the same object in the same rounds; the
 * API requests and CPU of each; and whole processes: the binary, `host-local`, and one that does nothing.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveCniPlugins } from '../e2e/controlplane/assets.ts';
import { requestDifference } from '../e2e/controlplane/metrics.ts';
import type { Cluster, TestPod } from '../e2e/harness/cluster.ts';
import { artefacts } from '../e2e/harness/programs.ts';
import { connect } from '../kube/client.ts';
import { FloorCalls } from './floorcalls.ts';
import { hostLocalCalls, launchAll, nothingCalls } from './processes.ts';
import {
  createPods,
  meterOf,
  nodeWithoutAgent,
  QUICK,
  ROUNDS,
  say,
  scaled,
  startBenchCluster,
} from './setup.ts';
import { joined, type Round, type Row, summarise } from './stats.ts';
import { AgentCalls, RawCreates } from './subjects.ts';
import { type CpuMeter, peakRssMb, rssMb } from './usage.ts';

/**
 * Callers, and how often in a round so many operations of each kind take turns. The API server collects its garbage every second
 * or so, and is half as fast meanwhile: what lasts for fewer than ten of these says more about them than about creates and ADDs.
 */
const LOADS = [
  { callers: 1, turns: 1, operations: scaled(300) },
  { callers: 8, turns: 1, operations: scaled(1_000) },
  { callers: 32, turns: QUICK ? 1 : 2, operations: scaled(1_500) },
  { callers: 100, turns: QUICK ? 1 : 2, operations: scaled(1_500) },
] as const;
/** Where CPU is measured, the floor, and raw creates of the administrator. */
const HEAVY = LOADS[2];
const BINARY_OPERATIONS = scaled(100);
const PODS = 100;

const KINDS = ['create', 'add', 'del', 'floor'] as const;
type Kind = (typeof KINDS)[number];
type Rounds = Readonly<Record<Kind, Round[]>>;

function noRounds(): Rounds {
  return { create: [], add: [], del: [], floor: [] };
}

/** What the CPU milliseconds of one operation are spent by. */
type CpuShare = Readonly<Record<string, number>>;

export interface CallersResult {
  readonly rows: readonly Row[];
  readonly requestsPerAdd: number;
  readonly requestsPerDel: number;
  /** CPU milliseconds for each operation at 32 callers, by process; of the floor, what it takes itself is the agent's. */
  readonly cpuMs: Readonly<Record<Kind, CpuShare>>;
  readonly agentRssMb: { readonly rest: number; readonly peak: number };
  readonly operatorRssMb: number;
}

/** Requests that one operation costs, from the API server's own counters. The operator and the watches are left out. */
async function countRequests(
  cluster: Cluster,
  calls: AgentCalls,
): Promise<{ perAdd: number; perDel: number }> {
  // The operator's status writes would be counted with the agent's.
  await cluster.operator.stop();
  const counted = async (operation: () => Promise<unknown>): Promise<number> => {
    const before = await cluster.controlPlane.countRequests();
    await operation();
    const after = await cluster.controlPlane.countRequests();
    return requestDifference(before, after)
      .filter(
        (r) =>
          r.verb !== 'WATCH' &&
          (r.group === 'ipam.berth.dev' || /^(pods|nodes|namespaces)$/.test(r.resource)),
      )
      .reduce((sum, r) => sum + r.count, 0);
  };
  const operations = 200;
  const perAdd = (await counted(() => calls.addOnly(8, operations))) / operations;
  const perDel = (await counted(() => calls.delLast(8, operations))) / operations;
  await cluster.operator.start();
  return { perAdd, perDel };
}

/** @throws Error if an operation fails: a benchmark with failures measures something else */
export async function measureCallers(): Promise<CallersResult> {
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-bench-'));
  const cluster = await startBenchCluster({ name: 'bench' });
  try {
    // Raw creates and the floor are of another node: the agent must not look after what others make here.
    const other = await nodeWithoutAgent(cluster, 'other');
    const others = await createPods(cluster, 1, [other.node], 'other');
    const floor = await FloorCalls.start(cluster, other, others);
    try {
      return await measure(cluster, dataDir, { kubeconfig: other.kubeconfig, pod: others[0], floor });
    } finally {
      await floor.stop();
    }
  } finally {
    await cluster.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** What is measured beside the agent, on another node. */
interface Beside {
  readonly kubeconfig: string;
  readonly pod: TestPod;
  readonly floor: FloorCalls;
}

async function measure(
  cluster: Cluster,
  dataDir: string,
  { kubeconfig, pod, floor }: Beside,
): Promise<CallersResult> {
  const agent = cluster.agent('node-1');
  await cluster.createPool('bench', { subnet: '10.0.0.0/8', cooldown: '0s' });
  const pods = await createPods(cluster, PODS);
  // With an agent's token: roles, flow control and the admission policy are part of what a create costs it.
  const agentApi = await connect({
    kubeconfig,
    userAgent: 'berth-bench',
    connections: LOADS[3].callers,
  });
  const raw = await RawCreates.in(cluster, agentApi, pod, 'raw');
  // And as the cluster's administrator, to whom none of these applies.
  const admin = await RawCreates.in(cluster, cluster.api, pod, 'admin');
  const calls = new AgentCalls(agent, pods);
  const { directory } = await resolveCniPlugins();
  const hostLocal = join(directory, 'host-local');
  const rest = rssMb(agent.program.pid);
  const meter = (pid = agent.program.pid): CpuMeter => meterOf(cluster, pid);
  const cpu = { create: meter(), add: meter(), del: meter(), floor: meter(floor.pid) };
  const subjects: Readonly<Record<Kind, (callers: number, operations: number) => Promise<Round>>> = {
    create: (callers, operations) => raw.run(callers, operations),
    add: (callers, operations) => calls.addOnly(callers, operations),
    del: (callers, operations) => calls.delLast(callers, operations),
    floor: (callers, operations) => floor.run(callers, operations),
  };

  say('warming up');
  await raw.run(8, scaled(500));
  await floor.run(8, scaled(500));
  await calls.run(8, scaled(500));
  await raw.clean();

  const byLoad = new Map(LOADS.map(({ callers }) => [callers, noRounds()]));
  const adminRounds: Round[] = [];
  const processes: Record<'binary' | 'hostLocal' | 'nothing', Round[]> = {
    binary: [],
    hostLocal: [],
    nothing: [],
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const { callers, turns, operations } of LOADS) {
      const isHeavy = callers === HEAVY.callers;
      const parts = noRounds();
      for (let turn = 0; turn < turns; turn += 1) {
        for (const kind of KINDS.filter((each) => isHeavy || each !== 'floor')) {
          const work = (): Promise<Round> => subjects[kind](callers, operations);
          parts[kind].push(await (isHeavy ? cpu[kind].around(operations, work) : work()));
        }
      }
      for (const kind of KINDS) {
        if (parts[kind].length > 0) byLoad.get(callers)?.[kind].push(joined(parts[kind]));
      }
    }
    adminRounds.push(await admin.run(HEAVY.callers, HEAVY.operations));
    processes.binary.push(await calls.runBinary(artefacts.binary, BINARY_OPERATIONS));
    const first = round * BINARY_OPERATIONS;
    processes.hostLocal.push(
      await launchAll(hostLocal, hostLocalCalls(dataDir, 'ADD', first, BINARY_OPERATIONS)),
    );
    processes.nothing.push(await launchAll('/bin/true', nothingCalls(BINARY_OPERATIONS)));
    await raw.clean();
    await admin.clean();
    await floor.clean();
    say(`callers: round ${round + 1} of ${ROUNDS} done`);
  }
  const cpuMs = {
    create: cpu.create.perOperation(),
    add: cpu.add.perOperation(),
    del: cpu.del.perOperation(),
    floor: cpu.floor.perOperation(),
  };
  const requests = await countRequests(cluster, calls);
  await agentApi.close();
  return {
    rows: [
      ...[...byLoad].flatMap(([callers, { create, add, del, floor: least }]) => [
        { ...summarise('create', callers, create), ratio: 1 },
        summarise('add/agent', callers, add, create),
        summarise('del/agent', callers, del, create),
        ...(least.length > 0 ? [summarise('floor', callers, least, create)] : []),
      ]),
      summarise('create/admin', HEAVY.callers, adminRounds, byLoad.get(HEAVY.callers)?.create),
      summarise('add/binary', 1, processes.binary, byLoad.get(1)?.create),
      summarise('host-local/binary', 1, processes.hostLocal),
      summarise('true/binary', 1, processes.nothing),
    ],
    requestsPerAdd: requests.perAdd,
    requestsPerDel: requests.perDel,
    cpuMs,
    agentRssMb: { rest, peak: peakRssMb(agent.program.pid) },
    operatorRssMb: peakRssMb(cluster.operator.pid),
  };
}
