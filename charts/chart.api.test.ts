/** The chart: the same objects as kustomize makes, and what the values change, as a real API server takes it. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type KubernetesObject, kustomize, parseObjects } from '../config/testing/kustomize.ts';
import { agentToken, whenPolicyInForce } from '../e2e/controlplane/agentidentity.ts';
import { resolveHelm } from '../e2e/controlplane/assets.ts';
import { type ControlPlane, startControlPlane } from '../e2e/controlplane/controlplane.ts';
import { run } from '../e2e/controlplane/run.ts';

const CHART = join(import.meta.dirname, 'berth');

let controlPlane: ControlPlane;
let helm: string;

beforeAll(async () => {
  helm = await resolveHelm();
  controlPlane = await startControlPlane({ name: 'chart' });
});

afterAll(async () => {
  await controlPlane?.stop();
});

/** Values as `--set-json` takes them. */
type Values = Readonly<Record<string, unknown>>;

async function template(values: Values = {}, namespace = 'berth-system'): Promise<KubernetesObject[]> {
  const set = Object.entries(values).flatMap(([path, value]) => [
    '--set-json',
    `${path}=${JSON.stringify(value)}`,
  ]);
  return parseObjects(await run(helm, ['template', 'berth', CHART, '--namespace', namespace, ...set]));
}

const isTest = ({ metadata }: KubernetesObject): boolean => metadata.annotations?.['helm.sh/hook'] === 'test';
const find = (objects: readonly KubernetesObject[], kind: string, name: string): KubernetesObject => {
  const found = objects.find((object) => object.kind === kind && object.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found;
};

/** What only Helm adds. */
const HELM_LABELS = [
  'app.kubernetes.io/version',
  'app.kubernetes.io/managed-by',
  'app.kubernetes.io/instance',
  'helm.sh/chart',
];

/**
 * Without what the two tools may differ in: Helm's own labels and its annotation, empty maps, and the white space within
 * expressions, which kustomize wraps anew.
 */
function comparable(value: unknown): unknown {
  if (typeof value === 'string') return value.replace(/\s+/g, ' ');
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value)
    .filter(([key]) => !HELM_LABELS.includes(key) && key !== 'helm.sh/resource-policy')
    .map(([key, each]): [string, unknown] => [key, comparable(each)])
    .filter(([, each]) => JSON.stringify(each) !== '{}');
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function byKey(objects: readonly KubernetesObject[]): Record<string, unknown> {
  const entries = objects.map((object): [string, unknown] => [
    `${object.kind}/${object.metadata.name}`,
    comparable(object),
  ]);
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

describe('the chart as it is', () => {
  test('makes the objects of config/default; the namespace is made by helm', async () => {
    const chart = (await template()).filter((object) => !isTest(object));
    const config = parseObjects(await kustomize(controlPlane, 'default'));
    expect(byKey(chart)).toEqual(byKey(config.filter(({ kind }) => kind !== 'Namespace')));
  });

  test('keeps the kinds, and with them every address, when it is uninstalled', async () => {
    const kinds = (await template()).filter(({ kind }) => kind === 'CustomResourceDefinition');
    expect(kinds).toHaveLength(2);
    for (const { metadata } of kinds) {
      expect(metadata.annotations).toEqual({ 'helm.sh/resource-policy': 'keep' });
    }
  });

  test('has no complaint of helm lint', async () => {
    await run(helm, ['lint', '--strict', CHART]);
  });
});

describe('a release on a real API server', () => {
  const namespace = 'net-system';
  const helmRun = (...args: string[]): Promise<string> =>
    run(helm, [...args, '--kubeconfig', controlPlane.kubeconfig, '--namespace', namespace]);
  const names = async (what: string): Promise<string[]> =>
    (await controlPlane.kubectl(['get', what, '-A', '-o', 'name']))
      .split('\n')
      .filter((name) => /berth/.test(name));

  test('is installed, upgraded with its kinds, uninstalled without them, and installed again', async () => {
    await helmRun('install', 'berth', CHART, '--create-namespace');
    expect(await names('daemonsets,deployments')).toEqual([
      'daemonset.apps/berth-agent',
      'deployment.apps/berth-operator',
    ]);
    await controlPlane.kubectl(['wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all']);
    await controlPlane.kubectl(
      ['apply', '-f', '-'],
      'apiVersion: ipam.berth.dev/v1alpha1\nkind: IPPool\nmetadata: {name: kept}\nspec: {subnet: 10.0.0.0/24}\n',
    );
    // A kind of an older version, which lacks a column.
    const patch = [{ op: 'remove', path: '/spec/versions/0/additionalPrinterColumns/0' }];
    await controlPlane.kubectl([
      'patch',
      'crd',
      'ippools.ipam.berth.dev',
      '--type=json',
      '-p',
      JSON.stringify(patch),
    ]);
    await helmRun('upgrade', 'berth', CHART, '--set', 'operator.logLevel=debug', '--force-conflicts');
    const kind = await controlPlane.kubectl(['get', 'crd', 'ippools.ipam.berth.dev', '-o', 'json']);
    expect(kind).toContain('"name": "Network"');

    await helmRun('uninstall', 'berth');
    expect(await names('daemonsets,deployments,clusterroles,validatingadmissionpolicies')).toEqual([]);
    expect(await names('crd')).toHaveLength(2);
    expect(await names('ippools')).toEqual(['ippool.ipam.berth.dev/kept']);
    await helmRun('install', 'berth', CHART);
    expect(await names('daemonsets')).toEqual(['daemonset.apps/berth-agent']);
  });

  test('what is opt-in is accepted too; ServiceMonitors are the Prometheus operator’s kind, which is not there', async () => {
    const values = {
      'networkPolicy.enabled': true,
      'serviceMonitor.enabled': true,
      'agent.annotatePods': true,
    };
    const objects = (await template(values, namespace)).filter(({ kind }) => kind !== 'ServiceMonitor');
    const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects });
    const apply = ['apply', '--server-side', '--force-conflicts', '--dry-run=server', '-f', '-'];
    expect((await controlPlane.kubectl(apply, list)).trim().split('\n')).toHaveLength(objects.length);
  });

  test('the policy is that of the namespace it is installed in', async () => {
    await controlPlane.kubectl(
      ['apply', '-f', '-'],
      'apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\n',
    );
    const token = await agentToken(controlPlane, { node: 'node-1', namespace });
    // Which throws unless it refuses a reservation for another node.
    await whenPolicyInForce(controlPlane, token);
  });
});

