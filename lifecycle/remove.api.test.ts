/** The removal on a real API server, with the rights of `config/remove`; kubelets and the DaemonSet's controller are played. */
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { FINALIZER_IN_USE, ipPools, ipReservations } from '../crds/resources.ts';
import { agentToken } from '../e2e/controlplane/agentidentity.ts';
import { type ControlPlane, startControlPlane } from '../e2e/controlplane/controlplane.ts';
import type { KubeObject } from '../kube/api.ts';
import { connect, type RestApi } from '../kube/client.ts';
import { systemClock } from '../kube/clock.ts';
import { nodes } from '../kube/core.ts';
import { isApiError } from '../kube/errors.ts';
import { silentLog } from '../kube/log.ts';
import { customResourceDefinitions, daemonSets } from './kinds.ts';
import { type Removal, remove } from './remove.ts';

const NAMESPACE = 'berth-system';
const CONFIG = join(import.meta.dirname, '../config');
const CLEANER = { namespace: NAMESPACE, name: 'berth-remove-node' };

let controlPlane: ControlPlane;
let admin: RestApi;
/** With the token of the Job's pod. */
let job: RestApi;
const stop = new AbortController();

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: 'remove' });
  admin = await connect({ kubeconfig: controlPlane.kubeconfig, userAgent: 'berth-test' });
  await admin.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' } });
  await controlPlane.kubectl(['apply', '--server-side', '-k', join(CONFIG, 'default')]);
  await controlPlane.kubectl(['apply', '--server-side', '-k', join(CONFIG, 'remove')]);
  const token = await agentToken(controlPlane, { node: 'node-1', serviceAccount: 'berth-remove' });
  const kubeconfig = await controlPlane.tokenKubeconfig('remove', token);
  job = await connect({ kubeconfig, userAgent: 'berth-remove-test' });
});

afterAll(async () => {
  stop.abort();
  await job?.close();
  await admin?.close();
  await controlPlane?.stop();
});

/** Installs Berth; a kind that was just removed and made again refuses everything with 429 for a moment. */
async function install(): Promise<void> {
  await controlPlane.kubectl(['apply', '--server-side', '-k', join(CONFIG, 'default')]);
  await controlPlane.kubectl(['wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all']);
  for (const resource of [ipPools, ipReservations]) {
    while (!(await serves(resource))) await systemClock.sleep(50, stop.signal);
  }
}

async function serves(resource: typeof ipPools | typeof ipReservations): Promise<boolean> {
  try {
    await admin.list<KubeObject>(resource);
    return true;
  } catch (error) {
    if (isApiError(error, 'Throttled', 'NotFound')) return false;
    throw error;
  }
}

beforeEach(async () => {
  await install();
  await admin.create(ipPools, {
    apiVersion: 'ipam.berth.dev/v1alpha1',
    kind: 'IPPool',
    metadata: { name: 'shop', finalizers: [FINALIZER_IN_USE] },
    spec: { subnet: '10.0.0.0/24' },
  });
  for (const [address, state] of [
    ['10.0.0.7', 'Bound'],
    ['10.0.0.8', 'Bound'],
    ['10.0.0.9', 'Released'],
  ] as const) {
    await admin.create(ipReservations, {
      apiVersion: 'ipam.berth.dev/v1alpha1',
      kind: 'IPReservation',
      metadata: { name: `default.${address}` },
      spec: {
        network: 'default',
        address,
        pool: 'shop',
        state,
        owner: {
          kind: 'Pod',
          namespace: 'shop',
          name: 'web',
          uid: 'u',
          node: 'node-1',
          containerID: 'c',
          ifname: 'net1',
        },
      },
    });
  }
});

afterEach(async () => {
  for (const [resource, names] of [
    [ipReservations, ['default.10.0.0.7', 'default.10.0.0.8', 'default.10.0.0.9']],
    [daemonSets, ['berth-remove-node']],
  ] as const) {
    for (const name of names) {
      const key = resource === daemonSets ? { namespace: NAMESPACE, name } : { name };
      await admin.delete<object & { metadata: object }>(resource, key).catch(unlessGone);
    }
  }
  await admin
    .patch(ipPools, { name: 'shop' }, [{ op: 'replace', path: '/metadata/finalizers', value: [] }])
    .catch(unlessGone);
  await admin.delete(ipPools, { name: 'shop' }).catch(unlessGone);
});

function unlessGone(error: unknown): undefined {
  if (isApiError(error, 'NotFound')) return undefined;
  throw error;
}

/** Runs the removal and returns what it said. */
async function run(options: Pick<Removal, 'confirm'> & Partial<Removal>): Promise<string[]> {
  const said: string[] = [];
  await remove({
    api: job,
    clock: systemClock,
    log: silentLog,
    signal: stop.signal,
    namespace: NAMESPACE,
    pod: 'berth-remove-node-1',
    timeoutMs: 60_000,
    say: (line) => said.push(line),
    ...options,
  });
  return said;
}

