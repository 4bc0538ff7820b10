/**
 * Credentials that change while agents and operator run: tokens in a kubeconfig and in the files of a service account, a
 * client certificate in files, and the API server's certificate with its authority. Each time in the worst order: the old one
 * is refused before the new one is there. No process is restarted.
 */
import { mkdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { ipPools } from '../crds/resources.ts';
import { connect } from '../kube/client.ts';
import { isApiError } from '../kube/errors.ts';
import { agentToken } from './controlplane/agentidentity.ts';
import { type Certificate, selfSignedCertificate } from './controlplane/certificate.ts';
import { SYSTEM_NAMESPACE } from './controlplane/identity.ts';
import { type Cluster, NodeAgent, podCall, startCluster, type TestPod } from './harness/cluster.ts';
import { codeOf } from './harness/cni.ts';
import { isReady } from './harness/ready.ts';
import { waitFor } from './harness/wait.ts';

/** Credentials are read again every 30 s, watches are begun anew after a minute at most, and the machine may be busy. */
const WITHIN = { timeoutMs: 300_000, everyMs: 500 };
/** Where a container finds its service account's files. */
const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const OPERATOR = `system:serviceaccount:${SYSTEM_NAMESPACE}:berth-operator`;

vi.setConfig({ testTimeout: 600_000, hookTimeout: 300_000 });

let cluster: Cluster;
/** Its credentials are in a kubeconfig. */
let outside: NodeAgent;
/** Its credentials are in the files of a service account, as in a container. */
let inside: NodeAgent;
/** The directory of those files. */
let account = '';
let mounts = 0;

/** The token in a kubeconfig by `tokenKubeconfig`. */
async function tokenIn(kubeconfig: string): Promise<string> {
  const { users } = JSON.parse(await readFile(kubeconfig, 'utf8')) as {
    users: [{ user: { token: string } }];
  };
  return users[0].user.token;
}

/** Puts the files there as a kubelet does: in a new directory, to which one link is turned. */
async function mountAccount(token: string): Promise<void> {
  mounts += 1;
  const directory = `..mount-${mounts}`;
  await mkdir(join(account, directory));
  await writeFile(join(account, directory, 'token'), token);
  await writeFile(join(account, directory, 'ca.crt'), await readFile(cluster.controlPlane.caFile));
  await writeFile(join(account, directory, 'namespace'), SYSTEM_NAMESPACE);
  await symlink(directory, join(account, '..data.new'));
  await rename(join(account, '..data.new'), join(account, '..data'));
}

beforeAll(async () => {
  cluster = await startCluster({ name: 'rotation', nodes: ['node-1', 'node-2'] });
  await cluster.createPool('v4', { subnet: '10.1.0.0/24', default: true, cooldown: '0s' });
  outside = cluster.agent('node-1');
  const { kubeconfig, program } = cluster.agent('node-2');
  await program.stop();
  const directory = join(cluster.directory, 'inside');
  account = join(directory, 'account');
  await mkdir(account, { recursive: true });
  for (const file of ['token', 'ca.crt', 'namespace']) {
    await symlink(join('..data', file), join(account, file));
  }
  await mountAccount(await tokenIn(kubeconfig));
  const container = `mount -t tmpfs none /var/run && mkdir -p ${ACCOUNT} && mount --bind "$1" ${ACCOUNT} && shift && exec "$@"`;
  const mounting = ['unshare', '--mount', '--propagation=private', 'sh', '-c', container, 'sh', account];
  const { hostname, port } = new URL(cluster.controlPlane.url);
  inside = new NodeAgent('node-2', directory, undefined, {
    wrapper: [...mounting, 'env', `KUBERNETES_SERVICE_HOST=${hostname}`, `KUBERNETES_SERVICE_PORT=${port}`],
  });
  await inside.program.start();
  await waitFor('it knows the pool', async () => (await inside.readyPools()).includes('v4'));
});

afterAll(async () => {
  await inside?.program.stop();
  await cluster?.stop();
});

/** Codes of all ADDs so far. */
const codes = new Set<number>();

afterEach(() => {
  // An ADD may fail with "try again later" alone.
  expect([...codes].filter((code) => code !== 0 && code !== 11)).toEqual([]);
});

/** Whether the ADD succeeds. */
async function added(agent: NodeAgent, pod: TestPod): Promise<boolean> {
  const code = codeOf(await agent.call(podCall('ADD', pod, agent.ipam())));
  codes.add(code);
  return code === 0;
}

async function remove(agent: NodeAgent, pod: TestPod): Promise<void> {
  expect(codeOf(await agent.call(podCall('DEL', pod, agent.ipam())))).toBe(0);
}

/** Deletes the pod that a token is bound to, and waits until the API server takes the token no more. */
async function revoke(pod: string, token: string): Promise<void> {
  await cluster.deletePod({ namespace: SYSTEM_NAMESPACE, name: pod });
  const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
  const path = '/apis/authentication.k8s.io/v1/selfsubjectreviews';
  const isRefused = async (): Promise<boolean> =>
    (await cluster.controlPlane.post(path, review, token)).status === 401;
  await waitFor(`the token of ${pod} is refused`, isRefused, WITHIN);
}

async function createPool(name: string, subnet: string): Promise<void> {
  await cluster.api.create(ipPools, {
    apiVersion: 'ipam.berth.dev/v1alpha1',
    kind: 'IPPool',
    metadata: { name },
    spec: { subnet },
  });
}

async function whenReady(name: string): Promise<void> {
  await waitFor(
    `pool ${name} is Ready`,
    async () => isReady(await cluster.api.get(ipPools, { name })),
    WITHIN,
  );
}

/** Makes a pool, which the operator cannot make Ready with what it has; it can once `cure` is done. */
async function operatorRecovers(pool: string, subnet: string, cure: () => Promise<void>): Promise<void> {
  const { operator } = cluster;
  const { pid } = operator;
  const before = operator.log().length;
  await createPool(pool, subnet);
  await waitFor('it is refused', () => operator.log().slice(before).includes('Unauthorized'), WITHIN);
  await cure();
  await whenReady(pool);
  expect(operator.isRunning).toBe(true);
  expect(operator.pid).toBe(pid);
}

test.each(['a kubeconfig', 'the files of a service account'])(
  'an agent whose token is revoked promises every DEL, and goes on when %s has a new one',
  async (place) => {
    const { controlPlane } = cluster;
    const agent = place === 'a kubeconfig' ? outside : inside;
    const { node } = agent;
    const { pid } = agent.program;
    const [first, second] = [
      await cluster.createPod(node, `first-${node}`),
      await cluster.createPod(node, `second-${node}`),
    ];
    expect(await added(agent, first)).toBe(true);
    await revoke(`berth-agent-${node}`, await tokenIn(cluster.agent(node).kubeconfig));
    expect(await added(agent, second)).toBe(false);
    await remove(agent, first);
    expect(Object.keys(await cluster.boundTo(first))).toEqual(['net1']);

    const token = await agentToken(controlPlane, { node });
    if (agent === inside) await mountAccount(token);
    else await controlPlane.tokenKubeconfig(`agent-${node}`, token);
    await waitFor('the ADD succeeds', () => added(agent, second), WITHIN);
    await waitFor('the DEL is done', async () => !('net1' in (await cluster.boundTo(first))), WITHIN);
    expect(Object.keys(await cluster.boundTo(second))).toEqual(['net1']);
    await remove(agent, second);
    expect(agent.program.isRunning).toBe(true);
    expect(agent.program.pid).toBe(pid);
  },
);

test('an operator whose token is revoked goes on when its kubeconfig has a new one', async () => {
  const { controlPlane, operator } = cluster;
  const identity = { node: 'node-1', serviceAccount: 'berth-operator' };
  const token = await agentToken(controlPlane, identity);
  await operator.stop();
  await controlPlane.tokenKubeconfig('berth-operator', token);
  await operator.start();
  await revoke('berth-operator-node-1', token);
  await operatorRecovers('by-token', '10.2.0.0/24', async () => {
    await controlPlane.tokenKubeconfig('berth-operator', await agentToken(controlPlane, identity));
  });
});

test('an operator whose client certificate is not trusted any more goes on when its files have another', async () => {
  const { controlPlane, operator, directory } = cluster;
  const user = {
    'client-certificate': join(directory, 'operator.crt'),
    'client-key': join(directory, 'operator.key'),
  };
  const use = async ({ certificate, key }: Certificate): Promise<void> => {
    await writeFile(user['client-certificate'], certificate);
    await writeFile(user['client-key'], key);
  };
  const kubeconfig = await controlPlane.userKubeconfig('berth-operator');
  /** Whether the API server takes what is in the files. */
  const isTrusted = async (): Promise<boolean> => {
    const api = await connect({ kubeconfig, userAgent: 'berth-test' });
    try {
      await api.list(ipPools);
      return true;
    } catch (error) {
      if (isApiError(error, 'Forbidden') && error.status === 401) return false;
      throw error;
    } finally {
      await api.close();
    }
  };
  const [old, present] = [selfSignedCertificate(OPERATOR), selfSignedCertificate(OPERATOR)];
  await operator.stop();
  await use(old);
  const config = JSON.parse(await readFile(kubeconfig, 'utf8')) as object; // Written by `userKubeconfig`.
  await writeFile(kubeconfig, JSON.stringify({ ...config, users: [{ name: 'berth', user }] }));
  await writeFile(controlPlane.clientCaFile, old.certificate);
  await waitFor('the first certificate is trusted', isTrusted, WITHIN);
  await operator.start();
  await writeFile(controlPlane.clientCaFile, present.certificate);
  await waitFor('it is not trusted any more', async () => !(await isTrusted()), WITHIN);
  await operatorRecovers('by-certificate', '10.3.0.0/24', () => use(present));
});

test("when the API server's certificate and its authority are replaced, everybody finds it again", async () => {
  const { controlPlane, operator, api } = cluster;
  const programs = [operator, outside.program, inside.program];
  const pids = programs.map(({ pid }) => pid);
  const pairs = [
    { agent: outside, pod: await cluster.createPod(outside.node, 'later-1') },
    { agent: inside, pod: await cluster.createPod(inside.node, 'later-2') },
  ];
  const before = await readFile(controlPlane.caFile, 'utf8');
  await controlPlane.replaceServingCertificate();
  expect(await readFile(controlPlane.caFile, 'utf8')).not.toBe(before);
  for (const { agent, pod } of pairs) expect(await added(agent, pod)).toBe(false);

  await controlPlane.userKubeconfig('admin');
  await controlPlane.userKubeconfig('berth-operator');
  await controlPlane.tokenKubeconfig(`agent-${outside.node}`, await tokenIn(outside.kubeconfig));
  await mountAccount(await readFile(join(account, 'token'), 'utf8'));
  for (const { agent, pod } of pairs) {
    await waitFor(`the ADD on ${agent.node} succeeds`, () => added(agent, pod), WITHIN);
    await remove(agent, pod);
  }
  await waitFor('the test itself is served', async () => (await api.list(ipPools)).items.length > 0, WITHIN);
  // The operator makes a new pool Ready, and the watches of both agents see it.
  await createPool('later', '10.4.0.0/24');
  await whenReady('later');
  for (const { agent } of pairs) {
    await waitFor(
      `the agent on ${agent.node} knows it`,
      async () => (await agent.readyPools()).includes('later'),
      WITHIN,
    );
  }
  expect(programs.map(({ isRunning }) => isRunning)).toEqual([true, true, true]);
  expect(programs.map(({ pid }) => pid)).toEqual(pids);
});
