/**
 * An API server that throttles, and one that is away: ADDs are told to come again, DELs are promised, nobody storms,
 * and all is well soon after. Agents, operator and API server are real; so is what throttles (priority and fairness).
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BINARY_DEADLINE_MS } from '../plugin/protocol.ts';
import { SYSTEM_NAMESPACE } from './controlplane/identity.ts';
import {
  addressesOf,
  type Cluster,
  type NodeAgent,
  podCall,
  startCluster,
  type TestPod,
} from './harness/cluster.ts';
import { type CniOutcome, codeOf } from './harness/cni.ts';
import { waitFor } from './harness/wait.ts';

const NODES = ['node-1', 'node-2'] as const;
const PODS = 20;
/** Milliseconds after which everything must be as it should (issue: a minute). */
const CONVERGED_WITHIN_MS = 60_000;
/** Pods whose ADD is tried again and again meanwhile, at the same time. */
const WAITING = 10;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    name: 'overload',
    nodes: NODES,
    // As long as takeTheOnlySeat must hold it, on any machine.
    apiServerFlags: ['--request-timeout=10m'],
  });
  await cluster.createPool('v4', { subnet: '10.1.0.0/20', default: true, cooldown: '0s' });
});

afterAll(() => cluster?.stop());

function agentOf(pod: TestPod): NodeAgent {
  return cluster.agent(pod.node);
}

async function call(command: 'ADD' | 'DEL', pod: TestPod): Promise<CniOutcome> {
  const agent = agentOf(pod);
  const started = performance.now();
  const outcome = await agent.call(podCall(command, pod, agent.ipam()));
  // The binary gives up then: this is the contract, not a measure of speed.
  expect(performance.now() - started).toBeLessThan(BINARY_DEADLINE_MS);
  return outcome;
}

async function newPods(prefix: string, count: number): Promise<TestPod[]> {
  const pods: TestPod[] = [];
  for (let i = 0; i < count; i += 1) {
    pods.push(await cluster.createPod(NODES[i % NODES.length] ?? 'node-1', `${prefix}-${i}`));
  }
  return pods;
}

/** Requests that the agents have made so far, whatever became of them. */
async function agentRequests(): Promise<number> {
  let all = 0;
  for (const agent of cluster.agents.values()) {
    const text = await agent.show('/metrics');
    for (const [, count] of text.matchAll(/^berth_agent_api_requests_total\{.*\} (\d+)$/gm))
      all += Number(count);
  }
  return all;
}

/** Requests that priority and fairness has turned away, of everybody. */
async function refused(): Promise<number> {
  let all = 0;
  for (const [, count] of (await cluster.controlPlane.metrics()).matchAll(
    /^apiserver_flowcontrol_rejected_requests_total\{.*priority_level="berth-throttled".*\} (\d+)$/gm,
  ))
    all += Number(count);
  return all;
}

/** The most that ten seconds in a row had in each; one second alone may have what a busy machine delivered late. */
function mostInTenSeconds(rates: readonly number[]): number {
  const means = rates
    .slice(0, Math.max(1, rates.length - 9))
    .map((_, from) => rates.slice(from, from + 10))
    .map((ten) => ten.reduce((sum, each) => sum + each, 0) / ten.length);
  return Math.max(...means);
}

/** Counts once a second while `work` runs. @returns how many more there were in each second */
async function perSecond(count: () => number | Promise<number>, work: Promise<unknown>): Promise<number[]> {
  const rates: number[] = [];
  let ended = false;
  const settled = work.finally(() => {
    ended = true;
  });
  let [before, at] = [await count(), performance.now()];
  while (!ended) {
    await Promise.race([sleep(1000), settled]);
    const [now, seconds] = [await count(), (performance.now() - at) / 1000];
    if (seconds >= 0.9) rates.push(Math.round((now - before) / seconds));
    [before, at] = [now, performance.now()];
  }
  await settled;
  return rates;
}

