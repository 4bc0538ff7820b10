/** The operator's reconcilers together, against a real API server. */
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { CONDITION_READY, FINALIZER_IN_USE, ipPools, ipReservations } from '../crds/resources.ts';
import type { Condition, IPPool, IPReservation } from '../crds/types.ts';
import type { RestApi } from '../kube/client.ts';
import { type Pod, pods } from '../kube/core.ts';
import { isApiError } from '../kube/errors.ts';
import { EMPTY_COUNTS_APART_MS } from './poolreconciler.ts';
import type { Happening, Report } from './report.ts';
import { anOwner, aPool, aReservation } from './testing/objects.ts';
import { type OperatorRun, OperatorStage, type RunOptions } from './testing/stage.ts';

let stage: OperatorStage;
let api: RestApi;

beforeAll(async () => {
  stage = await OperatorStage.start({ name: 'operator' });
  api = stage.api;
});

afterEach(() => stage.endRuns());

afterAll(() => stage?.stop());

interface Run extends Pick<OperatorRun, 'metrics'> {
  readonly reports: Happening[];
}

/** Runs an operator until the test ends, with a grace that the test can wait for. */
function runOperator({ scanIntervalMs = 500, ...more }: Partial<RunOptions> = {}): Run {
  const reports: Happening[] = [];
  const report: Report = (_about, happening) => reports.push(happening);
  const { metrics } = stage.run({ graceMs: 300, scanIntervalMs, report, ...more });
  return { metrics, reports };
}

function createReservation(address: string, pool: string, pod: Pod): Promise<IPReservation> {
  const { name = '', uid = '' } = pod.metadata;
  return api.create(ipReservations, aReservation(address, { pool, owner: { ...anOwner, name, uid } }));
}

/** The object, or undefined if there is none. */
async function find<T>(read: Promise<T>): Promise<T | undefined> {
  return read.catch((error: unknown) => {
    if (isApiError(error, 'NotFound')) return undefined;
    throw error;
  });
}

/** The API server shows a write before the operator that made it has had the answer, and counts it. */
async function eventuallyCounted({ metrics }: Run, sample: string): Promise<void> {
  await eventually(async () => expect(await metrics.registry.metrics()).toContain(sample));
}

const reservation = (address: string): Promise<IPReservation | undefined> =>
  find(api.get(ipReservations, { name: `default.${address}` }));
const pool = (name: string): Promise<IPPool | undefined> => find(api.get(ipPools, { name }));

async function readyOf(name: string): Promise<Condition | undefined> {
  return (await pool(name))?.status?.conditions?.find(({ type }) => type === CONDITION_READY);
}

const eventually = <T>(check: () => Promise<T>): Promise<T> =>
  vi.waitFor(check, { timeout: EMPTY_COUNTS_APART_MS * 3, interval: 50 });

test('a new pool gets the finalizer, then Ready, with its counts', async () => {
  runOperator();
  await api.create(ipPools, aPool('fresh', { subnet: '10.1.0.0/24', gateway: '10.1.0.1' }));
  await eventually(async () => {
    const fresh = await pool('fresh');
    expect(fresh?.metadata.finalizers).toEqual([FINALIZER_IN_USE]);
    expect(fresh?.status).toMatchObject({ observedGeneration: 1, capacity: '253', bound: '0', free: '253' });
    expect(await readyOf('fresh')).toMatchObject({ status: 'True', reason: 'Usable' });
  });
});

test('Ready is never True without the finalizer', async () => {
  const watch = new AbortController();
  const { metadata } = await api.list(ipPools, { limit: 1 });
  const seen: IPPool[] = [];
  const watching = (async () => {
    const events = api.watch(ipPools, { resourceVersion: metadata.resourceVersion, signal: watch.signal });
    for await (const event of events) {
      if (event.type !== 'BOOKMARK' && event.object.metadata.name === 'ordered') seen.push(event.object);
    }
  })().catch((error: unknown) => {
    if (!watch.signal.aborted) throw error;
  });
  runOperator();
  await api.create(ipPools, aPool('ordered', { subnet: '10.2.0.0/24' }));
  await eventually(async () => expect(await readyOf('ordered')).toMatchObject({ status: 'True' }));
  await eventually(async () => expect(seen.at(-1)?.status).toBeDefined());
  watch.abort();
  await watching;
  const ready = seen.filter((each) =>
    each.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'),
  );
  expect(ready.length).toBeGreaterThan(0);
  expect(ready.every((each) => each.metadata.finalizers?.includes(FINALIZER_IN_USE))).toBe(true);
});

test('a spec that no rule of the schema refuses and that is no use is Ready False with its reason', async () => {
  runOperator();
  await api.create(ipPools, aPool('looped', { subnet: '127.1.0.0/24' }));
  await eventually(async () => {
    expect(await readyOf('looped')).toMatchObject({ status: 'False', reason: 'SubnetNotUnicast' });
  });
});

