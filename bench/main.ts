/**
 * `npm run bench`: what an ADD costs, as a ratio to the raw create rate of the same API server in the same run.
 *
 * etcd and the API server have the first core, everything else the second, unless BENCH_PINNED=0. Rounds of all
 * subjects are interleaved, so that a slow minute of the machine falls on all of them.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { resolveCniPlugins } from '../e2e/controlplane/assets.ts';
import { requestDifference } from '../e2e/controlplane/metrics.ts';
import { type Cluster, startCluster } from '../e2e/harness/cluster.ts';
import { artefacts } from '../e2e/harness/programs.ts';
import { connect } from '../kube/client.ts';
import { type BinaryAlone, measureBinary } from './binary.ts';
import { peakRssMb, rssMb } from './memory.ts';
import { SocketClient } from './socketclient.ts';
import { type Round, type Row, summarise } from './stats.ts';
import { AgentCalls, RawCreates, runHostLocal, runNothing } from './subjects.ts';

const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 5);
const PINNED = process.env['BENCH_PINNED'] !== '0' && availableParallelism() >= 2;
/** Callers, and operations of one round: enough for about two seconds each. */
const LOADS = [
  { callers: 1, operations: 300 },
  { callers: 8, operations: 1000 },
  { callers: 32, operations: 1500 },
] as const;
const ADMIN_LOAD = LOADS[2];
const BINARY_OPERATIONS = 100;
const PODS = 100;

const out = join(import.meta.dirname, 'out');

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

interface Rounds {
  readonly create: Round[];
  readonly add: Round[];
  readonly del: Round[];
}

interface Measured {
  readonly rows: Row[];
  readonly requestsPerAdd: number;
  readonly requestsPerDel: number;
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

async function run(cluster: Cluster, dataDir: string): Promise<Measured> {
  const agent = cluster.agent('node-1');
  await cluster.createPool('bench', { subnet: '10.0.0.0/8', cooldown: '0s' });
  const pods = await Promise.all(
    Array.from({ length: PODS }, (_, i) => cluster.createPod('node-1', `bench-${i}`)),
  );
  const [pod] = pods;
  if (pod === undefined) throw new Error('no pods');
  // With the agent's own token: roles, flow control and the admission policy are part of what a create costs it.
  const agentApi = await connect({ kubeconfig: agent.kubeconfig, userAgent: 'berth-bench' });
  const raw = new RawCreates(agentApi, pod, 'raw', () => Date.now());
  // And as the cluster's administrator, to whom none of these applies.
  const admin = new RawCreates(cluster.api, pod, 'admin', () => Date.now());
  const calls = new AgentCalls(agent, new SocketClient(agent.socket), pods);
  const { directory } = await resolveCniPlugins();
  const hostLocal = join(directory, 'host-local');
  const rest = rssMb(agent.program.pid);

  say('warming up');
  await raw.run(8, 500);
  await calls.run(8, 500);
  await raw.clean();

  const byLoad = new Map<number, Rounds>(
    LOADS.map(({ callers }) => [callers, { create: [], add: [], del: [] }]),
  );
  const adminRounds: Round[] = [];
  const processes: Record<'binary' | 'hostLocal' | 'nothing', Round[]> = {
    binary: [],
    hostLocal: [],
    nothing: [],
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const { callers, operations } of LOADS) {
      const rounds = byLoad.get(callers);
      rounds?.create.push(await raw.run(callers, operations));
      const { add, del } = await calls.run(callers, operations);
      rounds?.add.push(add);
      rounds?.del.push(del);
    }
    adminRounds.push(await admin.run(ADMIN_LOAD.callers, ADMIN_LOAD.operations));
    processes.binary.push(await calls.runBinary(artefacts.binary, BINARY_OPERATIONS));
    processes.hostLocal.push(runHostLocal(hostLocal, dataDir, round * BINARY_OPERATIONS, BINARY_OPERATIONS));
    processes.nothing.push(runNothing(BINARY_OPERATIONS));
    await raw.clean();
    await admin.clean();
    say(`round ${round + 1} of ${ROUNDS} done`);
  }
  const requests = await countRequests(cluster, calls);
  const rows: Row[] = [];
  for (const [callers, { create, add, del }] of byLoad) {
    rows.push(
      { ...summarise('create', callers, create), ratio: 1 },
      summarise('add/agent', callers, add, create),
      summarise('del/agent', callers, del, create),
    );
  }
  rows.push(
    summarise('create/admin', ADMIN_LOAD.callers, adminRounds, byLoad.get(ADMIN_LOAD.callers)?.create),
    summarise('add/binary', 1, processes.binary, byLoad.get(1)?.create),
    summarise('host-local/binary', 1, processes.hostLocal),
    summarise('true/binary', 1, processes.nothing),
  );
  await agentApi.close();
  return {
    rows,
    requestsPerAdd: requests.perAdd,
    requestsPerDel: requests.perDel,
    agentRssMb: { rest, peak: peakRssMb(agent.program.pid) },
    operatorRssMb: peakRssMb(cluster.operator.pid),
  };
}

