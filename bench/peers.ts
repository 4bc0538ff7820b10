/**
 * `make bench-peers`: Berth beside Whereabouts, which also has its addresses in the API server, and beside `host-local`, which
 * has them in files of one node: the floor of a plugin that is a process. All in the same rounds, on the same API
 * server, with the same number of callers.
 *
 * Berth is called through its agent's socket, as a long-lived runtime plugin could, and as whole processes, as runtimes do.
 * Two agents share the pool and its callers. How Whereabouts is set up is in whereabouts.ts. Failures do not end the run:
 * they are counted, and so is what is still in use when everything has been deleted.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveCniPlugins } from '../e2e/controlplane/assets.ts';
import { requestDifference } from '../e2e/controlplane/metrics.ts';
import { type Cluster, podCall, type TestPod } from '../e2e/harness/cluster.ts';
import { artefacts } from '../e2e/harness/programs.ts';
import { connect } from '../kube/client.ts';
import { measure } from './load.ts';
import { hostLocalCalls, launch, type ProcessRound } from './processes.ts';
import { circumstances, table } from './report.ts';
import { createPods, outDirectory, pinThisProcess, ROUNDS, say, scaled, startBenchCluster } from './setup.ts';
import { SocketClient } from './socketclient.ts';
import { median, type Round, type Row, summarise } from './stats.ts';
import { RawCreates } from './subjects.ts';
import { resolveWhereabouts, Whereabouts } from './whereabouts.ts';

const CALLERS = 30;
const NODES = ['node-1', 'node-2'] as const;
const PODS = 60;
/** Operations of one round: a Whereabouts call takes seconds. */
const FAST = scaled(900);
const PROCESSES = scaled(300);
const SLOW = scaled(60);

interface Counted {
  readonly rounds: Round[];
  calls: number;
  failures: number;
  requests: number;
}

interface PeerRow extends Row {
  readonly calls: number;
  readonly failures: number;
  /** Of each call, by the API server's counters; all resources but Events; null where there is none. */
  readonly requests: number | null;
}

/** Measures one round of a subject, with the requests that it made. */
async function counted(
  cluster: Cluster,
  name: string,
  to: Counted,
  calls: number,
  work: () => Promise<ProcessRound>,
): Promise<void> {
  const before = await cluster.controlPlane.countRequests();
  const { round, failures } = await work();
  const made = requestDifference(before, await cluster.controlPlane.countRequests())
    .filter(({ verb, resource }) => verb !== 'WATCH' && /ipreservations|ippools|leases|^pods$/.test(resource))
    .filter(({ subresource }) => subresource === '')
    .reduce((sum, { count }) => sum + count, 0);
  to.requests += made;
  to.calls += calls;
  to.failures += failures.length;
  if (round === undefined) throw new Error(`${name}: every call failed: ${failures[0] ?? ''}`);
  to.rounds.push(round);
  if (failures.length > 0) say(`${name}: ${failures.length} of ${calls} failed, such as: ${failures[0]}`);
}

/** Calls of Berth, of pods of both nodes in turn. */
function berthCalls(
  cluster: Cluster,
  pods: readonly TestPod[],
  command: 'ADD' | 'DEL',
  first: number,
  operations: number,
): { socket: string; call: ReturnType<typeof podCall> }[] {
  return Array.from({ length: operations }, (_, i) => {
    const pod = pods[i % pods.length];
    if (pod === undefined) throw new Error('no pods');
    const agent = cluster.agent(pod.node);
    const call = podCall(command, pod, agent.ipam({ pools: ['bench'] }), { ifname: `e${first + i}` });
    return { socket: agent.socket, call };
  });
}

async function throughSockets(calls: ReturnType<typeof berthCalls>): Promise<ProcessRound> {
  const failures: string[] = [];
  const clients = new Map(calls.map(({ socket }) => [socket, new SocketClient(socket)]));
  const round = await measure(CALLERS, calls.length, async (i) => {
    const each = calls[i];
    const outcome = each && (await clients.get(each.socket)?.call(each.call));
    if (outcome?.exitCode !== 0) failures.push(outcome?.stdout ?? '');
  });
  return { round, failures };
}

const SUBJECTS = [
  'create',
  'berth add',
  'berth del',
  'berth add, processes',
  'berth del, processes',
  'whereabouts add, processes',
  'whereabouts del, processes',
  'host-local add, processes',
] as const;
type Subject = (typeof SUBJECTS)[number];

