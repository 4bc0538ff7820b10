/** What all measurements have in common: how long, on which cores, and where they speak. */
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { agentToken } from '../e2e/controlplane/agentidentity.ts';
import { type Cluster, type ClusterOptions, startCluster, type TestPod } from '../e2e/harness/cluster.ts';
import { inParallel } from '../e2e/harness/parallel.ts';
import { nodes } from '../kube/core.ts';
import { CpuMeter } from './usage.ts';

/** BENCH_QUICK=1: a run of less than three minutes, to see that nothing has become much slower. Its spread means little. */
export const QUICK: boolean = process.env['BENCH_QUICK'] === '1';
export const ROUNDS: number = Number(process.env['BENCH_ROUNDS'] ?? (QUICK ? 2 : 5));
/** BENCH_SCALE: how many of the operations are made, to try a measurement out. */
const SCALE = Number(process.env['BENCH_SCALE'] ?? 1);
export const PINNED: boolean = process.env['BENCH_PINNED'] !== '0' && availableParallelism() >= 2;

/** So many operations, or fewer where BENCH_SCALE or BENCH_QUICK asks for it; at least ten. */
export function scaled(operations: number): number {
  return Math.max(10, Math.round(operations * SCALE * (QUICK ? 0.1 : 1)));
}

/** Where results go: BENCH_OUT, or `out/` beside this file. */
export function outDirectory(): string {
  return process.env['BENCH_OUT'] ?? join(import.meta.dirname, 'out');
}

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** This process goes to the second core, where agent and operator are. */
export function pinThisProcess(): void {
  if (PINNED) execFileSync('taskset', ['-a', '-c', '-p', '1', String(process.pid)], { stdio: 'ignore' });
}

/** A cluster with etcd and the API server on the first core and the programs on the second, unless BENCH_PINNED=0. */
export function startBenchCluster(options: Pick<ClusterOptions, 'name' | 'nodes'>): Promise<Cluster> {
  return startCluster({
    ...options,
    log: say,
    ...(PINNED && { apiServerCpus: '0', programCpus: '1' }),
  });
}

/** Pods with names of their own, one after the other on each of the nodes. @param on their names */
export function createPods(
  cluster: Cluster,
  count: number,
  on: readonly string[] = ['node-1'],
  name = 'bench',
): Promise<[TestPod, ...TestPod[]]> {
  const numbers = Array.from({ length: count }, (_, i) => i);
  const pods = inParallel(16, numbers, (i) => cluster.createPod(on[i % on.length] ?? '', `${name}-${i}`));
  return pods.then(([first, ...rest]) => {
    if (first === undefined) throw new Error('no pods');
    return [first, ...rest];
  });
}

/** A node that has no agent, with what its agent would have: reservations of its pods are nothing that an agent looks after. */
export async function nodeWithoutAgent(
  { api, controlPlane }: Cluster,
  node: string,
): Promise<{ readonly node: string; readonly kubeconfig: string }> {
  await api.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: node } });
  const kubeconfig = await controlPlane.tokenKubeconfig(
    `agent-${node}`,
    await agentToken(controlPlane, { node }),
  );
  return { node, kubeconfig };
}

/** The shares of a whole that `work` is done for, one progress line for each tenth. */
export function progressOf(what: string, total: number): () => void {
  let done = 0;
  let said = 0;
  return () => {
    done += 1;
    const tenth = Math.floor((10 * done) / total);
    if (tenth === said) return;
    said = tenth;
    say(`${what}: ${done} of ${total}`);
  };
}

/** A meter of everything that takes part in an ADD of the agent with that pid. */
export function meterOf({ operator, controlPlane }: Cluster, agent: number): CpuMeter {
  return new CpuMeter({
    agent,
    operator: operator.pid,
    apiServer: controlPlane.apiServerPid,
    etcd: controlPlane.etcdPid,
  });
}
