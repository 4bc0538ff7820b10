/**
 * A thousand pods on ten nodes get their addresses at once: from a pool with room; from one of exactly as many addresses; and
 * from the same again while each old pod's DEL comes at the same time, so that only released addresses are left, which
 * rest for 30 s.
 */
import { requestDifference } from '../e2e/controlplane/metrics.ts';
import { type Cluster, podCall, type TestPod } from '../e2e/harness/cluster.ts';
import { codeOf } from '../e2e/harness/cni.ts';
import { onTheirNodes } from '../e2e/harness/parallel.ts';
import { createPods, say, scaled, startBenchCluster } from './setup.ts';
import { percentile } from './stats.ts';

const NODES: readonly string[] = Array.from({ length: 10 }, (_, i) => `node-${i}`);
const PODS = scaled(1_000);
/** ADDs that each agent has in hand at the same time. */
const CALLERS = 8;
/** Milliseconds after which a runtime tries a failed ADD again, and how long it does. */
const RETRY_MS = 1_000;
const PATIENCE_MS = 60_000;

export interface CrowdRow {
  readonly name: 'fill' | '1:1 fill' | '1:1 rebuild';
  readonly pods: number;
  readonly seconds: number;
  /** ADDs whose first try failed, and those that failed for good. */
  readonly failedFirst: number;
  readonly failed: number;
  /** Of an ADD until it had succeeded, tries included. */
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly slowest_ms: number;
  /** The longest that retries took, from the first failure until the ADD had succeeded; 0: none failed. */
  readonly slowestRetried_ms: number;
  /** API requests for reservations, of all kinds, for each ADD; a rebuild's include one for each DEL. */
  readonly requestsPerAdd: number;
}

interface Start {
  readonly ms: number;
  /** Milliseconds of `ms` since the first failure; 0: the first try was the last. */
  readonly retriedMs: number;
  readonly code: number;
}

export async function measureCrowd(): Promise<CrowdRow[]> {
  const cluster = await startBenchCluster({ name: 'crowd', nodes: NODES });
  try {
    await cluster.createPool('roomy', { subnet: '10.2.0.0/16', cooldown: '0s' });
    // 10.1.0.1 and as many after it as there are pods.
    const last = PODS;
    const ranges = [`10.1.0.1-10.1.${last >> 8}.${last & 255}`];
    await cluster.createPool('exact', { subnet: '10.1.0.0/20', ranges, cooldown: '30s' });
    const add = (pods: readonly TestPod[], pool: string): Promise<Start[]> =>
      onTheirNodes(CALLERS, NODES, pods, (pod) => start(cluster, pod, pool));
    const del = (pods: readonly TestPod[], pool: string): Promise<number[]> =>
      onTheirNodes(CALLERS, NODES, pods, (pod) => call(cluster, 'DEL', pod, pool));

    const old = await createPods(cluster, PODS, NODES, 'old');
    const roomy = await measure(cluster, 'fill', () => add(old, 'roomy'));
    await del(old, 'roomy');
    const fill = await measure(cluster, '1:1 fill', () => add(old, 'exact'));
    await cluster.whenPool('exact', 'the operator tells which addresses are taken', ({ status }) => {
      return status?.occupancy !== undefined && status.bound === String(PODS - fill.failed);
    });
    const young = await createPods(cluster, PODS, NODES, 'young');
    const rebuild = await measure(cluster, '1:1 rebuild', async () => {
      const [started] = await Promise.all([add(young, 'exact'), del(old, 'exact')]);
      return started;
    });
    return [roomy, fill, rebuild];
  } finally {
    await cluster.stop();
  }
}

async function call(cluster: Cluster, command: 'ADD' | 'DEL', pod: TestPod, pool: string): Promise<number> {
  const agent = cluster.agent(pod.node);
  return codeOf(await agent.call(podCall(command, pod, agent.ipam({ pools: [pool] }))));
}

/** As a runtime does: the same ADD again after a second. */
async function start(cluster: Cluster, pod: TestPod, pool: string): Promise<Start> {
  const began = performance.now();
  let failed: number | undefined;
  while (true) {
    const code = await call(cluster, 'ADD', pod, pool);
    const now = performance.now();
    const ms = now - began;
    if (code === 0 || ms > PATIENCE_MS) return { ms, retriedMs: now - (failed ?? now), code };
    failed ??= now;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function measure(
  cluster: Cluster,
  name: CrowdRow['name'],
  work: () => Promise<Start[]>,
): Promise<CrowdRow> {
  const before = await cluster.controlPlane.countRequests();
  const began = performance.now();
  const starts = await work();
  const seconds = (performance.now() - began) / 1000;
  const requests = requestDifference(before, await cluster.controlPlane.countRequests())
    .filter(({ verb, resource }) => resource === 'ipreservations' && verb !== 'WATCH')
    .reduce((sum, { count }) => sum + count, 0);
  const times = starts.map(({ ms }) => ms);
  const row: CrowdRow = {
    name,
    pods: starts.length,
    seconds: Number(seconds.toFixed(1)),
    failedFirst: starts.filter(({ retriedMs, code }) => retriedMs > 0 || code !== 0).length,
    failed: starts.filter(({ code }) => code !== 0).length,
    p50_ms: Math.round(percentile(times, 0.5)),
    p99_ms: Math.round(percentile(times, 0.99)),
    slowest_ms: Math.round(Math.max(...times)),
    slowestRetried_ms: Math.round(Math.max(...starts.map(({ retriedMs }) => retriedMs))),
    requestsPerAdd: Number((requests / starts.length).toFixed(2)),
  };
  say(`crowd: ${name} of ${row.pods} pods took ${row.seconds} s`);
  return row;
}
