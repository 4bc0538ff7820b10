/** What each program may do: the whole list, once. */

export type Program = 'agent' | 'operator';

/** Verbs by "group/resource". */
export type Rights = Readonly<Record<string, readonly string[]>>;

/** A rule of a role. */
export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

/** In the whole cluster. */
export const EVERYWHERE: Readonly<Record<Program, Rights>> = {
  agent: {
    'ipam.berth.dev/ippools': ['get', 'list', 'watch'],
    'ipam.berth.dev/ipreservations': ['create', 'get', 'list', 'patch', 'delete'],
    '/pods': ['get', 'list', 'watch'],
    '/namespaces': ['get', 'list', 'watch'],
    '/nodes': ['get', 'list', 'watch'],
    '/events': ['create', 'patch'],
  },
  operator: {
    'ipam.berth.dev/ippools': ['get', 'list', 'watch', 'patch'],
    'ipam.berth.dev/ippools/status': ['update'],
    'ipam.berth.dev/ipreservations': ['get', 'list', 'watch', 'patch', 'delete'],
    '/pods': ['get', 'list', 'watch'],
    '/namespaces': ['get', 'list', 'watch'],
    '/nodes': ['get', 'list', 'watch'],
    'apps/statefulsets': ['get'],
    '/events': ['create', 'patch', 'list', 'watch'],
  },
};

/** Besides, in the namespace that the program is installed in. */
export const AT_HOME: Readonly<Record<Program, Rights>> = {
  agent: {},
  operator: { 'coordination.k8s.io/leases': ['get', 'create', 'update'] },
};

/** "group/resource verb" of all tables, sorted. */
export function listed(...tables: readonly Rights[]): string[] {
  return tables
    .flatMap((table) => Object.entries(table))
    .flatMap(([resource, verbs]) => verbs.map((verb) => `${resource} ${verb}`))
    .toSorted();
}
