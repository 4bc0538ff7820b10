/**
 * A thousand nodes: what their agents cost the API server and each other when all of them start at once, when nothing happens
 * on them while others' pods come, and when their own pods come at once.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { requestDifference } from '../e2e/controlplane/metrics.ts';
import { type Cluster, podCall, type TestPod } from '../e2e/harness/cluster.ts';
import { inParallel } from '../e2e/harness/parallel.ts';
import { connect } from '../kube/client.ts';
import { measure } from './load.ts';
import type { AgentPlace, Started } from './manyagents.ts';
import { createPods, nodeWithoutAgent, progressOf, ROUNDS, say, scaled, startBenchCluster } from './setup.ts';
import { SocketClient } from './socketclient.ts';
import { percentile, type Round, type Row, summarise } from './stats.ts';
import { AgentCalls, assertSuccess, RawCreates } from './subjects.ts';
import { bytesBetween, connectionsTo } from './traffic.ts';
import { cpuMs, rssMb } from './usage.ts';

const NODES = scaled(1_000);
const BUSY = 'busy';
const CALLERS = 100;
/** While the agents of the many have nothing to do. */
const PER_SECOND = 100;
const IDLE_SECONDS = scaled(30);

export interface ManyNodesResult {
  readonly nodes: number;
  /** From the start of all agents until half of them, and the last, served. */
  readonly startSeconds: { readonly half: number; readonly last: number };
  /** API requests of each agent's start, besides its watches, and the API server's CPU for it. */
  readonly startRequests: number;
  readonly startApiServerCpuMs: number;
  /** More of the API server's memory for each agent; what an agent takes beside the process that all share. */
  readonly apiServerMbPerAgent: number;
  readonly agentMb: number;
  /** What an idle agent receives a minute while another one makes that many ADDs a second, and its CPU. */
  readonly addsPerSecond: number;
  readonly idleBytesPerMinute: number;
  readonly idleCpuMsPerMinute: number;
  /** ADDs of pods that are spread over all nodes, beside raw creates. */
  readonly rows: readonly Row[];
}

/** @throws Error if an operation fails */
export async function measureManyNodes(): Promise<ManyNodesResult> {
  const cluster = await startBenchCluster({ name: 'many', nodes: [BUSY] });
  try {
    await cluster.createPool('bench', { subnet: '10.0.0.0/8', cooldown: '0s' });
    say(`many nodes: making ${NODES} nodes and their agents' tokens`);
    const places = await makeNodes(cluster);
    // Some 4 MB an agent: more than node's own limit, and most of it is not garbage.
    const execArgv = ['--max-old-space-size=12288'];
    const child = fork(join(import.meta.dirname, 'manyagents.ts'), { stdio: 'inherit', execArgv });
    try {
      return await measureAgents(cluster, child, places);
    } finally {
      // One that has died is neither told nor waited for.
      if (child.connected) {
        const ended = once(child, 'exit');
        child.disconnect();
        await ended;
      }
    }
  } finally {
    await cluster.stop();
  }
}

function makeNodes(cluster: Cluster): Promise<AgentPlace[]> {
  const { directory } = cluster;
  const progress = progressOf('nodes', NODES);
  const names = Array.from({ length: NODES }, (_, i) => `many-${i}`);
  return inParallel(16, names, async (node) => {
    const { kubeconfig } = await nodeWithoutAgent(cluster, node);
    progress();
    return { node, kubeconfig, socket: join(directory, `${node}.sock`), stateDir: join(directory, node) };
  });
}

