import { expect, test } from 'vitest';
import type { Subject } from './admit.ts';
import { admits } from './admit.ts';
import type { PoolSpec } from './pool.ts';
import { compilePool } from './pool.ts';
import type { LabelSelector } from './selector.ts';

const wanted: LabelSelector = { matchLabels: { zone: 'a' } };
const matching = { labels: { zone: 'a' } };
const other = { labels: { zone: 'b' } };
const all: Subject = { node: matching, namespace: matching, pod: matching };
const closed: Partial<PoolSpec> = { nodeSelector: wanted, namespaceSelector: wanted, podSelector: wanted };

function check(spec: Partial<PoolSpec>, subject: Subject): string | undefined {
  return admits(compilePool('p', { subnet: '10.0.0.0/24', ...spec }), subject)?.message;
}

test.each<[string, Partial<PoolSpec>, Subject]>([
  ['everyone, without selectors', {}, { node: other, namespace: other, pod: other }],
  ['everyone, with empty selectors', { nodeSelector: {}, podSelector: {} }, { ...all, pod: other }],
  ['whoever matches all selectors', closed, all],
  ['an owner without a pod, without a podSelector', { nodeSelector: wanted }, { ...all, pod: undefined }],
  ['an owner without a pod, with an empty podSelector', { podSelector: {} }, { ...all, pod: undefined }],
])('admits %s', (_name, spec, subject) => {
  expect(check(spec, subject)).toBeUndefined();
});

test.each<[string, Partial<PoolSpec>, Subject]>([
  ['pool p is disabled: it gives no new addresses until spec.disabled is false', { disabled: true }, all],
  ["pool p admits only a node with zone=a: the node's labels do not match", closed, { ...all, node: other }],
  [
    "pool p admits only a namespace with zone=a: the namespace's labels do not match",
    closed,
    { ...all, namespace: other },
  ],
  ["pool p admits only a pod with zone=a: the pod's labels do not match", closed, { ...all, pod: other }],
  ['pool p admits only a pod with zone=a: there is no pod', closed, { ...all, pod: undefined }],
  // Absent labels of an absent pod are not "labels that lack the key".
  [
    'pool p admits only a pod with !zone: there is no pod',
    { podSelector: { matchExpressions: [{ key: 'zone', operator: 'DoesNotExist' }] } },
    { ...all, pod: undefined },
  ],
  [
    'pool p admits only a namespace with zone=a: there is no namespace',
    closed,
    { ...all, namespace: undefined },
  ],
])('refuses: %s', (message, spec, subject) => {
  expect(check(spec, subject)).toBe(message);
});

test('the first objection is given: disabled, node, namespace, pod', () => {
  const nobody: Subject = { node: other, namespace: other, pod: other };
  const reason = (spec: Partial<PoolSpec>, subject: Subject): string | undefined =>
    admits(compilePool('p', { subnet: '10.0.0.0/24', ...spec }), subject)?.reason;
  expect(reason({ ...closed, disabled: true }, nobody)).toBe('Disabled');
  expect(reason(closed, nobody)).toBe('NodeSelector');
  expect(reason(closed, { ...nobody, node: matching })).toBe('NamespaceSelector');
  expect(reason(closed, { ...all, pod: other })).toBe('PodSelector');
});