function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8' }).trim();
}

function report(measured: Measured, binaryAlone: BinaryAlone): void {
  const { rows, ...rest } = measured;
  const create = rows.find((r) => r.name === 'create' && r.callers === 1);
  const binary = rows.find((r) => r.name === 'add/binary');
  const result = {
    commit: `${git('rev-parse', 'HEAD')}${git('status', '--porcelain') === '' ? '' : ' with changes'}`,
    time: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryGb: Math.round(totalmem() / 2 ** 30),
    },
    node: process.version,
    rounds: ROUNDS,
    pinned: PINNED,
    rows,
    ...rest,
    binaryAlone,
    /** What the binary adds to the latency of a raw create, medians. */
    binaryAddsMs: binary === undefined || create === undefined ? null : binary.p50_ms - create.p50_ms,
  };
  mkdirSync(out, { recursive: true });
  const file = join(out, 'latest.json');
  writeFileSync(file, `${JSON.stringify(result, undefined, 2)}\n`);
  say('');
  const cells = [
    ['name', 'callers', 'rate/s', 'p50 ms', 'p99 ms', 'ratio', 'lowest to highest/s'],
    ...rows.map((r) =>
      [r.name, r.callers, r.rate, r.p50_ms, r.p99_ms, r.ratio ?? '-', r.spread.join(' to ')].map(String),
    ),
  ];
  const widths =
    cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? [];
  for (const row of cells)
    say(
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  say('');
  say(`API requests: ${rest.requestsPerAdd} per ADD, ${rest.requestsPerDel} per DEL`);
  say(
    `RSS: agent ${rest.agentRssMb.rest} MB at rest, ${rest.agentRssMb.peak} MB at its peak; operator ${rest.operatorRssMb} MB at its peak`,
  );
  if (result.binaryAddsMs !== null)
    say(`ADD through the binary adds ${result.binaryAddsMs.toFixed(1)} ms to a raw create (medians)`);
  const { roundTripMs, processMs, fiftyAtOnceMs, rssMb } = binaryAlone;
  say(
    `binary alone: ${processMs.toFixed(1)} ms, a bare round trip ${roundTripMs.toFixed(2)} ms; 50 at once ${fiftyAtOnceMs.toFixed(0)} ms; RSS ${rssMb} MB`,
  );
  say(PINNED ? 'etcd and API server on core 0, everything else on core 1' : 'all share all cores');
  say(`written to ${file}`);
}

// Before anything else runs, and on all cores.
const binaryAlone = await measureBinary(artefacts.binary);
const dataDir = mkdtempSync(join(tmpdir(), 'berth-bench-'));
if (PINNED) execFileSync('taskset', ['-a', '-c', '-p', '1', String(process.pid)], { stdio: 'ignore' });
try {
  const cluster = await startCluster({
    name: 'bench',
    log: say,
    ...(PINNED && { apiServerCpus: '0', programCpus: '1' }),
  });
  try {
    report(await run(cluster, dataDir), binaryAlone);
  } finally {
    await cluster.stop();
  }
} finally {
  rmSync(dataDir, { recursive: true, force: true });
}
