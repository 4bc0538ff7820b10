/** Pods and what makes them, as small as they can be; waiting until they are what they should be. */
import { events } from '../../../kube/core.ts';
import { isReady } from '../../harness/ready.ts';
import { waitFor } from '../../harness/wait.ts';
import { type Manifest, PATIENCE_FLAG, PATIENCE_MS, type TestPod, testPods, type World } from './world.ts';

/** What a pod is made of. */
export interface PodOptions {
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Bound to this node past the scheduler. */
  readonly node?: string;
  /** What busybox runs; absent: it serves its own name at port 8080, over IPv4 and IPv6. */
  readonly command?: readonly string[];
  readonly restartPolicy?: 'Always' | 'Never' | 'OnFailure';
  /** More of the pod's spec. */
  readonly spec?: Manifest;
}

const SERVE = ['busybox', 'httpd', '-f', '-p', '8080', '-h', '/etc'];

/** The metadata and spec of a pod, for a template. */
export function template(world: World, options: PodOptions = {}): Manifest {
  return {
    metadata: { labels: options.labels ?? {}, annotations: options.annotations ?? {} },
    spec: {
      // A process that is the first of its namespace does not end on SIGTERM by itself.
      terminationGracePeriodSeconds: 1,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      restartPolicy: options.restartPolicy ?? 'Always',
      ...(options.node === undefined ? {} : { nodeName: options.node }),
      containers: [
        {
          name: 'main',
          image: world.image,
          imagePullPolicy: 'IfNotPresent',
          command: options.command ?? SERVE,
        },
      ],
      ...options.spec,
    },
  };
}

/** A bare pod. */
export function pod(world: World, name: string, options: PodOptions = {}): Manifest {
  const { metadata, spec } = template(world, options) as { metadata: Manifest; spec: Manifest };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, name }, spec };
}

/** A Deployment, StatefulSet or DaemonSet whose pods have the label `app: <name>`. */
export function controller(
  world: World,
  kind: 'Deployment' | 'StatefulSet' | 'DaemonSet',
  name: string,
  options: PodOptions & { readonly replicas?: number } = {},
): Manifest {
  const labels = { ...options.labels, app: name };
  return {
    apiVersion: 'apps/v1',
    kind,
    metadata: { name },
    spec: {
      selector: { matchLabels: { app: name } },
      ...(kind === 'DaemonSet' ? {} : { replicas: options.replicas ?? 1 }),
      ...(kind === 'StatefulSet' ? { serviceName: name, podManagementPolicy: 'Parallel' } : {}),
      template: template(world, { ...options, labels }),
    },
  };
}

/** Waits until exactly `count` pods are there, all Ready. @returns them, by name */
export async function whenReady(
  world: World,
  namespace: string,
  count: number,
  selector?: string,
): Promise<TestPod[]> {
  let found: TestPod[] = [];
  await waitFor(
    `${count} pods are Ready in ${namespace}`,
    async () => {
      found = await world.pods(namespace, selector);
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

/** Restarts every pod of workloads, as an upgrade does, and waits until all are new. */
export async function rollOut(world: World, namespace: string, ...workloads: string[]): Promise<void> {
  for (const workload of workloads) {
    await world.kubectl(['rollout', 'restart', workload, `--namespace=${namespace}`]);
  }
  await whenRolledOut(world, namespace, ...workloads);
}

/** Waits until workloads have all their pods, and no older ones. */
export async function whenRolledOut(world: World, namespace: string, ...workloads: string[]): Promise<void> {
  for (const workload of workloads) {
    await world.kubectl(['rollout', 'status', workload, `--namespace=${namespace}`, PATIENCE_FLAG]);
  }
}

/** Waits until an Event of an object of that name says something. */
export async function whenTold(
  world: World,
  namespace: string,
  name: string,
  message: RegExp,
): Promise<void> {
  const fieldSelector = `involvedObject.name=${name}`;
  await waitFor(
    `an Event of ${name} says ${message}`,
    async () =>
      (await world.api.list(events, { namespace, fieldSelector })).items.some((event) =>
        message.test(event.message),
      ),
    { timeoutMs: 120_000, everyMs: 500 },
  );
}

/** Waits until no pod is left, those that are being deleted included. */
export async function whenGone(world: World, namespace: string): Promise<void> {
  await waitFor(
    `no pod is left in ${namespace}`,
    async () => (await world.api.list(testPods, { namespace, limit: 1 })).items.length === 0,
    { timeoutMs: PATIENCE_MS, everyMs: 500 },
  );
}

/** The pod of that name. @throws Error if there is none */
export function named(pods: readonly TestPod[], name: string): TestPod {
  const found = pods.find(({ metadata }) => metadata.name === name);
  if (found === undefined) throw new Error(`there is no pod ${name}`);
  return found;
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
  annotations: Readonly<Record<string, string>> = {},
): Promise<void> {
  const namespace = `e2e-${name}`;
  const metadata = { name: namespace, annotations, labels: { 'berth-e2e': 'true' } };
  await world.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata }]);
  try {
    await body(namespace);
  } finally {
    // The namespace's own controller would begin after five seconds, and the namespace takes seconds more.
    await world.kubectl(['delete', 'all', '--all', '--wait=false', `--namespace=${namespace}`]);
    await world.kubectl(['delete', 'namespace', namespace, '--wait=false']);
    await whenGone(world, namespace);
  }
}

/** Runs a shell line in a pod's container. */
export function inPod(world: World, namespace: string, name: string, line: string): Promise<string> {
  return world.kubectl(['exec', `--namespace=${namespace}`, name, '--', 'sh', '-ec', line]);
}
