import { expect, test } from 'vitest';
import type { Pod } from '../../kube/core.ts';
import { podFacts } from './owners.ts';
import { trimNamespace, trimNode, trimPod } from './trim.ts';

test('of a pod all stays that decides about its addresses, and nothing else', () => {
  const ownerReferences = [
    { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', uid: 'u2', controller: true },
  ];
  const pod: Pod & { spec: { nodeName: string; containers: unknown[] } } = {
    metadata: {
      namespace: 'shop',
      name: 'db-0',
      uid: 'u1',
      resourceVersion: '7',
      labels: { app: 'db' },
      annotations: {
        'ipam.berth.dev/pools': 'a',
        'kubernetes.io/config.mirror': 'hash',
        'kubectl.kubernetes.io/last-applied-configuration': 'x'.repeat(1000),
      },
      ownerReferences,
      finalizers: ['f'],
      deletionTimestamp: '2026-01-01T00:00:00Z',
    },
    spec: { nodeName: 'n1', hostNetwork: false, containers: [{ name: 'c' }] },
    status: { phase: 'Failed', reason: 'Evicted' },
  };
  const trimmed = trimPod(pod);
  const { annotations, ...facts } = podFacts(trimmed);
  const { annotations: all, ...whole } = podFacts(pod);
  expect(facts).toEqual(whole);
  expect(facts.isTerminal).toBe(true);
  expect(Object.keys(annotations)).toEqual(['ipam.berth.dev/pools', 'kubernetes.io/config.mirror']);
  expect(Object.keys(all)).toHaveLength(3);
  expect(JSON.stringify(trimmed).length).toBeLessThan(500);
  expect(trimmed.metadata.resourceVersion).toBe('7');
});

test('of a pod it stays known whether it has annotations at all', () => {
  const facts = (annotations?: Record<string, string>): boolean =>
    podFacts(trimPod({ metadata: { name: 'x', ...(annotations !== undefined && { annotations }) } }))
      .hasAnnotations;
  expect([facts(), facts({ other: 'x' })]).toEqual([false, true]);
});

test('of a namespace labels and our annotations stay, of a node labels', () => {
  const metadata = {
    name: 'x',
    labels: { a: 'b' },
    annotations: { 'ipam.berth.dev/pools': 'a', other: 'x' },
  };
  expect(trimNamespace({ metadata })).toEqual({
    metadata: { name: 'x', labels: { a: 'b' }, annotations: { 'ipam.berth.dev/pools': 'a' } },
  });
  expect(trimNode({ metadata, spec: { taints: [] } })).toEqual({
    metadata: { name: 'x', labels: { a: 'b' } },
  });
});