/** The pods' ADDs, tried again as a kubelet does, for so long. @returns the codes */
async function keepTrying(pods: readonly TestPod[], ms: number): Promise<Set<number>> {
  const codes = new Set<number>();
  const until = performance.now() + ms;
  await Promise.all(
    pods.map(async (pod) => {
      while (performance.now() < until) {
        codes.add(codeOf(await call('ADD', pod)));
        await sleep(1000);
      }
    }),
  );
  return codes;
}

/** All of `gone` have no address any more, all of `coming` get one, and no agent has anything left to do. */
async function converges(gone: readonly TestPod[], coming: readonly TestPod[]): Promise<void> {
  const until = performance.now() + CONVERGED_WITHIN_MS;
  const left = (): number => Math.max(1, until - performance.now());
  const given = new Map<string, string>();
  for (const pod of coming) {
    await waitFor(
      `pod ${pod.name} has an address`,
      async () => {
        const outcome = await call('ADD', pod);
        if (outcome.exitCode === 0) given.set(pod.uid, addressesOf(outcome)[0] ?? '');
        return outcome.exitCode === 0;
      },
      { timeoutMs: left(), everyMs: 500 },
    );
  }
  await waitFor(
    'the reservations are those of the pods, and nothing is pending',
    async () => {
      const all = [...(await cluster.reservations()).values()].map(({ spec }) => [
        spec.owner?.uid,
        spec.address,
      ]);
      const pending = await Promise.all(
        [...cluster.agents.values()].map(async (agent) => {
          const { releasing } = JSON.parse(await agent.show('/v1/attachments')) as { releasing: unknown[] };
          return releasing.length;
        }),
      );
      expect(pending).toEqual(pending.map(() => 0));
      expect(new Map(all as [string, string][])).toEqual(given);
      return true;
    },
    { timeoutMs: left(), everyMs: 500 },
  );
  for (const pod of gone) expect(codeOf(await call('DEL', pod))).toBe(0);
  for (const pod of coming) expect(codeOf(await call('DEL', pod))).toBe(0);
}

/**
 * A request of the operator's account whose body never comes. A priority level without seats serves one request while it
 * serves no other (k8s.io/apiserver queueset, canAccommodateSeatsLocked): this one, for as long as a request may take.
 * @returns what ends it
 */
async function takeTheOnlySeat(): Promise<() => void> {
  const { controlPlane } = cluster;
  const kubeconfig = await readFile(await controlPlane.userKubeconfig('berth-operator'), 'utf8');
  // Written by writeKubeconfig.
  const { users } = JSON.parse(kubeconfig) as { users: [{ user: { token: string } }] };
  const body = 'x'.repeat(1000);
  const outgoing = request(`${controlPlane.url}/api/v1/namespaces/default/events`, {
    method: 'POST',
    ca: await readFile(controlPlane.caFile),
    agent: false,
    headers: {
      authorization: `Bearer ${users[0].user.token}`,
      'content-type': 'application/json',
      'content-length': body.length,
    },
  });
  outgoing.on('error', () => undefined);
  outgoing.write(body.slice(1));
  return () => void outgoing.destroy();
}

const THROTTLED = {
  apiVersion: 'v1',
  kind: 'List',
  items: [
    {
      apiVersion: 'flowcontrol.apiserver.k8s.io/v1',
      kind: 'PriorityLevelConfiguration',
      metadata: { name: 'berth-throttled' },
      spec: {
        type: 'Limited',
        // No seat, and the one that is given all the same is taken: every request is answered with 429 and Retry-After.
        limited: {
          nominalConcurrencyShares: 0,
          lendablePercent: 0,
          borrowingLimitPercent: 0,
          limitResponse: { type: 'Reject' },
        },
      },
    },
    {
      apiVersion: 'flowcontrol.apiserver.k8s.io/v1',
      kind: 'FlowSchema',
      metadata: { name: 'berth-throttled' },
      spec: {
        matchingPrecedence: 2,
        priorityLevelConfiguration: { name: 'berth-throttled' },
        distinguisherMethod: { type: 'ByUser' },
        rules: [
          {
            subjects: ['berth-agent', 'berth-operator'].map((name) => ({
              kind: 'ServiceAccount',
              serviceAccount: { namespace: SYSTEM_NAMESPACE, name },
            })),
            resourceRules: [
              {
                verbs: ['*'],
                apiGroups: ['*'],
                resources: ['*'],
                clusterScope: true,
                namespaces: ['*'],
              },
            ],
          },
        ],
      },
    },
  ],
};

