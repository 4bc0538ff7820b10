/** Pods, as small as they can be; waiting until they are what they should be. */
import { waitFor } from '../../harness/wait.ts';
import { POD_IMAGE } from '../images.ts';
import { type Manifest, PATIENCE_MS, type TestPod, testPods, type World } from './world.ts';

const SERVE = ['busybox', 'httpd', '-f', '-p', '8080', '-h', '/etc'];

/** A bare pod that serves its own name at port 8080, over IPv4 and IPv6. */
export function pod(name: string): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      // A process that is the first of its namespace does not end on SIGTERM by itself.
      terminationGracePeriodSeconds: 1,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      containers: [{ name: 'main', image: POD_IMAGE, imagePullPolicy: 'IfNotPresent', command: SERVE }],
    },
  };
}

/** Whether the pod's containers are all ready. */
function isReady({ status }: TestPod): boolean {
  return (status?.conditions ?? []).some(({ type, status: is }) => type === 'Ready' && is === 'True');
}

/** Waits until exactly `count` pods are there, all Ready. @returns them, by name */
export async function whenReady(world: World, namespace: string, count: number): Promise<TestPod[]> {
  let found: TestPod[] = [];
  await waitFor(
    `${count} pods are Ready in ${namespace}`,
    async () => {
      found = await world.pods(namespace);
      return found.length === count && found.every(isReady);
    },
    {
      timeoutMs: PATIENCE_MS,
      everyMs: 500,
      onTimeout: () =>
        found
          .filter((each) => !isReady(each))
          .map((each) => `${each.metadata.name} on ${each.spec?.nodeName}: ${each.status?.phase}`)
          .join('\n') || `${found.length} pods`,
    },
  );
  return found.toSorted((a, b) => (a.metadata.name ?? '').localeCompare(b.metadata.name ?? ''));
}

/** Waits until no pod is left, those that are being deleted included. */
export async function whenGone(world: World, namespace: string): Promise<void> {
  await waitFor(
    `no pod is left in ${namespace}`,
    async () => (await world.api.list(testPods, { namespace })).items.length === 0,
    { timeoutMs: PATIENCE_MS, everyMs: 500 },
  );
}

/** Addresses of the cluster's own network, as the pods' status has them. */
export function addressesOf(pods: readonly TestPod[]): string[] {
  return pods.flatMap(({ status }) => (status?.podIPs ?? []).map(({ ip }) => ip));
}

/** Runs `body` in a namespace of its own, which is deleted afterwards with everything in it. */
export async function inNamespace(
  world: World,
  name: string,
  body: (namespace: string) => Promise<void>,
): Promise<void> {
  const namespace = `e2e-${name}`;
  const metadata = { name: namespace, labels: { 'berth-e2e': 'true' } };
  await world.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata }]);
  try {
    await body(namespace);
  } finally {
    // The namespace itself takes seconds more, which nobody has to wait for.
    await world.kubectl(['delete', 'namespace', namespace, '--wait=false']);
    await whenGone(world, namespace);
  }
}
