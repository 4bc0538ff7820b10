import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ControlPlane, startControlPlane } from '../e2e/controlplane/controlplane.ts';
import { applyNetworkAttachmentDefinitions } from '../e2e/controlplane/nad.ts';

let controlPlane: ControlPlane;

function apply(file: string): Promise<string> {
  return controlPlane.kubectl(['apply', '-f', join(import.meta.dirname, file)]);
}

beforeAll(async () => {
  controlPlane = await startControlPlane({ name: 'config' });
  await controlPlane.applyCrds();
  await apply('namespace.yaml');
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

describe('roles, as the API server applies them', () => {
  const can = async (
    program: string,
    verb: string,
    resource: string,
    ...more: string[]
  ): Promise<boolean> => {
    const user = `system:serviceaccount:berth-system:${program}`;
    // can-i ends with status 1 where the answer is no; a review says it without an error.
    const [type, subresource] = resource.split('/');
    const [plural = '', ...group] = (type ?? '').split('.');
    const review = {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: {
        user,
        groups: ['system:serviceaccounts', 'system:serviceaccounts:berth-system'],
        resourceAttributes: {
          verb,
          resource: plural,
          group: group.join('.'),
          ...(subresource === undefined ? {} : { subresource }),
          ...(more[0] === undefined ? {} : { namespace: more[0] }),
        },
      },
    };
    const answer = await controlPlane.kubectl(
      ['create', '-f', '-', '-o', 'jsonpath={.status.allowed}'],
      JSON.stringify(review),
    );
    return answer === 'true';
  };

  test.each([
    ['berth-agent', 'create', 'ipreservations.ipam.berth.dev', true],
    ['berth-agent', 'delete', 'ipreservations.ipam.berth.dev', true],
    ['berth-agent', 'watch', 'ipreservations.ipam.berth.dev', false],
    ['berth-agent', 'update', 'ipreservations.ipam.berth.dev', false],
    ['berth-agent', 'deletecollection', 'ipreservations.ipam.berth.dev', false],
    ['berth-agent', 'patch', 'ippools.ipam.berth.dev', false],
    ['berth-agent', 'update', 'ippools.ipam.berth.dev/status', false],
    ['berth-agent', 'patch', 'pods', false],
    ['berth-agent', 'get', 'secrets', false],
    ['berth-operator', 'update', 'ippools.ipam.berth.dev/status', true],
    ['berth-operator', 'patch', 'ippools.ipam.berth.dev', true],
    ['berth-operator', 'create', 'ippools.ipam.berth.dev', false],
    ['berth-operator', 'create', 'ipreservations.ipam.berth.dev', false],
    ['berth-operator', 'deletecollection', 'ipreservations.ipam.berth.dev', false],
    ['berth-operator', 'delete', 'pods', false],
    ['berth-operator', 'get', 'secrets', false],
  ])('%s may %s %s: %s', async (program, verb, resource, allowed) => {
    expect(await can(program, verb, resource)).toBe(allowed);
  });

  test('the operator has its lease in its own namespace only', async () => {
    expect(await can('berth-operator', 'update', 'leases.coordination.k8s.io', 'berth-system')).toBe(true);
    expect(await can('berth-operator', 'update', 'leases.coordination.k8s.io', 'kube-system')).toBe(false);
    expect(await can('berth-agent', 'update', 'leases.coordination.k8s.io', 'berth-system')).toBe(false);
  });
});