test('an API server that throttles: ADDs are 11, DELs are promised, few requests, and all is well within a minute', async () => {
  const gone = await newPods('throttled-gone', PODS);
  const orphans = await newPods('throttled-orphan', PODS);
  for (const pod of [...gone, ...orphans]) expect(codeOf(await call('ADD', pod))).toBe(0);
  const coming = await newPods('throttled-new', WAITING);
  await cluster.controlPlane.kubectl(['apply', '-f', '-'], JSON.stringify(THROTTLED));
  let leave = await takeTheOnlySeat();
  await waitFor('the API server throttles', async () => {
    const [pod] = coming as [TestPod, ...TestPod[]];
    const outcome = await call('ADD', pod);
    if (outcome.stdout.includes('429')) return true;
    // The level is not in force yet, or the seat was taken before it was.
    if (outcome.exitCode === 0) await call('DEL', pod);
    leave();
    leave = await takeTheOnlySeat();
    return false;
  });
  const before = await refused();

  // Pods whose DEL never comes: the operator has something to do, too.
  for (const pod of orphans) await cluster.deletePod(pod);
  const work = async (): Promise<Set<number>> => {
    for (const pod of gone) expect(codeOf(await call('DEL', pod))).toBe(0);
    return keepTrying(coming, 30_000);
  };
  const working = work();
  const [rates, codes] = [await perSecond(refused, working), await working];
  expect([...codes]).toEqual([11]);
  console.log(`429 answers in each second: ${rates.join(' ')}`);
  expect(await refused()).toBeGreaterThan(before);
  // 8 releases and 2 doubts an agent at a time, each ADD once a Retry-After, and what the operator asks.
  const most = NODES.length * 10 + WAITING + 10;
  expect(mostInTenSeconds(rates)).toBeLessThanOrEqual(most);

  leave();
  await cluster.controlPlane.kubectl(['delete', 'flowschema,prioritylevelconfiguration', 'berth-throttled']);
  for (const pod of orphans) expect(codeOf(await call('DEL', pod))).toBe(0);
  await converges(gone, coming);
}, 240_000);

test('an API server that is away: ADDs are 11, DELs are promised, few connections, and all is well within a minute', async () => {
  const gone = await newPods('away-gone', PODS);
  for (const pod of gone) expect(codeOf(await call('ADD', pod))).toBe(0);
  const coming = await newPods('away-new', WAITING);
  await cluster.controlPlane.killApiServer();
  let connections = 0;
  const hangsUp = createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  let requests: number[];
  try {
    // A killed process lets go of its port a moment later.
    await waitFor('the port is free', async () => {
      await once(hangsUp.listen(Number(new URL(cluster.controlPlane.url).port), '127.0.0.1'), 'listening');
      return true;
    });
    for (const pod of gone) expect(codeOf(await call('DEL', pod))).toBe(0);
    const working = keepTrying(coming, 60_000);
    const counted = perSecond(agentRequests, working);
    const connected = await perSecond(() => connections, working);
    requests = await counted;
    expect([...(await working)]).toEqual([11]);
    console.log(`requests of both agents in each second: ${requests.join(' ')}`);
    console.log(`connections of agents and operator in each second: ${connected.join(' ')}`);
    // An ADD looks once whether the API server is there again, for all who wait; watches and releases rest.
    expect(mostInTenSeconds(connected)).toBeLessThanOrEqual(NODES.length * 20 + WAITING);
    expect(mostInTenSeconds(requests)).toBeLessThanOrEqual(NODES.length * 20 + WAITING);
  } finally {
    hangsUp.close();
    await once(hangsUp, 'close');
  }
  await cluster.controlPlane.startApiServer();
  await converges(gone, coming);
}, 300_000);
