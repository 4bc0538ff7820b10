/** Who may use a pool: an ordered list of named predicates, of which the first to object gives the reason. */

import type { Pool } from './pool.ts';
import type { LabelSelector } from './selector.ts';
import { formatSelector, matchesSelector } from './selector.ts';

/** Labels as Kubernetes objects carry them. */
export type Labels = Readonly<Record<string, string>>;

/** Who asks for an address. */
export interface Subject {
  readonly node: { readonly labels: Labels };
  readonly namespace: { readonly labels: Labels } | undefined;
  /** Undefined where no pod is known (an owner of kind Node). */
  readonly pod: { readonly labels: Labels } | undefined;
}

/** Why a pool may not be used. `reason` is for programs, `message` is one line for people. */
export interface Refusal {
  readonly reason: 'Disabled' | 'NodeSelector' | 'NamespaceSelector' | 'PodSelector';
  readonly message: string;
}

/** What admission looks at. */
export type AdmissionRules = Pick<
  Pool,
  'name' | 'disabled' | 'nodeSelector' | 'namespaceSelector' | 'podSelector'
>;

type Predicate = (pool: AdmissionRules, subject: Subject) => Refusal | undefined;

/** In the order of their cures: the pool's own switch, the node, the namespace, the pod. */
const PREDICATES: readonly Predicate[] = [
  ({ name, disabled }) =>
    disabled
      ? {
          reason: 'Disabled',
          message: `pool ${name} is disabled: it gives no new addresses until spec.disabled is false`,
        }
      : undefined,
  ({ name, nodeSelector }, { node }) => refusal('NodeSelector', name, nodeSelector, 'node', node),
  ({ name, namespaceSelector }, { namespace }) =>
    refusal('NamespaceSelector', name, namespaceSelector, 'namespace', namespace),
  ({ name, podSelector }, { pod }) => refusal('PodSelector', name, podSelector, 'pod', pod),
];

/** The first objection to this subject's use of the pool; undefined if the pool admits it. */
export function admits(pool: AdmissionRules, subject: Subject): Refusal | undefined {
  for (const predicate of PREDICATES) {
    const objection = predicate(pool, subject);
    if (objection !== undefined) return objection;
  }
  return undefined;
}

function refusal(
  reason: Refusal['reason'],
  pool: string,
  selector: LabelSelector | undefined,
  what: string,
  object: { readonly labels: Labels } | undefined,
): Refusal | undefined {
  if (selector === undefined) return undefined;
  const wanted = formatSelector(selector);
  if (wanted === '' || (object !== undefined && matchesSelector(selector, object.labels))) return undefined;
  const objection = object === undefined ? `there is no ${what}` : `the ${what}'s labels do not match`;
  return { reason, message: `pool ${pool} admits only a ${what} with ${wanted}: ${objection}` };
}