test('a deleted pool is Terminating while a reservation is left, and goes when nothing is', async () => {
  runOperator();
  await api.create(ipPools, aPool('leaving', { subnet: '10.3.0.0/24', cooldown: '0s' }));
  await eventually(async () => expect(await readyOf('leaving')).toMatchObject({ status: 'True' }));
  const pod = await stage.createPod('leaver');
  await createReservation('10.3.0.9', 'leaving', pod);
  await api.delete(ipPools, { name: 'leaving' });
  await eventually(async () => {
    expect(await readyOf('leaving')).toMatchObject({ status: 'False', reason: 'Terminating' });
    expect((await pool('leaving'))?.status).toMatchObject({ bound: '1' });
  });
  await stage.deletePod('leaver');
  await eventually(async () => expect(await reservation('10.3.0.9')).toBeUndefined());
  await eventually(async () => expect(await pool('leaving')).toBeUndefined());
});

test('the address of a pod that is gone rests, and is free after the cooldown', async () => {
  const run = runOperator({ scanIntervalMs: 600_000 });
  await api.create(ipPools, aPool('blue', { subnet: '10.4.0.0/24', cooldown: '1s' }));
  const pod = await stage.createPod('short-lived');
  await createReservation('10.4.0.9', 'blue', pod);
  await eventually(async () =>
    expect((await pool('blue'))?.status).toMatchObject({ bound: '1', free: '253' }),
  );
  await stage.deletePod('short-lived');
  await eventually(async () => expect((await reservation('10.4.0.9'))?.spec.state).toBe('Released'));
  await eventually(async () => expect(await reservation('10.4.0.9')).toBeUndefined());
  await eventuallyCounted(run, 'berth_operator_released_total{reason="PodDeleted"} 1');
  await eventuallyCounted(run, 'berth_operator_released_total{reason="CooldownOver"} 1');
  await eventually(async () =>
    expect(run.reports).toEqual([expect.objectContaining({ reason: 'OrphanReleased' })]),
  );
});

test('an address that was an orphan before the operator started is found', async () => {
  await createReservation('10.5.0.9', 'nowhere', { metadata: { name: 'never-was', uid: 'uid-of-nobody' } });
  runOperator({ scanIntervalMs: 600_000 });
  await eventually(async () => expect(await reservation('10.5.0.9')).toBeUndefined());
});

test('a re-created pod of the same name keeps its address while the old one is collected', async () => {
  runOperator();
  const old = await stage.createPod('twin');
  await createReservation('10.6.0.1', 'nowhere', old);
  await stage.deletePod('twin');
  const young = await stage.createPod('twin');
  expect(young.metadata.uid).not.toBe(old.metadata.uid);
  await createReservation('10.6.0.2', 'nowhere', young);
  await eventually(async () => expect(await reservation('10.6.0.1')).toBeUndefined());
  expect((await reservation('10.6.0.2'))?.spec).toMatchObject({
    state: 'Bound',
    owner: { uid: young.metadata.uid },
  });
});

test('a pod that has finished gives its address back', async () => {
  const run = runOperator();
  const pod = await stage.createPod('job');
  await createReservation('10.7.0.1', 'nowhere', pod);
  await api.patch(
    pods,
    { namespace: 'shop', name: 'job' },
    [{ op: 'replace', path: '/status/phase', value: 'Succeeded' }],
    { subresource: 'status' },
  );
  await eventually(async () => expect(await reservation('10.7.0.1')).toBeUndefined());
  await eventuallyCounted(run, 'released_total{reason="PodFinished"} 1');
});

test('a dry run takes nothing back, and counts what it would', async () => {
  await createReservation('10.8.0.1', 'nowhere', { metadata: { name: 'gone', uid: 'uid-gone' } });
  const run = runOperator({ dryRun: true });
  await eventuallyCounted(run, 'berth_operator_orphans{phase="confirmed"} 1');
  expect((await reservation('10.8.0.1'))?.spec.state).toBe('Bound');
  await api.delete(ipReservations, { name: 'default.10.8.0.1' });
  await eventuallyCounted(run, 'berth_operator_orphans{phase="confirmed"} 0');
});

test('an address held by a person is left alone', async () => {
  const run = runOperator();
  const { owner: _none, ...spec } = aReservation('10.9.0.1', { state: 'Held', holder: 'Pod/shop/vip' }).spec;
  await api.create(ipReservations, { ...aReservation('10.9.0.1'), spec });
  const pod = await stage.createPod('marker');
  await createReservation('10.9.0.2', 'nowhere', pod);
  await stage.deletePod('marker');
  // The operator has seen both when it has collected the later one.
  await eventually(async () => expect(await reservation('10.9.0.2')).toBeUndefined());
  expect((await reservation('10.9.0.1'))?.spec.state).toBe('Held');
  await eventuallyCounted(run, 'berth_operator_orphans{phase="candidate"} 0');
});
