/** The check of an installation on a real API server, with the rights of the chart; what the controllers do is played. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ipPools } from '../crds/resources.ts';
import { agentToken } from '../e2e/controlplane/agentidentity.ts';
import { resolveHelm } from '../e2e/controlplane/assets.ts';
import { type ControlPlane, startControlPlane } from '../e2e/controlplane/controlplane.ts';
import { run } from '../e2e/controlplane/run.ts';
import { connect, type RestApi } from '../kube/client.ts';
import { systemClock } from '../kube/clock.ts';
import { nodes } from '../kube/core.ts';
import { isApiError } from '../kube/errors.ts';
import { silentLog } from '../kube/log.ts';
import { daemonSets, deployments } from './kinds.ts';
import { verify } from './verify.ts';

const namespace = 'berth-system';
const stop = new AbortController();

let controlPlane: ControlPlane;
let admin: RestApi;
/** With the token of the pod that `helm test` starts. */
let api: RestApi;

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: 'verify' });
  admin = await connect({ kubeconfig: controlPlane.kubeconfig, userAgent: 'berth-test' });
  await admin.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' } });
  const chart = join(import.meta.dirname, '../charts/berth');
  const rendered = await run(await resolveHelm(), ['template', 'berth', chart, '--namespace', namespace]);
  await controlPlane.kubectl(['apply', '--server-side', '-f', '-'], rendered);
  await controlPlane.kubectl(['wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all']);
  const token = await agentToken(controlPlane, { node: 'node-1', serviceAccount: 'berth-verify' });
  api = await connect({
    kubeconfig: await controlPlane.tokenKubeconfig('verify', token),
    userAgent: 'berth-verify-test',
  });
});

afterAll(async () => {
  stop.abort();
  await api?.close();
  await admin?.close();
  await controlPlane?.stop();
});

const check = (timeoutMs: number): Promise<void> =>
  verify({ api, clock: systemClock, log: silentLog, signal: stop.signal, namespace, timeoutMs });

async function agentsReady(numberReady: number): Promise<void> {
  const agents = await admin.get(daemonSets, { namespace, name: 'berth-agent' });
  const counts = { currentNumberScheduled: 2, numberMisscheduled: 0, observedGeneration: 1 };
  const status = { ...counts, desiredNumberScheduled: 2, numberReady };
  await admin.update(daemonSets, { ...agents, status }, { subresource: 'status' });
}

/** Waits for the pool and says of it what an operator would. */
async function poolIsReady(status: 'True' | 'False', message: string): Promise<void> {
  for (;;) {
    try {
      const pool = await admin.get(ipPools, { name: 'berth-verify' });
      const lastTransitionTime = '2026-01-31T10:00:00Z';
      const ready = { type: 'Ready', status, reason: 'Played', message, lastTransitionTime };
      await admin.update(ipPools, { ...pool, status: { conditions: [ready] } }, { subresource: 'status' });
      return;
    } catch (error) {
      if (!isApiError(error, 'NotFound', 'Throttled')) throw error;
      await systemClock.sleep(50, stop.signal);
    }
  }
}

/** How many pools there are; kinds that were made a moment ago answer 429. */
async function pools(): Promise<number> {
  for (;;) {
    try {
      return (await admin.list(ipPools)).items.length;
    } catch (error) {
      if (!isApiError(error, 'Throttled', 'NotFound')) throw error;
      await systemClock.sleep(50, stop.signal);
    }
  }
}

test('an agent that is not ready is a failure that says how many are, and no pool is made', async () => {
  await agentsReady(1);
  await expect(check(1_000)).rejects.toThrow(
    'every node has an agent that is ready: 1 of 2 agents are ready',
  );
  expect(await pools()).toBe(0);
});

test('so is an operator that is not there', async () => {
  await agentsReady(2);
  await expect(check(1_000)).rejects.toThrow('an operator is ready: no operator is ready');
});

test('a pool that does not become Ready is a failure with the operator’s reason, and is taken away', async () => {
  const operator = await admin.get(deployments, { namespace, name: 'berth-operator' });
  await admin.update(
    deployments,
    { ...operator, status: { replicas: 1, readyReplicas: 1 } },
    { subresource: 'status' },
  );
  await Promise.all([
    expect(check(3_000)).rejects.toThrow('a new pool becomes Ready: something is wrong'),
    poolIsReady('False', 'something is wrong'),
  ]);
  expect(await pools()).toBe(0);
});

test('where all that works it succeeds, and leaves nothing behind', async () => {
  await Promise.all([check(60_000), poolIsReady('True', 'fine')]);
  expect(await pools()).toBe(0);
});
