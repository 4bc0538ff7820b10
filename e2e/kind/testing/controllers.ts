/** Scenarios: whatever makes pods and takes them away again. */
import { describe, expect, test } from 'vitest';
import { waitFor } from '../../harness/wait.ts';
import { workingSets } from './berth.ts';
import { note } from './notes.ts';
import { atRest, interfaces } from './rest.ts';
import { controller, inNamespace, pod, rollOut, template, whenGone, whenReady } from './workloads.ts';
import { PATIENCE_FLAG, PATIENCE_MS, type World } from './world.ts';

const TRUE = ['busybox', 'true'];

/** Annotations of an ordinary pod: on a cluster whose own network is not Berth's it gets a secondary one. */
export function ordinary(world: World): Readonly<Record<string, string>> {
  return world.own ? {} : { 'k8s.v1.cni.cncf.io/networks': 'default/bridge' };
}

/** Every kind of workload at once. */
export function workloads(world: World): void {
  describe('workloads', () => {
    test('Deployment, StatefulSet, DaemonSet and bare pod, through a rolling update', async () => {
      await inNamespace(world, 'workloads', async (namespace) => {
        const annotations = ordinary(world);
        await world.apply(
          [
            controller(world, 'Deployment', 'deployment', { replicas: 4, annotations }),
            controller(world, 'StatefulSet', 'set', { replicas: 3, annotations }),
            controller(world, 'DaemonSet', 'daemons', { annotations }),
            pod(world, 'bare', { annotations }),
          ],
          namespace,
        );
        const count = 8 + world.workers.length;
        await whenReady(world, namespace, count);
        await atRest(world);
        await rollOut(world, namespace, 'deployment/deployment', 'statefulset/set', 'daemonset/daemons');
        await whenReady(world, namespace, count);
        await atRest(world);
      });
      await atRest(world);
    });

    test('a Job’s and a CronJob’s pods give their addresses back when they complete, not when they are deleted', async () => {
      await inNamespace(world, 'jobs', async (namespace) => {
        const annotations = ordinary(world);
        const before = (await interfaces(world)).length;
        const job = {
          completions: 4,
          parallelism: 2,
          template: template(world, { annotations, restartPolicy: 'Never', command: TRUE }),
        };
        await world.apply(
          [
            { apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'job' }, spec: job },
            {
              apiVersion: 'batch/v1',
              kind: 'CronJob',
              metadata: { name: 'cron' },
              // It never comes; the Job that it would make is made by hand, as it is the same one.
              spec: {
                schedule: '0 0 31 2 *',
                jobTemplate: { spec: { ...job, completions: 1, parallelism: 1 } },
              },
            },
          ],
          namespace,
        );
        await world.kubectl(['create', 'job', 'now', '--from=cronjob/cron', `--namespace=${namespace}`]);
        await world.kubectl([
          'wait',
          '--for=condition=Complete',
          'job',
          '--all',
          `--namespace=${namespace}`,
          PATIENCE_FLAG,
        ]);
        const completed = await world.pods(namespace);
        expect(completed.map(({ status }) => status?.phase)).toEqual(
          Array.from({ length: 5 }, () => 'Succeeded'),
        );
        expect(await atRest(world)).toBe(before);
      });
      await atRest(world);
    });

    test('pods that are deleted by force, and pods that the kubelet evicts, leave no address behind', async () => {
      await inNamespace(world, 'evicted', async (namespace) => {
        const annotations = ordinary(world);
        const before = (await interfaces(world)).length;
        const glutton = {
          annotations,
          restartPolicy: 'Never',
          // More than its volume may have: the kubelet evicts it.
          spec: {
            volumes: [{ name: 'data', emptyDir: { sizeLimit: '1Mi' } }],
            containers: [
              {
                name: 'main',
                image: world.image,
                imagePullPolicy: 'IfNotPresent',
                command: [
                  'sh',
                  '-ec',
                  'busybox dd if=/dev/zero of=/data/file bs=1M count=8; busybox sleep 100000',
                ],
                volumeMounts: [{ name: 'data', mountPath: '/data' }],
              },
            ],
          },
        } as const;
        await world.apply(
          [
            pod(world, 'glutton', glutton),
            ...[1, 2, 3, 4].map((number) =>
              pod(world, `forced-${number}`, { annotations, labels: { app: 'forced' } }),
            ),
          ],
          namespace,
        );
        await whenReady(world, namespace, 4, 'app=forced');
        const selector = '--selector=app=forced';
        await world.kubectl([
          'delete',
          'pods',
          selector,
          '--force',
          '--grace-period=0',
          `--namespace=${namespace}`,
        ]);
        await waitFor(
          'the kubelet has evicted the pod',
          async () => (await world.pods(namespace)).some(({ status }) => status?.reason === 'Evicted'),
          { timeoutMs: PATIENCE_MS, everyMs: 1_000 },
        );
        expect(await atRest(world)).toBe(before);
      });
      await atRest(world);
    });
  });
}

/** Many pods, and none again. */
export function scale(world: World): void {
  describe('scale', () => {
    test('from 0 to 100 pods and back, twice: all Running, each address once', async () => {
      await inNamespace(world, 'scale', async (namespace) => {
        const before = (await interfaces(world)).length;
        const annotations = ordinary(world);
        // All nodes: no more than 110 pods fit on one.
        const spec = { tolerations: [{ operator: 'Exists' }] };
        const options = { replicas: 0, annotations, spec };
        await world.apply([controller(world, 'Deployment', 'many', options)], namespace);
        for (const round of [1, 2]) {
          const start = performance.now();
          await world.kubectl(['scale', 'deployment/many', '--replicas=100', `--namespace=${namespace}`]);
          await whenReady(world, namespace, 100);
          const up = performance.now();
          const there = await atRest(world);
          expect(new Set(await interfaces(world)).size).toBe(there);
          expect((there - before) % 100).toBe(0);
          if (round === 2) await footprint(world);
          const down = performance.now();
          await world.kubectl(['scale', 'deployment/many', '--replicas=0', `--namespace=${namespace}`]);
          await whenGone(world, namespace);
          expect(await atRest(world)).toBe(before);
          const [rising, falling] = [up - start, performance.now() - down].map((ms) => Math.round(ms / 1000));
          note(`scale, round ${round}: 100 pods Ready in ${rising} s, gone in ${falling} s`);
        }
      });
    });
  });
}

/** What is promised of the working set in the cluster, in MB (10^6 bytes). */
const PROMISED_MB = { agent: 110, operator: 130 } as const;

async function footprint(world: World): Promise<void> {
  const sets = await workingSets(world);
  for (const [program, promised] of Object.entries(PROMISED_MB)) {
    const found = [...sets]
      .filter(([name]) => name.startsWith(`berth-${program}-`))
      .map(([, bytes]) => bytes / 1e6);
    const shown = found.map((megabytes) => megabytes.toFixed(0)).join(', ');
    note(`working set with 100 pods: ${program} ${shown} MB (at most ${promised})`);
    expect(found.length, `${program}s`).toBeGreaterThan(0);
    for (const megabytes of found) expect(megabytes, `${program}, MB`).toBeLessThanOrEqual(promised);
  }
}
