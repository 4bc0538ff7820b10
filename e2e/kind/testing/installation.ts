/** Scenarios: installed on a cluster without a pod network; and taken away under running pods, and installed again. */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { waitFor } from '../../harness/wait.ts';
import { MULTUS_IMAGE } from '../images.ts';
import { MULTUS_CONFIGURATION } from '../network.ts';
import {
  applyManifests,
  installChart,
  testChart,
  uninstallChart,
  whenBerthRuns,
  whenNodesReady,
} from './berth.ts';
import { createPools, PRIMARY_POOLS, whenReachable } from './networks.ts';
import { note } from './notes.ts';
import { atRest } from './rest.ts';
import { addressesOf, inNamespace, pod, whenGone, whenReady, whenRolledOut } from './workloads.ts';
import { PATIENCE_MS, type World } from './world.ts';

const E2E = join(import.meta.dirname, '../..');

async function installMultus(world: World): Promise<void> {
  await world.kubectl(['apply', `--filename=${join(E2E, 'controlplane/nad.yaml')}`]);
  await world.kubectl(['apply', `--filename=${join(E2E, 'harness/multus.yaml')}`]);
  const manifest = await readFile(join(E2E, 'kind/multus.yaml'), 'utf8');
  await world.kubectl(['apply', '--filename=-'], manifest.replace('image: IMAGE', `image: ${MULTUS_IMAGE}`));
  await whenRolledOut(world, 'kube-system', 'daemonset/multus');
  for (const node of world.nodes.names) {
    await waitFor(
      `Multus has written its configuration on ${node}`,
      async () =>
        (await world.nodes.shell(node, 'ls /etc/cni/net.d')).includes(basename(MULTUS_CONFIGURATION)),
      { timeoutMs: PATIENCE_MS, everyMs: 1_000 },
    );
  }
}

/** Installs Berth with its pools, and Multus, on our own cluster. */
export function installation(world: World): void {
  describe('installation', () => {
    test('a node becomes Ready, and a pod gets its addresses, soon after the chart is installed', async () => {
      const start = performance.now();
      await installChart(world);
      await createPools(world, PRIMARY_POOLS);
      await inNamespace(world, 'first', async (namespace) => {
        await world.apply([pod(world, 'first')], namespace);
        const [first] = await whenReady(world, namespace, 1);
        note(`from helm install to the first pod with a Berth address: ${seconds(start)} s`);
        expect(addressesOf(first === undefined ? [] : [first])).toHaveLength(2);
        await whenBerthRuns(world);
        await whenNodesReady(world);
      });
      await testChart(world);
    });

    test('the cluster’s own pods run on addresses of Berth', async () => {
      await whenRolledOut(world, 'kube-system', 'deployment/coredns');
      expect(await atRest(world)).toBeGreaterThanOrEqual(4);
    });

    test('Multus writes its configuration on every node', () => installMultus(world));
  });
}

/** Takes Berth away while pods run. */
export function reinstallation(world: World): void {
  describe('uninstalling with pods running, and installing again with another tool', () => {
    test('pods keep running and talking without Berth, and nothing is lost or given twice', async () => {
      await inNamespace(world, 'reinstall', async (namespace) => {
        const [one = '', two = ''] = world.workers;
        const names = { stays: one, talks: two, leaves: two };
        await world.apply(
          Object.entries(names).map(([name, node]) => pod(world, name, { node })),
          namespace,
        );
        const before = await whenReady(world, namespace, 3);
        await uninstallChart(world);
        const [, stays, talks] = before;
        if (stays === undefined || talks === undefined) throw new Error('three pods were Ready');
        await whenReachable(world, talks, stays);
        const leaving = world.kubectl(['delete', 'pod', 'leaves', `--namespace=${namespace}`]);
        await applyManifests(world);
        await whenBerthRuns(world);
        await leaving;
        await whenNodesReady(world);
        await world.apply([pod(world, 'new', { node: one })], namespace);
        const after = await whenReady(world, namespace, 3);
        const kept = after.filter(({ metadata }) => metadata.name !== 'new');
        expect(addressesOf(kept)).toEqual(addressesOf([stays, talks]));
        expect(new Set(addressesOf(after)).size).toBe(6);
        await atRest(world);
        await world.kubectl(['delete', 'pods', '--all', `--namespace=${namespace}`]);
        await whenGone(world, namespace);
      });
      await atRest(world);
    });
  });
}

function seconds(start: number): string {
  return ((performance.now() - start) / 1000).toFixed(1);
}