describe('values', () => {
  test('image: a digest beats the tag, and every container has the image', async () => {
    const digest = `sha256:${'0'.repeat(64)}`;
    const text = JSON.stringify(
      await template({ 'image.repository': 'example.org/b', 'image.digest': digest }),
    );
    expect([...text.matchAll(/"image":"([^"]+)"/g)].map(([, image]) => image)).toEqual(
      Array<string>(4).fill(`example.org/b@${digest}`),
    );
  });

  test('paths: socket and state are where the agent is told, the binary where the runtime looks', async () => {
    const values = {
      'paths.cniBin': '/var/lib/cni/bin',
      'paths.run': '/var/run/b',
      'paths.state': '/data/b',
    };
    const agent = find(await template(values), 'DaemonSet', 'berth-agent');
    const text = JSON.stringify(agent);
    expect(text).toContain('"--socket=/var/run/b/agent.sock","--state-dir=/data/b"');
    expect(agent).toMatchObject({
      spec: {
        template: {
          spec: {
            volumes: [
              { hostPath: { path: '/var/lib/cni/bin' } },
              { hostPath: { path: '/var/run/b' } },
              { hostPath: { path: '/data/b' } },
            ],
          },
        },
      },
    });
    expect(text).not.toMatch(/\/opt\/cni|\/run\/berth|\/var\/lib\/berth/);
  });

  test('what is opt-in is not there unless it is asked for', async () => {
    const kinds = async (values: Values): Promise<string[]> => {
      const standard = byKey(await template());
      return Object.keys(byKey(await template(values))).filter((key) => !(key in standard));
    };
    expect(await kinds({ 'agent.annotatePods': true })).toEqual([
      'ClusterRole/berth-agent-annotate-pods',
      'ClusterRoleBinding/berth-agent-annotate-pods',
    ]);
    expect(await kinds({ 'networkPolicy.enabled': true })).toEqual([
      'NetworkPolicy/berth-agent',
      'NetworkPolicy/berth-operator',
    ]);
    expect(await kinds({ 'serviceMonitor.enabled': true })).toEqual([
      'Service/berth-agent-metrics',
      'Service/berth-operator-metrics',
      'ServiceMonitor/berth-agent',
      'ServiceMonitor/berth-operator',
    ]);
  });

  test('another value than the schema has is refused, and named', async () => {
    await expect(template({ 'agent.logLevel': 'loud' })).rejects.toThrow(/logLevel/);
    await expect(template({ 'agent.loglevel': 'info' })).rejects.toThrow(/loglevel/);
  });
});
