import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ControlPlane, startControlPlane } from '../e2e/controlplane/controlplane.ts';
import { applyNetworkAttachmentDefinitions } from '../e2e/controlplane/nad.ts';
import { ELSEWHERE, type Installation, render, SHIPPED, userOf } from './testing/render.ts';
import { AT_HOME, EVERYWHERE, listed, type Rule } from './testing/rights.ts';

let controlPlane: ControlPlane;

function apply(file: string): Promise<string> {
  return controlPlane.kubectl(['apply', '-f', join(import.meta.dirname, file)]);
}

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: 'config' });
  await controlPlane.applyCrds();
  await apply('namespace/namespace.yaml');
  await apply('rbac');
});

afterAll(async () => {
  await controlPlane?.stop();
});

describe('samples', () => {
  test('pools and reservations are accepted', async () => {
    expect((await apply('samples/pools.yaml')).trim().split('\n')).toEqual([
      'ippool.ipam.berth.dev/storage-v4 created',
      'ippool.ipam.berth.dev/storage-v6 created',
      'ippool.ipam.berth.dev/default-v4 created',
    ]);
    expect((await apply('samples/reservation.yaml')).trim().split('\n')).toEqual([
      'ipreservation.ipam.berth.dev/storage.10.20.0.100 created',
      'ipreservation.ipam.berth.dev/storage.fd00-0010-0020-0000-0000-0000-0000-0053 created',
    ]);
  });

  test('the network and its pod are accepted', async () => {
    await applyNetworkAttachmentDefinitions(controlPlane);
    expect(await apply('samples/network.yaml')).toContain('created');
    expect(await apply('samples/pod.yaml')).toContain('pod/vip created');
  });
});

/** What Kubernetes lets everybody do: ask about themselves. */
const EVERYBODY = {
  'authentication.k8s.io/selfsubjectreviews': ['create'],
  'authorization.k8s.io/selfsubjectaccessreviews': ['create'],
  'authorization.k8s.io/selfsubjectrulesreviews': ['create'],
};

describe.each<[string, Installation]>([
  ['as shipped', SHIPPED],
  ['in another namespace, with other service accounts', ELSEWHERE],
])('roles %s, as the API server applies them', (_name, installation) => {
  beforeAll(async () => {
    if (installation !== SHIPPED) {
      await controlPlane.kubectl(['create', 'namespace', installation.namespace]);
      await controlPlane.kubectl(['apply', '-f', '-'], render(installation));
    }
  });

  /** Every rule that applies to the service account in the namespace. */
  async function rights(account: string, namespace: string): Promise<string[]> {
    const answer = await controlPlane.kubectl(
      ['create', '--validate=false', `--as=${userOf(installation, account)}`, '-f', '-', '-o', 'json'],
      JSON.stringify({
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectRulesReview',
        spec: { namespace },
      }),
    );
    // As the API server answers it.
    const { status } = JSON.parse(answer) as {
      status: { incomplete: boolean; resourceRules: (Rule & { resourceNames?: string[] })[] };
    };
    expect(status.incomplete).toBe(false);
    return status.resourceRules
      .flatMap(({ apiGroups, resources, verbs, resourceNames = ['*'] }) =>
        apiGroups.flatMap((group) =>
          resources.flatMap((resource) =>
            verbs.flatMap((verb) =>
              resourceNames.map((name) => `${group}/${resource} ${verb}${name === '*' ? '' : ` ${name}`}`),
            ),
          ),
        ),
      )
      .toSorted();
  }

  test.each(['agent', 'operator'] as const)(
    'the %s may do what it does and nothing else',
    async (program) => {
      const account = installation[program];
      const everywhere = [EVERYWHERE[program], EVERYBODY];
      expect(await rights(account, 'default')).toEqual(listed(...everywhere));
      expect(await rights(account, installation.namespace)).toEqual(listed(...everywhere, AT_HOME[program]));
    },
  );

  test('what is not in the list is refused', async () => {
    const agent = `--as=${userOf(installation, installation.agent)}`;
    await expect(controlPlane.kubectl([agent, 'get', 'secrets'])).rejects.toThrow(/Forbidden/);
    await expect(controlPlane.kubectl([agent, 'get', 'ipr', '--watch'])).rejects.toThrow(/cannot watch/);
  });
});
