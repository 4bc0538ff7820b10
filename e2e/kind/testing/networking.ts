/** Scenarios: every network, every way to a pool and to an address, and pods that reach each other over each of them. */
import { describe, expect, test } from 'vitest';
import {
  allAddresses,
  askName,
  createAttachmentDefinitions,
  createPools,
  SECONDARY,
  SECONDARY_POOLS,
  statusAddresses,
  whenReachable,
} from './networks.ts';
import { atRest } from './rest.ts';
import { addressesOf, controller, inNamespace, named, pod, whenReady, whenTold } from './workloads.ts';
import type { TestPod, World } from './world.ts';

const POOLS = 'ipam.berth.dev/pools';
const IPS = 'ipam.berth.dev/ips';

/** Networks beside the cluster's own. */
export function secondaryNetworks(world: World): void {
  describe('secondary networks', () => {
    test('pools and NetworkAttachmentDefinitions are accepted', async () => {
      await createPools(world, SECONDARY_POOLS);
      await createAttachmentDefinitions(world);
    });

    test('bridge and macvlan through Multus: dual stack, and pods reach each other over each', async () => {
      await inNamespace(world, 'secondary', async (namespace) => {
        const [one = '', two = ''] = world.workers;
        const annotations = SECONDARY;
        await world.apply(
          [
            pod(world, 'a', { node: one, annotations }),
            pod(world, 'b', { node: two, annotations }),
            pod(world, 'c', { node: one, annotations }),
          ],
          namespace,
        );
        const pods = await whenReady(world, namespace, 3);
        const [a, b, c] = ['a', 'b', 'c'].map((name) => named(pods, name)) as [TestPod, TestPod, TestPod];
        for (const each of pods) {
          const found = statusAddresses(each);
          expect(found['net1']?.toSorted()).toEqual([
            expect.stringMatching(/^10\.66\.1\./),
            expect.stringMatching(/^fd00:66::1:/),
          ]);
          expect(found['net2']?.toSorted()).toEqual([
            expect.stringMatching(/^10\.67\.1\./),
            expect.stringMatching(/^fd00:67::1:/),
          ]);
        }
        const all = pods.flatMap(allAddresses);
        expect(new Set(all).size).toBe(all.length);
        // On one node, and from node to node where the network spans them.
        await whenReachable(world, a, c, Object.values(statusAddresses(c)).flat());
        const spanning = statusAddresses(b);
        await whenReachable(world, a, b, world.own ? allAddresses(b) : (spanning['net2'] ?? []));
        await atRest(world);
      });
      await atRest(world);
    });
  });
}