async function measureAgents(
  cluster: Cluster,
  child: ChildProcess,
  places: readonly AgentPlace[],
): Promise<ManyNodesResult> {
  const pid = child.pid ?? 0;
  const server = cluster.controlPlane.apiServerPid;
  const empty = { agents: rssMb(pid), server: rssMb(server), cpu: cpuMs(server) };
  const counted = await cluster.controlPlane.countRequests();
  child.send(places);
  const ms = await Promise.race([once(child, 'message').then(([told]) => (told as Started).ms), died(child)]);
  const requests = requestDifference(counted, await cluster.controlPlane.countRequests());
  const started = { agents: rssMb(pid), server: rssMb(server), cpu: cpuMs(server) };
  say(`many nodes: all serve after ${(Math.max(...ms) / 1000).toFixed(1)} s`);
  const idle = await measureIdle(cluster, pid);
  return {
    nodes: NODES,
    startSeconds: { half: seconds(percentile(ms, 0.5)), last: seconds(Math.max(...ms)) },
    startRequests: Number((requests.reduce((sum, { count }) => sum + count, 0) / NODES).toFixed(1)),
    startApiServerCpuMs: Math.round((started.cpu - empty.cpu) / NODES),
    apiServerMbPerAgent: Number(((started.server - empty.server) / NODES).toFixed(2)),
    agentMb: Number(((started.agents - empty.agents) / NODES).toFixed(2)),
    ...idle,
    rows: await measureAdds(cluster, places),
  };
}

async function died(child: ChildProcess): Promise<never> {
  await once(child, 'exit');
  throw new Error(`the process of the agents ended with ${child.exitCode ?? child.signalCode}: see above`);
}

async function measureIdle(
  cluster: Cluster,
  pid: number,
): Promise<Pick<ManyNodesResult, 'addsPerSecond' | 'idleBytesPerMinute' | 'idleCpuMsPerMinute'>> {
  const pod = await cluster.createPod(BUSY, 'busy');
  const calls = new AgentCalls(cluster.agent(BUSY), [pod]);
  const port = Number(new URL(cluster.controlPlane.url).port);
  const operations = PER_SECOND * IDLE_SECONDS;
  await calls.run(8, scaled(200));
  say(`many nodes: ${operations} ADDs on another one, ${PER_SECOND} a second`);
  const [begun, before, cpu] = [performance.now(), connectionsTo(port), cpuMs(pid)];
  const { rate } = await calls.addAtRate(PER_SECOND, operations);
  const minutes = (performance.now() - begun) / 60_000;
  const { received } = bytesBetween(before, connectionsTo(port), pid);
  return {
    addsPerSecond: Math.round(rate),
    idleBytesPerMinute: Math.round(received / NODES / minutes),
    idleCpuMsPerMinute: Math.round((cpuMs(pid) - cpu) / NODES / minutes),
  };
}

/** One pod on each node; rounds of an ADD for each of them, and as many raw creates. */
async function measureAdds(cluster: Cluster, places: readonly AgentPlace[]): Promise<Row[]> {
  const names = places.map(({ node }) => node);
  const pods = await createPods(cluster, places.length, names, 'pod');
  const kubeconfig = cluster.agent(BUSY).kubeconfig;
  const api = await connect({ kubeconfig, userAgent: 'berth-bench', connections: CALLERS });
  const raw = await RawCreates.in(cluster, api, await cluster.createPod(BUSY, 'raw'), 'raw');
  const rounds: Record<'create' | 'add', Round[]> = { create: [], add: [] };
  const call = (command: 'ADD' | 'DEL', pod: TestPod, place: AgentPlace): Promise<void> =>
    new SocketClient(place.socket).call(podCall(command, pod, ipam(place))).then(assertSuccess);
  const all = (command: 'ADD' | 'DEL'): Promise<Round> =>
    measure(CALLERS, pods.length, async (index) => {
      const [pod, place] = [pods[index], places[index]];
      if (pod !== undefined && place !== undefined) await call(command, pod, place);
    });
  for (let round = 0; round < ROUNDS; round += 1) {
    rounds.create.push(await raw.run(CALLERS, pods.length));
    rounds.add.push(await all('ADD'));
    await all('DEL');
    await raw.clean();
    say(`many nodes: round ${round + 1} of ${ROUNDS} done`);
  }
  await api.close();
  return [
    { ...summarise('create', CALLERS, rounds.create), ratio: 1 },
    summarise('add/agent', CALLERS, rounds.add, rounds.create),
  ];
}

function ipam({ socket, stateDir }: AgentPlace): Record<string, unknown> {
  return { type: 'berth', socket, stateDir, pools: ['bench'] };
}

function seconds(ms: number): number {
  return Number((ms / 1000).toFixed(1));
}
