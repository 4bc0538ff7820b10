/** Berth in the cluster: installed, rolled out, measured, taken away. */
import { join } from 'node:path';
import { nodes } from '../../../kube/core.ts';
import { isReady } from '../../harness/ready.ts';
import { waitFor } from '../../harness/wait.ts';
import { rollOut, whenRolledOut } from './workloads.ts';
import { PATIENCE_FLAG, PATIENCE_MS, type World } from './world.ts';

const ROOT = join(import.meta.dirname, '../../..');
const OVERLAY = join(ROOT, 'config/overlays/kind');
/** Of Helm. */
const RELEASE = 'berth';
const NAMESPACE = 'berth-system';

/** The two programs. */
const PROGRAMS = ['daemonset/berth-agent', 'deployment/berth-operator'] as const;

async function whenKindsServed(world: World): Promise<void> {
  const kinds = ['ippools', 'ipreservations'].map((plural) => `crd/${plural}.ipam.berth.dev`);
  await world.kubectl(['wait', '--for=condition=Established', ...kinds, '--timeout=60s']);
}

/**
 * Installs the chart with what `config/overlays/kind` changes, and waits until the API server knows the kinds; not until
 * anything runs.
 */
export async function installChart(world: World): Promise<void> {
  const chart = join(ROOT, 'charts/berth');
  const values = ['image.pullPolicy=Never', 'agent.maxUnavailable=100%'].flatMap((value) => ['--set', value]);
  await world.helm(['install', RELEASE, chart, `--namespace=${NAMESPACE}`, '--create-namespace', ...values]);
  await whenKindsServed(world);
}

/** Runs what the chart has of tests. */
export async function testChart(world: World): Promise<void> {
  await world.helm(['test', RELEASE, `--namespace=${NAMESPACE}`, PATIENCE_FLAG]);
}

/** Takes the release away, which keeps the kinds and with them the reservations, and waits until the agents are gone. */
export async function uninstallChart(world: World): Promise<void> {
  await world.helm(['uninstall', RELEASE, `--namespace=${NAMESPACE}`, '--wait', PATIENCE_FLAG]);
}

/** Applies the manifests, and waits until the API server knows the kinds; not until anything runs. */
export async function applyManifests(world: World): Promise<void> {
  await world.kubectl(['apply', '--server-side', '--force-conflicts', '--kustomize', OVERLAY]);
  await whenKindsServed(world);
}

/** Waits until both programs are rolled out. */
export function whenBerthRuns(world: World): Promise<void> {
  return whenRolledOut(world, NAMESPACE, ...PROGRAMS);
}

/** Restarts the agents and then the operator, as an upgrade does, and waits for the end. */
export async function rollOutBerth(world: World): Promise<void> {
  for (const program of PROGRAMS) await rollOut(world, NAMESPACE, program);
}

/** Bytes of the working set (cgroup) of each container of Berth, by pod. */
export async function workingSets(world: World): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  for (const node of world.nodes.names) {
    const text = await world.kubectl(['get', '--raw', `/api/v1/nodes/${node}/proxy/stats/summary`]);
    // The kubelet's stats/v1alpha1 Summary.
    const { pods } = JSON.parse(text) as {
      pods: {
        podRef: { name: string; namespace: string };
        containers?: { name: string; memory?: { workingSetBytes?: number } }[];
      }[];
    };
    for (const { podRef, containers = [] } of pods) {
      if (podRef.namespace !== NAMESPACE) continue;
      for (const { memory } of containers) {
        if (memory?.workingSetBytes !== undefined) found.set(podRef.name, memory.workingSetBytes);
      }
    }
  }
  return found;
}

/** Waits until every node is Ready: its runtime asks Berth's binary for STATUS. */
export async function whenNodesReady(world: World): Promise<void> {
  await waitFor('every node is Ready', async () => (await world.api.list(nodes)).items.every(isReady), {
    timeoutMs: PATIENCE_MS,
    everyMs: 500,
  });
}