/** The cluster's own network, where Berth serves it. */
export function primaryNetwork(world: World): void {
  describe('the cluster’s own network', () => {
    test('pods of both families reach each other, a Service and DNS, on one node and across nodes', async () => {
      await inNamespace(world, 'primary', async (namespace) => {
        const [one = '', two = ''] = world.workers;
        const service = {
          apiVersion: 'v1',
          kind: 'Service',
          metadata: { name: 'b' },
          spec: {
            selector: { app: 'b' },
            ports: [{ port: 80, targetPort: 8080 }],
            ipFamilyPolicy: 'PreferDualStack',
          },
        };
        await world.apply(
          [
            service,
            pod(world, 'a', { node: one }),
            pod(world, 'b', { node: two, labels: { app: 'b' } }),
            pod(world, 'c', { node: one }),
          ],
          namespace,
        );
        const pods = await whenReady(world, namespace, 3);
        const [a, b, c] = ['a', 'b', 'c'].map((name) => named(pods, name)) as [TestPod, TestPod, TestPod];
        await whenReachable(world, a, b);
        await whenReachable(world, a, c);
        await whenReachable(world, b, a);
        const name = `b.${namespace}.svc.cluster.local`;
        for (const from of [a, b]) expect(await askName(world, from, name, 80)).toBe('b');
        await atRest(world);
      });
      await atRest(world);
    });

    test('a pool by default, by the pod’s annotation and by its namespace’s; one family alone; an address by value', async () => {
      const common = { subnet: '10.64.0.0/16', gateway: '10.64.0.1', network: 'stretched', cooldown: '0s' };
      const routes = [{ dst: '0.0.0.0/0' }];
      await world.pool('by-pod', { ...common, routes, ranges: ['10.64.20.0/24'] });
      await world.pool('by-namespace', { ...common, routes, ranges: ['10.64.21.0/24'] });
      const body = async (namespace: string): Promise<void> => {
        await world.apply(
          [
            pod(world, 'by-namespace'),
            pod(world, 'by-pod', { annotations: { [POOLS]: 'by-pod' } }),
            pod(world, 'v4', { annotations: { [POOLS]: 'stretched-v4' } }),
            pod(world, 'v6', { annotations: { [POOLS]: 'stretched-v6' } }),
            pod(world, 'static', {
              annotations: { [POOLS]: 'stretched-v4,stretched-v6', [IPS]: '10.64.30.7,fd00:64::30:7' },
            }),
          ],
          namespace,
        );
        const pods = await whenReady(world, namespace, 5);
        const of = (name: string): string[] => addressesOf([named(pods, name)]).toSorted();
        expect(of('by-namespace')).toEqual([expect.stringMatching(/^10\.64\.21\./)]);
        expect(of('by-pod')).toEqual([expect.stringMatching(/^10\.64\.20\./)]);
        expect(of('v4')).toEqual([expect.stringMatching(/^10\.64\.[1-9]\./)]);
        expect(of('v6')).toEqual([expect.stringMatching(/^fd00:64::1:/)]);
        expect(of('static')).toEqual(['10.64.30.7', 'fd00:64::30:7']);
        await whenReachable(world, named(pods, 'static'), named(pods, 'by-pod'));
        await atRest(world);
      };
      await inNamespace(world, 'pools', body, { [POOLS]: 'by-namespace' });
      await inNamespace(world, 'default', async (namespace) => {
        await world.apply([pod(world, 'default')], namespace);
        expect(addressesOf(await whenReady(world, namespace, 1)).toSorted()).toEqual([
          expect.stringMatching(/^10\.64\.[1-9]\./),
          expect.stringMatching(/^fd00:64::1:/),
        ]);
      });
      await atRest(world);
      await world.kubectl(['delete', 'ippools', 'by-pod', 'by-namespace', '--wait=false']);
    });

    test('a StatefulSet’s replicas wait for their addresses in a full pool, and get them as others leave', async () => {
      await world.pool('small', {
        network: 'stretched',
        subnet: '10.64.0.0/16',
        ranges: ['10.64.40.1-10.64.40.4'],
        gateway: '10.64.0.1',
        routes: [{ dst: '0.0.0.0/0' }],
        cooldown: '0s',
      });
      await inNamespace(world, 'full', async (namespace) => {
        const annotations = { [POOLS]: 'small' };
        await world.apply(
          [controller(world, 'Deployment', 'first', { replicas: 4, annotations })],
          namespace,
        );
        await whenReady(world, namespace, 4);
        await world.apply(
          [controller(world, 'StatefulSet', 'second', { replicas: 2, annotations })],
          namespace,
        );
        // Code 101.
        await whenTold(world, namespace, 'second-0', /no free address/);
        await world.kubectl(['scale', 'deployment/first', '--replicas=2', `--namespace=${namespace}`]);
        const pods = await whenReady(world, namespace, 4);
        expect(new Set(addressesOf(pods))).toEqual(new Set([1, 2, 3, 4].map((last) => `10.64.40.${last}`)));
        await atRest(world);
      });
      await atRest(world);
      await world.kubectl(['delete', 'ippool', 'small', '--wait=false']);
      // Ten seconds after the last address: every agent has seen by then that they are closed.
      const pools = ['by-pod', 'by-namespace', 'small'].map((name) => `ippool/${name}`);
      await world.kubectl(['wait', '--for=delete', ...pools, '--timeout=120s']);
    });
  });
}
