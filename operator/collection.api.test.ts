/** Whose address is taken back, and whose never, on a real API server; and what that costs, by its audit log. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { ipPools, ipReservations } from '../crds/resources.ts';
import type { IPReservationSpec } from '../crds/types.ts';
import type { AuditEvent } from '../e2e/controlplane/audit.ts';
import type { RestApi } from '../kube/client.ts';
import {
  events,
  MIRROR_ANNOTATION,
  nodes,
  type Pod,
  pods,
  type StatefulSet,
  statefulSets,
} from '../kube/core.ts';
import type { GoneReason } from './liveness.ts';
import { CROWD } from './livereads.ts';
import type { OperatorMetrics } from './metrics.ts';
import { aNode, anOwner, aPool, aReservation } from './testing/objects.ts';
import { type OperatorRun, OperatorStage } from './testing/stage.ts';

const GRACE_MS = 500;

let stage: OperatorStage;
let api: RestApi;
let last = 0;

beforeAll(async () => {
  stage = await OperatorStage.start({ name: 'collection', audit: true });
  api = stage.api;
});

afterEach(() => stage.endRuns());

afterAll(() => stage?.stop());

/** Runs an operator until the test ends; `stop` ends it sooner. */
function runOperator({
  dryRun,
  graceMs = GRACE_MS,
}: {
  dryRun?: boolean;
  graceMs?: number;
} = {}): OperatorRun {
  const report = dryRun === true ? { report: () => undefined } : {};
  return stage.run({ graceMs, scanIntervalMs: 1_000, dryRun, ...report });
}

async function waitFor(what: string, condition: () => Promise<boolean>): Promise<void> {
  await vi.waitFor(async () => expect(await condition(), what).toBe(true), {
    timeout: 110_000,
    interval: 50,
  });
}

async function metric({ registry }: OperatorMetrics, series: string): Promise<number> {
  const line = (await registry.metrics()).split('\n').find((each) => each.startsWith(`${series} `));
  return Number(line?.split(' ')[1]);
}

/** Waits: what the operator has done is seen in the API before it has heard so itself and counts it. */
async function hasReleasedOne(metrics: OperatorMetrics, reason: GoneReason): Promise<void> {
  const series = `berth_operator_released_total{reason="${reason}"}`;
  await waitFor(`${series} is 1`, async () => (await metric(metrics, series)) === 1);
}

/** Its name. Without `owner` that of the pod; of a pool that does not exist, and so without a cooldown. */
async function reserve(pod: Pod | undefined, spec: Partial<IPReservationSpec> = {}): Promise<string> {
  last += 1;
  const { name = '', uid = '' } = pod?.metadata ?? {};
  const owner = { ...anOwner, name, uid, node: pod?.spec?.nodeName ?? 'node-1' };
  const address = `10.${200 + Math.floor(last / 62_500)}.${Math.floor(last / 250) % 250}.${(last % 250) + 1}`;
  const reservation = aReservation(address, {
    pool: 'nowhere',
    ...(pod !== undefined && { owner }),
    ...spec,
  });
  return (await api.create(ipReservations, reservation)).metadata.name ?? '';
}

const all = async (): Promise<Map<string, IPReservationSpec>> =>
  new Map((await api.list(ipReservations)).items.map(({ metadata, spec }) => [metadata.name ?? '', spec]));

async function isCollected(name: string): Promise<void> {
  await waitFor(`${name} is collected`, async () => !(await all()).has(name));
}

/** Waits until the operator has collected another one that became an orphan later, and that this one is untouched. */
async function isKept(name: string): Promise<void> {
  const before = (await all()).get(name);
  expect(before).toBeDefined();
  for (let i = 0; i < 2; i += 1) {
    await isCollected(await reserve({ metadata: { name: 'never-was', uid: `uid-of-nobody-${last}` } }));
  }
  expect((await all()).get(name)).toEqual(before);
}

