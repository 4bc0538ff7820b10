import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { ELSEWHERE, render } from './testing/render.ts';
import { AT_HOME, EVERYWHERE, listed, type Rule } from './testing/rights.ts';

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules?: readonly Rule[];
  readonly roleRef?: { readonly kind: string; readonly name: string };
  readonly subjects?: readonly { readonly kind: string; readonly name: string; readonly namespace: string }[];
  readonly spec?: {
    readonly config?: string;
    readonly validations?: readonly { readonly reason?: string; readonly message?: string }[];
  };
}

async function read(path: string): Promise<Manifest[]> {
  const text = await readFile(join(import.meta.dirname, path), 'utf8');
  return parseAllDocuments(text, { strict: true, uniqueKeys: true }).map((document) => {
    expect(document.errors).toEqual([]);
    // YAML has no type; what the tests use is checked by them.
    return document.toJS() as Manifest;
  });
}

/** "group/resource verb" of every rule of these kinds, sorted. */
function grants(manifests: readonly Manifest[], kind: 'ClusterRole' | 'Role'): string[] {
  return manifests
    .filter((manifest) => manifest.kind === kind)
    .flatMap((manifest) => manifest.rules ?? [])
    .flatMap((rule) =>
      rule.apiGroups.flatMap((group) =>
        rule.resources.flatMap((resource) => rule.verbs.map((verb) => `${group}/${resource} ${verb}`)),
      ),
    )
    .toSorted();
}

describe('roles', () => {
  test.each(['agent', 'operator'] as const)('the %s may do what it does and no more', async (program) => {
    const manifests = await read(`rbac/${program}.yaml`);
    expect(grants(manifests, 'ClusterRole')).toEqual(listed(EVERYWHERE[program]));
    expect(grants(manifests, 'Role')).toEqual(listed(AT_HOME[program]));
  });

  test('patching pods is a role of its own, which no other file of the folder binds', async () => {
    const manifests = await read('rbac/optional/agent-annotate-pods.yaml');
    expect(grants(manifests, 'ClusterRole')).toEqual(['/pods patch']);
    const [role, binding] = manifests;
    expect(manifests.map(({ kind }) => kind)).toEqual(['ClusterRole', 'ClusterRoleBinding']);
    expect(binding?.roleRef).toMatchObject({ kind: 'ClusterRole', name: role?.metadata.name });
    expect(binding?.subjects).toEqual([
      { kind: 'ServiceAccount', name: 'berth-agent', namespace: 'berth-system' },
    ]);
  });

  test.each(['agent', 'operator'])(
    'the %s has a service account of its own, and every role is bound to it',
    async (program) => {
      const manifests = await read(`rbac/${program}.yaml`);
      const name = `berth-${program}`;
      expect(manifests.filter(({ kind }) => kind === 'ServiceAccount')).toEqual([
        { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'berth-system' } },
      ]);
      const bindings = manifests.filter(({ kind }) => kind.endsWith('RoleBinding'));
      expect(bindings.map(({ roleRef }) => `${roleRef?.kind}/${roleRef?.name}`)).toEqual(
        manifests
          .filter(({ kind }) => kind.endsWith('Role'))
          .map((role) => `${role.kind}/${role.metadata.name}`),
      );
      for (const { subjects } of bindings) {
        expect(subjects).toEqual([{ kind: 'ServiceAccount', name, namespace: 'berth-system' }]);
      }
    },
  );

  test('no rule has a wildcard', async () => {
    const files = await readdir(join(import.meta.dirname, 'rbac'), { recursive: true });
    for (const file of files.filter((name) => name.endsWith('.yaml'))) {
      const manifests = await read(`rbac/${file}`);
      const all = [...grants(manifests, 'ClusterRole'), ...grants(manifests, 'Role')];
      expect(all.length).toBeGreaterThan(0);
      expect(all.filter((grant) => grant.includes('*'))).toEqual([]);
    }
  });
});

describe('the admission policy of agents', () => {
  const path = 'policy/agent.yaml';

  test('refuses each thing as Forbidden and says why', async () => {
    const [policy, binding] = await read(path);
    // Each validation and each messageExpression would be evaluated on every write.
    expect(policy?.spec?.validations).toEqual([
      {
        expression: "variables.refusal == ''",
        reason: 'Forbidden',
        message: expect.stringContaining('an agent'),
        messageExpression: 'variables.refusal',
      },
    ]);
    expect(binding).toMatchObject({
      kind: 'ValidatingAdmissionPolicyBinding',
      spec: { policyName: policy?.metadata.name, validationActions: ['Deny'] },
    });
  });

  test('names namespace and service account in one place, so that a chart can make them other ones', async () => {
    const text = await readFile(join(import.meta.dirname, path), 'utf8');
    expect(text.split('system:serviceaccount:').length - 1).toBe(1);
    expect(text.split('system:serviceaccount:berth-system:berth-agent').length - 1).toBe(1);
    expect(text.split('berth-system').length - 1).toBe(1);
    const rendered = render(ELSEWHERE);
    expect(rendered).toContain("== 'system:serviceaccount:net-system:ipam-agent'");
    expect(rendered).not.toContain('berth-system');
  });
});

describe('samples', () => {
  test('each file has the kinds that its name says', async () => {
    const kinds = async (file: string): Promise<string[]> => [
      ...new Set((await read(`samples/${file}`)).map(({ apiVersion, kind }) => `${apiVersion} ${kind}`)),
    ];
    expect(await kinds('pools.yaml')).toEqual(['ipam.berth.dev/v1alpha1 IPPool']);
    expect(await kinds('reservation.yaml')).toEqual(['ipam.berth.dev/v1alpha1 IPReservation']);
    expect(await kinds('network.yaml')).toEqual(['k8s.cni.cncf.io/v1 NetworkAttachmentDefinition']);
    expect(await kinds('pod.yaml')).toEqual(['v1 Pod']);
    expect((await readdir(join(import.meta.dirname, 'samples'))).toSorted()).toEqual([
      'network.yaml',
      'pod.yaml',
      'pools.yaml',
      'reservation.yaml',
    ]);
  });

  test('the network names pools that are there', async () => {
    const [network] = await read('samples/network.yaml');
    // The plugin's configuration is JSON in a string.
    const config = JSON.parse(network?.spec?.config ?? '') as { ipam: { type: string; pools: string[] } };
    const pools = (await read('samples/pools.yaml')).map(({ metadata }) => metadata.name);
    expect(config.ipam.type).toBe('berth');
    expect(pools).toEqual(expect.arrayContaining(config.ipam.pools));
  });
});
