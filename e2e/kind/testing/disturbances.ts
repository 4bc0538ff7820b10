/** Scenarios: what goes down in a cluster comes up again, and no address is lost or given twice meanwhile. */
import { describe, expect, test } from 'vitest';
import { settleAll } from '../../controlplane/assets.ts';
import { RunError } from '../../controlplane/run.ts';
import { waitFor } from '../../harness/wait.ts';
import { rollOutBerth, whenNodesReady } from './berth.ts';
import { ordinary } from './controllers.ts';
import { detached } from './nodes.ts';
import { atRest } from './rest.ts';
import { controller, inNamespace, pod, rollOut, whenReady, whenTold } from './workloads.ts';
import { PATIENCE_FLAG, PATIENCE_MS, type World } from './world.ts';

const BINARY = '/opt/cni/bin/berth';

/** What kubectl says while the API server or etcd is down. */
const API_SERVER_DOWN =
  /refused|EOF|reset|etcdserver|TLS handshake|ServiceUnavailable|unable to handle|lost connection|not yet ready|forbidden/i;

/** Pods that come and go beside a restart: enough that some are under way at any time, and the machine keeps time for it. */
const CHURNING = 4;

/** Runs `body` while pods come and go all the time, and then looks that all of them are there. */
async function duringChurn(world: World, name: string, body: () => Promise<void>): Promise<void> {
  await inNamespace(world, name, async (namespace) => {
    const annotations = ordinary(world);
    await world.apply(
      [controller(world, 'Deployment', 'churn', { replicas: CHURNING, annotations })],
      namespace,
    );
    await whenReady(world, namespace, CHURNING);
    let going = true;
    const churn = async (): Promise<void> => {
      do {
        try {
          await rollOut(world, namespace, 'deployment/churn');
        } catch (error) {
          if (!(error instanceof RunError && API_SERVER_DOWN.test(error.stderr))) throw error;
        }
      } while (going);
    };
    const end = (): void => {
      going = false;
    };
    await settleAll([body().finally(end), churn()]);
    await whenReady(world, namespace, CHURNING);
    await atRest(world);
  });
  await atRest(world);
}

async function systemctlRestart(world: World, node: string, unit: string): Promise<void> {
  await world.nodes.shell(node, `systemctl restart ${unit}`);
  await whenNodesReady(world);
}

/** Waits until the API server answers, after it was killed. */
async function whenApiServerAnswers(world: World): Promise<void> {
  await waitFor(
    'the API server answers',
    async () => (await world.kubectl(['get', '--raw', '/readyz'])) === 'ok',
    {
      timeoutMs: PATIENCE_MS,
      everyMs: 500,
    },
  );
}

/** Restarts of everything that Berth depends on, and of Berth. */
export function restarts(world: World): void {
  describe('restarts while pods come and go', () => {
    test('agents and operator are rolled out anew', () =>
      duringChurn(world, 'rollout', () => rollOutBerth(world)));

    test('the kubelet restarts', () =>
      duringChurn(world, 'kubelet', async () => {
        for (const node of world.workers) await systemctlRestart(world, node, 'kubelet');
      }));

    test('containerd restarts', () =>
      duringChurn(world, 'containerd', async () => {
        for (const node of world.workers) await systemctlRestart(world, node, 'containerd');
      }));

    test('API server and etcd are killed', () =>
      duringChurn(world, 'control-plane', async () => {
        const node = world.nodes.names.find((name) => !world.workers.includes(name));
        if (node === undefined) throw new Error('no node is a control plane');
        for (const program of ['kube-apiserver', 'etcd']) {
          const before = await world.nodes.shell(node, `pidof ${program}`);
          await world.nodes.shell(node, detached(`kill -KILL ${before.trim()}`));
          await waitFor(
            `${program} runs again`,
            async () => (await world.nodes.shell(node, `pidof ${program}`)) !== before,
            { timeoutMs: PATIENCE_MS, everyMs: 500 },
          );
          await whenApiServerAnswers(world);
        }
        await whenNodesReady(world);
      }));
  });
}

/** Nodes that are emptied, rebooted, or lose the binary. */
export function nodeFailures(world: World): void {
  describe('nodes', () => {
    test('the binary is removed by hand: pods wait, and get their addresses when it is back', async () => {
      await inNamespace(world, 'binary', async (namespace) => {
        const [node = ''] = world.workers;
        await world.nodes.shell(node, `mv ${BINARY} ${BINARY}.away`);
        try {
          await world.apply([pod(world, 'waits', { node, annotations: ordinary(world) })], namespace);
          await whenTold(world, namespace, 'waits', /failed to find plugin/);
        } finally {
          await world.nodes.shell(node, `mv ${BINARY}.away ${BINARY}`);
        }
        await whenReady(world, namespace, 1);
        await whenNodesReady(world);
        await atRest(world);
      });
      await atRest(world);
    });

    test('a node is drained: its pods get addresses elsewhere, and theirs are free again', async () => {
      await inNamespace(world, 'drain', async (namespace) => {
        const annotations = ordinary(world);
        await world.apply(
          [controller(world, 'Deployment', 'moves', { replicas: 10, annotations })],
          namespace,
        );
        await whenReady(world, namespace, 10);
        const node = world.workers.at(-1) ?? '';
        const flags = ['--ignore-daemonsets', '--delete-emptydir-data', '--force'];
        try {
          await world.kubectl(['drain', node, ...flags, PATIENCE_FLAG]);
          const pods = await whenReady(world, namespace, 10);
          expect(pods.filter(({ spec }) => spec?.nodeName === node)).toEqual([]);
          await atRest(world);
        } finally {
          await world.kubectl(['uncordon', node]);
        }
      });
      await atRest(world);
    });

    test('a node is rebooted without a word: its pods come back, and each has the address that it says', async () => {
      await inNamespace(world, 'reboot', async (namespace) => {
        const annotations = ordinary(world);
        await world.apply(
          [controller(world, 'Deployment', 'returns', { replicas: 6, annotations })],
          namespace,
        );
        await whenReady(world, namespace, 6);
        const node = world.workers.at(-1) ?? '';
        await world.nodes.reboot(node);
        await whenNodesReady(world);
        // The pods' old sandboxes are gone, so that a status of before the reboot is no proof.
        await atRest(world);
        await whenReady(world, namespace, 6);
        await atRest(world);
      });
      await atRest(world);
    });
  });
}
