/** How the built-in resources of core.ts behave, for the in-memory API. */
import { configMaps, events, leases, namespaces, nodes, pods, statefulSets } from './core.ts';
import type { MemoryResource } from './memoryrules.ts';

const builtIn = { generation: false, unconditionalUpdate: true } as const;

export const coreMemoryResources: readonly MemoryResource[] = [
  {
    ...builtIn,
    resource: pods,
    statusSubresource: true,
    selectableFields: ['spec.nodeName', 'status.phase'],
  },
  { ...builtIn, resource: nodes, statusSubresource: true, selectableFields: ['spec.unschedulable'] },
  { ...builtIn, resource: namespaces, statusSubresource: true, selectableFields: ['status.phase'] },
  {
    ...builtIn,
    resource: events,
    selectableFields: ['involvedObject.kind', 'involvedObject.name', 'involvedObject.uid', 'reason', 'type'],
  },
  { ...builtIn, resource: configMaps },
  { resource: statefulSets, statusSubresource: true, unconditionalUpdate: true },
  // The API server refuses updates of a Lease that do not say which version they change.
  { resource: leases, generation: false },
];
