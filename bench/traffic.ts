/**
 * Bytes between agents and the API server, as the kernel counts them on their connections: for each ADD of a busy agent, and
 * what nine others, which have nothing to do, receive meanwhile.
 */
import { execFileSync } from 'node:child_process';
import { requestDifference } from '../e2e/controlplane/metrics.ts';
import type { Cluster } from '../e2e/harness/cluster.ts';
import { createPods, say, scaled, startBenchCluster } from './setup.ts';
import { median } from './stats.ts';
import { AgentCalls } from './subjects.ts';

const NODES: readonly string[] = Array.from({ length: 10 }, (_, i) => `node-${i}`);
const BUSY = 'node-0';
const PER_SECOND = 100;
const OPERATIONS = scaled(6_000);
const PODS = 50;

/** TCP payload in both directions, TLS included. */
interface Bytes {
  readonly sent: number;
  readonly received: number;
}

export interface TrafficResult {
  readonly addsPerSecond: number;
  readonly seconds: number;
  /** Of the busy agent, for each ADD. */
  readonly bytesPerAdd: Bytes;
  /** What each of the others received, a minute: their median, and the most. */
  readonly idleBytesPerMinute: { readonly median: number; readonly most: number };
  /** Writes of the pool's status meanwhile, each of which every agent receives. */
  readonly poolWrites: number;
}

/** One connection, by its own end's address. */
export type Connections = ReadonlyMap<string, Bytes & { readonly pid: number }>;

/** The connections to a port of this machine. @throws Error if ss (iproute2) is not there */
export function connectionsTo(port: number): Connections {
  const filter = ['state', 'established', 'dport', `= :${port}`];
  // Half a kilobyte for each: a thousand agents are more than the megabyte that there is unless told.
  const options = { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 } as const;
  return parseConnections(execFileSync('ss', ['-HOtinp', ...filter], options));
}

/** The output of `ss -HOtinp state established`, one line a connection. */
export function parseConnections(text: string): Connections {
  const all = new Map<string, Bytes & { pid: number }>();
  for (const line of text.split('\n')) {
    const local = line.trim().split(/\s+/)[2];
    const pid = /\bpid=(\d+)/.exec(line)?.[1];
    if (local === undefined || pid === undefined) continue;
    // Absent while it is 0.
    const count = (name: string): number => Number(new RegExp(`\\b${name}:(\\d+)`).exec(line)?.[1] ?? 0);
    all.set(local, { pid: Number(pid), sent: count('bytes_sent'), received: count('bytes_received') });
  }
  return all;
}

/** What a process has sent and received between two looks, over the connections that it has at the second. */
export function bytesBetween(before: Connections, after: Connections, pid: number): Bytes {
  let [sent, received] = [0, 0];
  for (const [local, bytes] of after) {
    if (bytes.pid !== pid) continue;
    sent += bytes.sent - (before.get(local)?.sent ?? 0);
    received += bytes.received - (before.get(local)?.received ?? 0);
  }
  return { sent, received };
}

/** @throws Error if an operation fails */
export async function measureTraffic(): Promise<TrafficResult> {
  const cluster = await startBenchCluster({ name: 'traffic', nodes: NODES });
  try {
    return await measure(cluster);
  } finally {
    await cluster.stop();
  }
}

async function measure(cluster: Cluster): Promise<TrafficResult> {
  // It is three quarters full at the end: from half on, the operator publishes hints, which are what costs idle agents most.
  const addresses = Math.ceil((OPERATIONS * 4) / 3);
  const ranges = [`10.0.0.1-10.0.${addresses >> 8}.${addresses & 255}`];
  await cluster.createPool('bench', { subnet: '10.0.0.0/16', ranges, cooldown: '0s' });
  const pods = await createPods(cluster, PODS, [BUSY]);
  const calls = new AgentCalls(cluster.agent(BUSY), pods);
  const port = Number(new URL(cluster.controlPlane.url).port);
  // The connections that it keeps are made.
  await calls.run(8, scaled(200));
  say(`traffic: ${OPERATIONS} ADDs, ${PER_SECOND} a second`);
  const counted = await cluster.controlPlane.countRequests();
  const [begun, before] = [performance.now(), connectionsTo(port)];
  const { rate } = await calls.addAtRate(PER_SECOND, OPERATIONS);
  const [seconds, after] = [(performance.now() - begun) / 1000, connectionsTo(port)];
  const writes = requestDifference(counted, await cluster.controlPlane.countRequests()).filter(
    ({ resource, subresource }) => resource === 'ippools' && subresource === 'status',
  );
  const of = (node: string): Bytes => bytesBetween(before, after, cluster.agent(node).program.pid);
  const busy = of(BUSY);
  const idle = NODES.filter((node) => node !== BUSY).map((node) =>
    Math.round((of(node).received * 60) / seconds),
  );
  return {
    addsPerSecond: Math.round(rate),
    seconds: Math.round(seconds),
    bytesPerAdd: {
      sent: Math.round(busy.sent / OPERATIONS),
      received: Math.round(busy.received / OPERATIONS),
    },
    idleBytesPerMinute: { median: median(idle), most: Math.max(...idle) },
    poolWrites: writes.reduce((sum, { count }) => sum + count, 0),
  };
}