/** @param dataDir where host-local has its files */
async function run(
  cluster: Cluster,
  whereabouts: Whereabouts,
  hostLocal: string,
  dataDir: string,
): Promise<void> {
  await cluster.createPool('bench', { subnet: '10.0.0.0/16', cooldown: '0s' });
  const pods = await createPods(cluster, PODS, NODES);
  const [pod] = pods;
  const agentApi = await connect({
    kubeconfig: cluster.agent('node-1').kubeconfig,
    userAgent: 'berth-bench',
    connections: CALLERS,
  });
  const raw = await RawCreates.in(cluster, agentApi, pod, 'raw');
  const subjects = new Map<Subject, Counted>(
    SUBJECTS.map((name) => [name, { rounds: [], calls: 0, failures: 0, requests: 0 }]),
  );
  const take = (name: Subject, calls: number, work: () => Promise<ProcessRound>): Promise<void> => {
    const to = subjects.get(name);
    if (to === undefined) throw new Error(`no subject ${name}`);
    return counted(cluster, name, to, calls, work);
  };
  // The operator counts in the background, and its writes are nobody's here.
  await throughSockets(berthCalls(cluster, pods, 'ADD', 0, 60));
  await throughSockets(berthCalls(cluster, pods, 'DEL', 0, 60));
  let used = 100;
  for (let round = 0; round < ROUNDS; round += 1) {
    const first = used;
    used += FAST + PROCESSES;
    await take('create', FAST, async () => ({ round: await raw.run(CALLERS, FAST), failures: [] }));
    for (const command of ['ADD', 'DEL'] as const) {
      const name = command === 'ADD' ? 'add' : 'del';
      await take(`berth ${name}`, FAST, () =>
        throughSockets(berthCalls(cluster, pods, command, first, FAST)),
      );
    }
    for (const command of ['ADD', 'DEL'] as const) {
      const calls = berthCalls(cluster, pods, command, first + FAST, PROCESSES).map(({ call }) => call);
      const name = command === 'ADD' ? 'add' : 'del';
      await take(`berth ${name}, processes`, PROCESSES, () => launch(artefacts.binary, calls, CALLERS));
    }
    for (const command of ['ADD', 'DEL'] as const) {
      const calls = whereabouts.calls(command, pods, first, SLOW);
      const name = command === 'ADD' ? 'add' : 'del';
      await take(`whereabouts ${name}, processes`, SLOW, () => launch(whereabouts.binary, calls, CALLERS));
    }
    await take('host-local add, processes', PROCESSES, () =>
      launch(hostLocal, hostLocalCalls(dataDir, 'ADD', first, PROCESSES), CALLERS),
    );
    await raw.clean();
    say(`peers: round ${round + 1} of ${ROUNDS} done`);
  }
  await agentApi.close();

  const creates = subjects.get('create')?.rounds;
  const rows: PeerRow[] = [...subjects].map(([name, { rounds, calls, failures, requests }]) => ({
    ...summarise(name, CALLERS, rounds, name.startsWith('host-local') ? undefined : creates),
    calls,
    failures,
    requests: name.startsWith('host-local') ? null : Number((requests / calls).toFixed(2)),
  }));
  const between = (a: Subject, b: Subject, value: 'rate' | 'p99Ms'): number => {
    const [ours, theirs] = [subjects.get(a)?.rounds ?? [], subjects.get(b)?.rounds ?? []];
    return Number(median(ours.map((r, i) => r[value] / (theirs[i]?.[value] ?? Number.NaN))).toPrecision(3));
  };
  const left = { berth: (await cluster.reservations()).size, whereabouts: await whereabouts.inUse() };
  const ratios = {
    socketRate: between('berth add', 'whereabouts add, processes', 'rate'),
    processRate: between('berth add, processes', 'whereabouts add, processes', 'rate'),
    socketP99: between('berth add', 'whereabouts add, processes', 'p99Ms'),
    processP99: between('berth add, processes', 'whereabouts add, processes', 'p99Ms'),
  };
  table([
    ['', 'rate/s', 'p50 ms', 'p99 ms', 'lowest to highest/s', 'requests', 'failures'],
    ...rows.map((r) => [
      r.name,
      r.rate,
      r.p50_ms,
      r.p99_ms,
      r.spread.join(' to '),
      r.requests ?? '-',
      `${r.failures} of ${r.calls}`,
    ]),
  ]);
  say(
    `Berth to Whereabouts, medians of the rounds' ratios: rate ${ratios.socketRate} through the socket, ${ratios.processRate} as processes; p99 ${ratios.socketP99} and ${ratios.processP99}`,
  );
  say(
    `left in use after every DEL: Berth ${left.berth}, Whereabouts ${left.whereabouts.allocations} (${left.whereabouts.reservations} reservations)`,
  );
  const file = join(outDirectory(), 'peers.json');
  writeFileSync(
    file,
    `${JSON.stringify({ ...circumstances(), callers: CALLERS, rows, ratios, left }, undefined, 2)}\n`,
  );
  say(`written to ${file}`);
}

const directory = await resolveWhereabouts();
const plugins = await resolveCniPlugins();
mkdirSync(outDirectory(), { recursive: true });
pinThisProcess();
const dataDir = mkdtempSync(join(tmpdir(), 'berth-bench-peers-'));
const cluster = await startBenchCluster({ name: 'peers', nodes: NODES });
try {
  const whereabouts = await Whereabouts.install(directory, cluster.controlPlane);
  await run(cluster, whereabouts, join(plugins.directory, 'host-local'), dataDir);
} finally {
  await cluster.stop();
  rmSync(dataDir, { recursive: true });
}
