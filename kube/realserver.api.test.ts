/** What the in-memory API cannot prove: informer, leader election and events against a real API server. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ControlPlane, startControlPlane } from '../e2e/controlplane/controlplane.ts';
import { connect, type RestApi } from './client.ts';
import { systemClock, systemRandom } from './clock.ts';
import { type ConfigMap, configMaps, events, leases, namespaces } from './core.ts';
import { Informer } from './informer.ts';
import { LeaderElector } from './lease.ts';
import { silentLog } from './log.ts';
import { EventRecorder, referenceTo } from './recorder.ts';
import { recordingLog } from './testing/recordinglog.ts';

let controlPlane: ControlPlane;
let api: RestApi;
const means = { clock: systemClock, random: systemRandom, log: silentLog };

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: 'kube-realserver' });
  api = await connect({ kubeconfig: controlPlane.kubeconfig, userAgent: 'berth-test' });
});
afterAll(async () => {
  await api.close();
  await controlPlane.stop();
});

const make = (namespace: string, index: number): Promise<ConfigMap> =>
  api.create(configMaps, { metadata: { namespace, name: `c${index}` }, data: { index: String(index) } });

const content = (objects: readonly ConfigMap[]): string[] =>
  objects
    .map(({ metadata }) => `${metadata.name} ${metadata.uid} ${metadata.resourceVersion}`)
    .toSorted((a, b) => (a < b ? -1 : 1));

describe('an informer', () => {
  it('equals the API server again after it was killed in the middle of changes', async () => {
    const namespace = 'informed';
    await api.create(namespaces, { metadata: { name: namespace } });
    for (let i = 0; i < 30; i += 1) await make(namespace, i);
    let [adds, updates, deletes] = [0, 0, 0];
    const informer = new Informer({ ...means, api, resource: configMaps, namespace, pageSize: 7 });
    informer.addHandler({
      onAdd: () => (adds += 1),
      onUpdate: () => (updates += 1),
      onDelete: () => (deletes += 1),
    });
    const stop = new AbortController();
    const running = informer.run(stop.signal);
    await informer.whenSynced();
    expect(informer.store.size).toBe(30);
    await controlPlane.killApiServer();
    await controlPlane.startApiServer();
    for (let i = 0; i < 10; i += 1) await api.delete(configMaps, { namespace, name: `c${i}` });
    for (let i = 10; i < 20; i += 1) {
      await api.patch(configMaps, { namespace, name: `c${i}` }, [
        { op: 'add', path: '/data/new', value: 'x' },
      ]);
    }
    for (let i = 30; i < 40; i += 1) await make(namespace, i);
    const truth = content((await api.list(configMaps, { namespace })).items);
    await expect.poll(() => content(informer.store.list()), { timeout: 60_000 }).toEqual(truth);
    expect(adds - deletes).toBe(30);
    expect(deletes).toBeGreaterThanOrEqual(10);
    expect(updates).toBeGreaterThanOrEqual(10);
    expect(informer.store.list().every((object) => !('managedFields' in object.metadata))).toBe(true);
    stop.abort();
    await running;
  });
});

describe('leader election', () => {
  it('hands over at once when the leader stops', async () => {
    const lease = { namespace: 'default', name: 'realserver' };
    const times = { leaseDurationMs: 3000, renewDeadlineMs: 2000, retryPeriodMs: 200 };
    const order: string[] = [];
    const start = (identity: string): { stop: AbortController; ended: Promise<string> } => {
      const stop = new AbortController();
      const elector = new LeaderElector({ ...means, ...times, api, lease, identity });
      const work = (signal: AbortSignal): Promise<void> => {
        order.push(identity);
        return new Promise((resolve) => {
          signal.addEventListener('abort', () => resolve());
        });
      };
      return { stop, ended: elector.run(work, stop.signal) };
    };
    const a = start('a');
    await expect.poll(() => order).toEqual(['a']);
    const b = start('b');
    // Long enough for several renewals: they must be accepted, and b must not lead.
    await expect
      .poll(async () => (await api.get(leases, lease)).metadata.resourceVersion)
      .not.toBe((await api.get(leases, lease)).metadata.resourceVersion);
    expect(order).toEqual(['a']);
    a.stop.abort();
    expect(await a.ended).toBe('stopped');
    await expect.poll(() => order, { timeout: 10_000 }).toEqual(['a', 'b']);
    b.stop.abort();
    expect(await b.ended).toBe('stopped');
  });
});

describe('events', () => {
  it('are accepted, and counted when they repeat', async () => {
    const log = recordingLog();
    const recorder = new EventRecorder({ ...means, log, api, component: 'berth-test', instance: 'host' });
    const pool = { apiVersion: 'ipam.berth.dev/v1alpha1', kind: 'IPPool', name: 'storage', uid: 'u1' };
    const space = await api.get(namespaces, { name: 'default' });
    const configMap = await make('default', 100);
    for (let i = 0; i < 3; i += 1)
      recorder.event(pool, 'Warning', 'PoolMismatch', 'address outside its pool');
    recorder.event(referenceTo(namespaces, space), 'Normal', 'Seen', 'cluster-wide');
    recorder.event(referenceTo(configMaps, configMap), 'Normal', 'Seen', 'namespaced');
    await recorder.flush();
    expect(log.lines).toEqual([]);
    const fieldSelector = 'involvedObject.kind=IPPool';
    const { items } = await api.list(events, { namespace: 'default', fieldSelector });
    expect(items).toMatchObject([
      { count: 3, reason: 'PoolMismatch', type: 'Warning', involvedObject: pool },
    ]);
  });
});
