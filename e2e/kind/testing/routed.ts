/** Scenario: the cluster's own network in its other variant, a pool for each node, ptp and routes. */
import { describe, expect, test } from 'vitest';
import { waitFor } from '../../harness/wait.ts';
import { Docker } from '../docker.ts';
import { configureCni, MULTUS_CONFIGURATION, nodeAddresses, route, type Variant } from '../network.ts';
import { createPools, routedPools, whenReachable } from './networks.ts';
import { atRest } from './rest.ts';
import { addressesOf, controller, inNamespace, rollOut, whenReady } from './workloads.ts';
import { ownSocket, PATIENCE_MS, type World } from './world.ts';

async function change(world: World, docker: Docker, variant: Variant): Promise<void> {
  for (const node of world.nodes.names) await configureCni(docker, node, variant);
  // Multus writes its own configuration from it when it starts.
  await rollOut(world, 'kube-system', 'daemonset/multus');
  for (const node of world.nodes.names) {
    await waitFor(
      `Multus on ${node} uses ${variant}`,
      async () => (await world.nodes.shell(node, `cat ${MULTUS_CONFIGURATION}`)).includes(`"${variant}"`),
      { timeoutMs: PATIENCE_MS, everyMs: 1_000 },
    );
  }
}

/** Changes the cluster's network, and changes it back. */
export function routedVariant(world: World): void {
  describe('a pool for each node, ptp and routes', () => {
    test('each pod has an address of its node’s pool, and pods reach each other across nodes', async () => {
      const docker = new Docker(await ownSocket());
      const nodes = await nodeAddresses(docker, world.nodes.names);
      await route(docker, nodes);
      for (const node of nodes) await createPools(world, routedPools(node.name, node.index));
      await change(world, docker, 'routed');
      try {
        await inNamespace(world, 'routed', async (namespace) => {
          await world.apply([controller(world, 'Deployment', 'routed', { replicas: 20 })], namespace);
          const pods = await whenReady(world, namespace, 20);
          expect(new Set(addressesOf(pods)).size).toBe(40);
          for (const pod of pods) {
            const index = nodes.find(({ name }) => name === pod.spec?.nodeName)?.index;
            expect(addressesOf([pod]).toSorted()).toEqual([
              expect.stringMatching(new RegExp(`^10\\.65\\.${index}\\.`)),
              expect.stringMatching(new RegExp(`^fd00:65:${index}:`)),
            ]);
          }
          const [first] = pods;
          const there = pods.find(({ spec }) => spec?.nodeName !== first?.spec?.nodeName);
          const here = pods.findLast(({ spec }) => spec?.nodeName === first?.spec?.nodeName);
          if (first === undefined || there === undefined || here === undefined)
            throw new Error('all pods are on one node');
          await whenReachable(world, first, there);
          await whenReachable(world, there, first);
          await whenReachable(world, first, here);
          await atRest(world);
        });
        await atRest(world);
      } finally {
        await change(world, docker, 'stretched');
      }
    });
  });
}