describe('taken back', () => {
  test('when its UID is gone, though a pod of the name is there', async () => {
    runOperator();
    const old = await stage.createPod('renewed');
    const name = await reserve(old);
    await stage.deletePod('renewed');
    await stage.createPod('renewed');
    await isCollected(name);
  });

  test('when the pod of the UID is on another node', async () => {
    const { metrics } = runOperator();
    const pod = await stage.createPod('moved', 'node-2');
    const name = await reserve(pod, {
      owner: { ...anOwner, name: 'moved', uid: pod.metadata.uid ?? '', node: 'node-1' },
    });
    const kept = await reserve(pod);
    await isCollected(name);
    await isKept(kept);
    await hasReleasedOne(metrics, 'PodElsewhere');
  });

  test.each(['Succeeded', 'Failed'] as const)('when its pod has %s', async (phase) => {
    runOperator();
    const name = phase.toLowerCase();
    const reservation = await reserve(await stage.createPod(name));
    await isKept(reservation);
    const status = [{ op: 'replace', path: '/status/phase', value: phase }] as const;
    await api.patch(pods, { namespace: 'shop', name }, status, { subresource: 'status' });
    await isCollected(reservation);
  });

  /** A pod that is Terminating on its node, from which nobody hears. */
  async function terminating(name: string, node: string): Promise<string> {
    await api.create(nodes, aNode(node));
    const pod = await stage.createPod(name, node, { finalizers: ['example.com/slow'] });
    const reservation = await reserve(pod);
    await api.patch(nodes, { name: node }, [
      {
        op: 'add',
        path: '/spec/taints',
        value: [{ key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' }],
      },
    ]);
    await stage.deletePod(name);
    await waitFor('it is Terminating', async () => {
      const { metadata } = await api.get(pods, { namespace: 'shop', name });
      return metadata.deletionTimestamp !== undefined;
    });
    return reservation;
  }

  test('of a Terminating pod on a lost node: only when its object is gone', async () => {
    runOperator();
    const reservation = await terminating('lost-1', 'lost-node-1');
    await isKept(reservation);
    await api.patch(pods, { namespace: 'shop', name: 'lost-1' }, [
      { op: 'remove', path: '/metadata/finalizers' },
    ]);
    await isCollected(reservation);
  });

  test('or when its node is deleted', async () => {
    const { metrics } = runOperator();
    const reservation = await terminating('lost-2', 'lost-node-2');
    await isKept(reservation);
    await api.delete(nodes, { name: 'lost-node-2' });
    await isCollected(reservation);
    await hasReleasedOne(metrics, 'NodeDeleted');
  });

  test('or when its node is tainted out-of-service', async () => {
    const { metrics } = runOperator();
    const reservation = await terminating('lost-3', 'lost-node-3');
    await isKept(reservation);
    const taint = 'node.kubernetes.io/out-of-service=nodeshutdown:NoExecute';
    await stage.plane.kubectl(['taint', 'node', 'lost-node-3', taint]);
    await isCollected(reservation);
    await hasReleasedOne(metrics, 'NodeOutOfService');
  });

  test('of an owner of kind Node: when the node stays deleted, whatever pods there are', async () => {
    const { metrics } = runOperator();
    await api.create(nodes, aNode('host-node'));
    const owner = { kind: 'Node', node: 'host-node', containerID: 'c', ifname: 'eth0' } as const;
    const reservation = await reserve(undefined, { owner });
    await isKept(reservation);
    await api.delete(nodes, { name: 'host-node' });
    await isCollected(reservation);
    await hasReleasedOne(metrics, 'OwnerNodeDeleted');
  });

  test('of a Held one that Berth made: when no pod has the name of its holder', async () => {
    const { metrics } = runOperator();
    await stage.createPod('sticky', 'node-2');
    const name = await reserve(undefined, { state: 'Held', holder: 'Pod/shop/sticky' });
    await isKept(name);
    await stage.deletePod('sticky');
    await isCollected(name);
    await hasReleasedOne(metrics, 'HolderGone');
  });

  test('of one held for a replica: when its StatefulSet has no such ordinal any more', async () => {
    runOperator();
    const labels = { app: 'db' };
    const set = {
      metadata: { namespace: 'shop', name: 'db' },
      spec: {
        replicas: 3,
        serviceName: 'db',
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers: [{ name: 'a', image: 'a' }] } },
      },
    };
    await api.create<StatefulSet>(statefulSets, set);
    const name = await reserve(undefined, { state: 'Held', holder: 'StatefulSet/shop/db/2' });
    await isKept(name);
    await api.patch(statefulSets, { namespace: 'shop', name: 'db' }, [
      { op: 'replace', path: '/spec/replicas', value: 2 },
    ]);
    await isCollected(name);
  });
});

describe('never taken back', () => {
  test('from a static pod that is alive, known by the hash of its mirror', async () => {
    runOperator();
    await stage.createPod('static', 'node-1', {
      annotations: { [MIRROR_ANNOTATION]: 'hash-of-the-kubelet' },
    });
    const owner = { ...anOwner, name: 'static', uid: 'hash-of-the-kubelet' };
    const name = await reserve(undefined, { owner });
    await isKept(name);
    await stage.deletePod('static');
    await isCollected(name);
  });

  test.each<[string, Partial<IPReservationSpec> & { owner?: IPReservationSpec['owner'] }]>([
    ['something outside the cluster', { state: 'Held', owner: { kind: 'External', name: 'printer' } }],
    ['a holder that a person named, of whom there is no pod', { state: 'Held', holder: 'Pod/shop/nobody' }],
  ])('from %s', async (_title, { owner, ...spec }) => {
    runOperator();
    last += 1;
    const { owner: _last, ...held } = aReservation(`10.99.0.${last % 250}`, spec).spec;
    const reservation = {
      ...aReservation(`10.99.0.${last % 250}`),
      spec: { ...held, ...(owner && { owner }) },
    };
    const { metadata } = await api.create(ipReservations, reservation);
    await isKept(metadata.name ?? '');
  });
});

