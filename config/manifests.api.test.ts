/** Everything that is installed, as a real API server takes it. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { agentToken, whenPolicyInForce } from '../e2e/controlplane/agentidentity.ts';
import { type ControlPlane, startControlPlane } from '../e2e/controlplane/controlplane.ts';
import { type KubernetesObject, kustomize, parseObjects } from './testing/kustomize.ts';

let controlPlane: ControlPlane;

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: 'manifests' });
});

afterAll(async () => {
  await controlPlane?.stop();
});

const keyOf = ({ kind, metadata }: KubernetesObject): string => `${kind}/${metadata.name}`;

interface PodTemplate {
  readonly spec: {
    readonly hostNetwork: boolean;
    readonly serviceAccountName: string;
    readonly containers: readonly Container[];
    readonly initContainers?: readonly Container[];
  };
}
interface Container {
  readonly image: string;
  readonly imagePullPolicy?: string;
  readonly command: readonly string[];
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly ports?: readonly { readonly containerPort: number }[];
}

/** The pod templates of the live DaemonSet and Deployment. */
async function templates(): Promise<Record<'agent' | 'operator', PodTemplate>> {
  const get = async (what: string): Promise<PodTemplate> => {
    const text = await controlPlane.kubectl(['-n', 'berth-system', 'get', what, '-o', 'json']);
    // A workload as the API server answers it.
    return (JSON.parse(text) as { spec: { template: PodTemplate } }).spec.template;
  };
  return { agent: await get('daemonset/berth-agent'), operator: await get('deployment/berth-operator') };
}

describe.each(['default', 'overlays/kind', 'overlays/minimal'])('config/%s', (folder) => {
  test('is accepted whole, and again, without a warning', async () => {
    const rendered = await kustomize(controlPlane, folder);
    const apply = ['apply', '--server-side', '--warnings-as-errors', '-f', '-'];
    const first = (await controlPlane.kubectl(apply, rendered)).trim().split('\n');
    expect(first.length).toBe(parseObjects(rendered).length);
    expect(await controlPlane.kubectl(apply, rendered)).toContain('serverside-applied');
  });

  test('runs agent and operator on the host network, on ports of their own, with nothing of root but its files', async () => {
    await controlPlane.kubectl(['apply', '--server-side', '-f', '-'], await kustomize(controlPlane, folder));
    const { agent, operator } = await templates();
    for (const { spec } of [agent, operator]) {
      expect(spec.hostNetwork).toBe(true);
      for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
        expect(container.image).toMatch(/^berth:\d/);
        expect(container.securityContext).toMatchObject({
          readOnlyRootFilesystem: true,
          allowPrivilegeEscalation: false,
          capabilities: { drop: ['ALL'] },
        });
        expect(container.imagePullPolicy).toBe(folder === 'overlays/kind' ? 'Never' : 'IfNotPresent');
      }
    }
    expect(operator.spec.containers[0]?.securityContext).toMatchObject({ runAsNonRoot: true });
    const ports = [agent, operator].flatMap(({ spec }) =>
      spec.containers.flatMap((container) => (container.ports ?? []).map((port) => port.containerPort)),
    );
    expect(new Set(ports)).toEqual(new Set([9465, 9466, 9467]));
    expect(ports).toHaveLength(3);
  });
});

test('a second operator on one node is not possible: neither by its ports nor by its affinity', async () => {
  await controlPlane.kubectl(['apply', '--server-side', '-f', '-'], await kustomize(controlPlane, 'default'));
  const text = await controlPlane.kubectl([
    '-n',
    'berth-system',
    'get',
    'deploy/berth-operator',
    '-o',
    'json',
  ]);
  expect(JSON.parse(text)).toMatchObject({
    spec: {
      strategy: { rollingUpdate: { maxSurge: 0 } },
      template: {
        spec: {
          affinity: {
            podAntiAffinity: {
              requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'kubernetes.io/hostname' }],
            },
          },
        },
      },
    },
  });
});

test('the minimal overlay has one operator, and what every overlay else has', async () => {
  const [whole, minimal] = await Promise.all(
    ['default', 'overlays/minimal'].map(async (folder) =>
      parseObjects(await kustomize(controlPlane, folder)),
    ),
  );
  const keys = (objects: readonly KubernetesObject[] = []): string[] => objects.map(keyOf).toSorted();
  expect(keys(minimal)).toEqual(keys(whole).filter((key) => key !== 'PodDisruptionBudget/berth-operator'));
  expect(minimal?.find(({ kind }) => kind === 'Deployment')).toMatchObject({ spec: { replicas: 1 } });
});

test('with the token of the rendered service account the policy refuses what is not its own', async () => {
  await controlPlane.kubectl(['apply', '--server-side', '-f', '-'], await kustomize(controlPlane, 'default'));
  const { agent } = await templates();
  const node = `node-${randomUUID().slice(0, 8)}`;
  await controlPlane.kubectl(
    ['create', '-f', '-'],
    JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: node } }),
  );
  const token = await agentToken(controlPlane, { node, serviceAccount: agent.spec.serviceAccountName });
  // Which throws unless a reservation for another node is refused, by the policy.
  await whenPolicyInForce(controlPlane, token);
});