/** Does what the DaemonSet's controller would do: so many of two nodes are ready. @returns the DaemonSet */
async function playController(ready: number): Promise<Awaited<ReturnType<typeof getCleaner>>> {
  for (;;) {
    const found = await getCleaner().catch(unlessGone);
    if (found !== undefined) {
      const status = { desiredNumberScheduled: 2, numberReady: ready, observedGeneration: 1 };
      const counts = { currentNumberScheduled: 2, numberMisscheduled: 0 };
      await admin.update(
        daemonSets,
        { ...found, status: { ...counts, ...status } },
        { subresource: 'status' },
      );
      return found;
    }
    await systemClock.sleep(50, stop.signal);
  }
}

const getCleaner = () => admin.get(daemonSets, CLEANER);

describe('without a confirmation', () => {
  test('says what is in use, who uses it and how to confirm, and changes nothing', async () => {
    const before = await controlPlane.kubectl(['-n', NAMESPACE, 'get', 'all,ippools,ipr', '-o', 'name']);
    const said = await run({ confirm: undefined });
    expect(said[0]).toBe('pool shop: 0 held, 1 released, 2 bound: shop/web');
    expect(said[1]).toBe('1 pools, 3 reservations, 2 addresses in use');
    expect(said.join('\n')).toContain('--from-literal=confirm=2');
    expect(await controlPlane.kubectl(['-n', NAMESPACE, 'get', 'all,ippools,ipr', '-o', 'name'])).toBe(
      before,
    );
  });

  test('another number of addresses than is in use confirms nothing', async () => {
    await expect(run({ confirm: 1 })).rejects.toThrow(
      '1 addresses in use were confirmed, but it is 2: nothing was changed',
    );
    expect(await admin.get(daemonSets, { namespace: NAMESPACE, name: 'berth-agent' })).toBeDefined();
  });
});

describe('once confirmed', () => {
  test('nothing of Berth is left but the Job and the namespace, and it can be installed again', async () => {
    await Promise.all([run({ confirm: 2 }), playController(2)]);
    const left = await controlPlane.kubectl([
      'get',
      'crd,validatingadmissionpolicies,validatingadmissionpolicybindings,clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts,daemonsets,deployments,poddisruptionbudgets,leases',
      '-A',
      '-o',
      'name',
    ]);
    const names = left.split('\n').filter((name) => /berth|ipam/.test(name));
    expect(names.filter((name) => !name.endsWith('/berth-remove'))).toEqual([]);
    await install();
    expect((await admin.list(ipReservations)).items).toEqual([]);
  });

  test('a node that is not clean keeps all pools and addresses, and the run is taken up later', async () => {
    let counted = false;
    // Its time is over as soon as the controller has counted, however busy the machine is.
    const clock = { ...systemClock, monotonic: () => (counted ? 61_000 : 0) };
    await Promise.all([
      expect(run({ confirm: 2, clock })).rejects.toThrow(
        '1 of 2 nodes are clean after 60 s, and nothing else is removed yet',
      ),
      playController(1).then(() => {
        counted = true;
      }),
    ]);
    expect((await admin.list(ipReservations)).items).toHaveLength(3);
    expect(await admin.get(customResourceDefinitions, { name: 'ippools.ipam.berth.dev' })).toBeDefined();
    await Promise.all([run({ confirm: 2 }), playController(2)]);
    await expect(admin.list(ipReservations)).rejects.toThrow();
  });

  test('the files are looked for where the agent was installed to', async () => {
    await controlPlane.kubectl([
      '-n',
      NAMESPACE,
      'patch',
      'daemonset',
      'berth-agent',
      '--type=json',
      '-p',
      JSON.stringify([
        { op: 'replace', path: '/spec/template/spec/volumes/0/hostPath/path', value: '/var/lib/rancher/cni' },
        { op: 'replace', path: '/spec/template/spec/volumes/2/hostPath/path', value: '/data/ipam/berth' },
      ]),
    ]);
    const [, cleaner] = await Promise.all([run({ confirm: 2 }), playController(2)]);
    expect(cleaner.spec.template.spec.volumes).toMatchObject([
      { name: 'bin', hostPath: { path: '/var/lib/rancher/cni' } },
      { name: 'run', hostPath: { path: '/run' } },
      { name: 'state', hostPath: { path: '/data/ipam' } },
    ]);
    expect(cleaner.spec.template.spec).toMatchObject({
      hostNetwork: true,
      initContainers: [
        {
          image: 'none',
          args: expect.arrayContaining(['--bin-dir=/host/bin', '--state-dir=/host/state/berth']),
        },
      ],
    });
  });
});