/** What the operator asked for since then, counted: "list pods". Watches and lists of whole caches are left out. */
async function requests(since: number): Promise<{ counted: Record<string, number>; all: AuditEvent[] }> {
  const own = (await stage.plane.auditLog())
    .slice(since)
    .filter(({ user, verb }) => user.username.endsWith(':berth-operator') && verb !== 'watch')
    .filter(({ objectRef }) => objectRef?.resource !== 'ippools');
  const counted: Record<string, number> = {};
  for (const { verb, objectRef } of own) {
    const key = `${verb} ${objectRef?.resource}`;
    counted[key] = (counted[key] ?? 0) + 1;
  }
  return { counted, all: own };
}

const logLength = async (): Promise<number> => (await stage.plane.auditLog()).length;

describe('what it costs', () => {
  const ON_ONE_NODE = 150;
  const SPREAD = 50;

  test('at most one read and one write for each orphan, none for a living one, and few events', async () => {
    await api.create(ipPools, aPool('costs', { network: 'costs', subnet: '10.0.0.0/8', cooldown: '1h' }));
    const living = await Promise.all(
      Array.from({ length: 30 }, (_none, i) =>
        stage.createPod(`living-${i}`, i < 15 ? 'crowded' : `node-${i}`),
      ),
    );
    const orphan = (i: number): Pod => ({
      metadata: { name: `orphan-${i}`, uid: `uid-orphan-${i}` },
      spec: { nodeName: i < ON_ONE_NODE ? 'crowded' : `node-${i}` },
    });
    const gone = Array.from({ length: ON_ONE_NODE + SPREAD }, (_none, i) => orphan(i));
    const kept = await Promise.all(living.map((pod) => reserve(pod, { pool: 'costs', network: 'costs' })));
    const { metrics, stop } = runOperator({ graceMs: 3_000 });
    const total = (): Promise<number> =>
      metric(metrics, 'berth_operator_released_total{reason="PodDeleted"}');
    await waitFor('the pool is Ready', async () => {
      const { status } = await api.get(ipPools, { name: 'costs' });
      return status?.bound === String(kept.length);
    });
    const since = await logLength();
    // The first is due a while after it was made, and the others may take longer than that to be made.
    const seen = waitFor('candidates are shown before anything is done', async () => {
      const candidates = await metric(metrics, 'berth_operator_orphans{phase="candidate"}');
      return candidates > 0 && (await total()) === 0;
    });
    const names = await Promise.all(gone.map((pod) => reserve(pod, { pool: 'costs', network: 'costs' })));
    await seen;
    await waitFor('all are taken back', async () => (await total()) === gone.length);
    await stop();
    const states = await all();
    expect(new Set(names.map((name) => states.get(name)?.state))).toEqual(new Set(['Released']));
    expect(new Set(kept.map((name) => states.get(name)?.state))).toEqual(new Set(['Bound']));

    const { counted, all: asked } = await requests(since);
    expect(counted['patch ipreservations']).toBe(gone.length);
    // Those of one node share lists; the last few are too few. How many share one is decided by when they were due.
    const { 'get pods': gets = 0, 'list pods': lists = 0 } = counted;
    expect(gets).toBeLessThan(SPREAD + CROWD);
    expect(lists).toBeGreaterThan(0);
    expect(gets + lists).toBeLessThan(gone.length);
    const { 'create events': created = 0, 'patch events': again = 0, ...others } = counted;
    expect(created + again).toBeLessThan(gone.length / 10);
    expect(created).toBeGreaterThan(0);
    expect(Object.keys(others).toSorted()).toEqual(['get pods', 'list pods', 'patch ipreservations']);
    expect(asked.filter(({ objectRef }) => objectRef?.name?.startsWith('living-'))).toEqual([]);
    const told = (await api.list(events, { namespace: 'default' })).items.filter(
      ({ involvedObject }) => involvedObject.name === 'costs',
    );
    expect(told.map(({ message }) => message).join()).toMatch(/took \d+ addresses back \(\d+ PodDeleted\)/);
  });

  test('a dry run counts the orphans and what rests too long, and writes nothing at all', async () => {
    await api.create(ipPools, aPool('dry', { network: 'dry', subnet: '10.0.0.0/8', cooldown: '0s' }));
    const orphan = { metadata: { name: 'dry', uid: 'uid-dry' } };
    const name = await reserve(orphan, { pool: 'dry', network: 'dry' });
    const resting = await reserve(orphan, { pool: 'dry', network: 'dry', state: 'Released' });
    const since = await logLength();
    const { metrics, stop } = runOperator({ dryRun: true });
    await waitFor(
      'it is counted',
      async () => (await metric(metrics, 'berth_operator_orphans{phase="confirmed"}')) > 0,
    );
    await waitFor('the pool is counted', async () =>
      (await metrics.registry.metrics()).includes('berth_pool_addresses{pool="dry",state="bound"} 1'),
    );
    await stop();
    const own = (await stage.plane.auditLog())
      .slice(since)
      .filter(({ user }) => user.username.endsWith(':berth-operator'));
    expect(own.length).toBeGreaterThan(0);
    expect(new Set(own.map(({ verb }) => verb))).toEqual(new Set(['get', 'list', 'watch']));
    const states = await all();
    expect([states.get(name)?.state, states.get(resting)?.state]).toEqual(['Bound', 'Released']);
    expect((await api.get(ipPools, { name: 'dry' })).status).toBeUndefined();
  });
});
