/** The REST paths and query strings of the Kubernetes API. Pure. */
import type { KubeObject, ListOptions, ObjectKey, Resource, WatchOptions } from './api.ts';
import { ApiError } from './errors.ts';

/** `group/version` as objects carry it; `v1` for the core group. */
export function apiVersionOf(resource: Resource<KubeObject>): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}

/** What messages call an object: `pods/shop/web` or `ippools/a`; without a name the collection. */
export function targetOf(resource: Resource<KubeObject>, key: Partial<ObjectKey> = {}): string {
  return [resource.plural, key.namespace, key.name].filter((part) => part !== undefined).join('/');
}

function invalid(resource: Resource<KubeObject>, problem: string): ApiError {
  return new ApiError('Invalid', `${resource.plural}: ${problem}`);
}

/** Kubernetes' own rule for a path segment: anything else would name another path. */
function segment(resource: Resource<KubeObject>, field: string, value: string): string {
  if (value === '' || value === '.' || value === '..' || /[/%]/.test(value)) {
    throw invalid(
      resource,
      `${field} "${value}" is not a name: it must not be empty, ".", ".." or hold / or %`,
    );
  }
  return encodeURIComponent(value);
}

/**
 * The path of a collection; of every namespace if a namespaced resource is given none.
 * @throws ApiError Invalid for a namespace that is no name, or one given to a cluster-wide resource.
 */
export function collectionPath(resource: Resource<KubeObject>, namespace: string | undefined): string {
  const root = resource.group === '' ? '/api' : `/apis/${resource.group}`;
  if (namespace === undefined) return `${root}/${resource.version}/${resource.plural}`;
  if (!resource.namespaced) {
    throw invalid(resource, `namespace "${namespace}" given, but the resource is cluster-wide`);
  }
  return `${root}/${resource.version}/namespaces/${segment(resource, 'namespace', namespace)}/${resource.plural}`;
}

/**
 * The collection to create in.
 * @throws ApiError Invalid where a namespaced resource is given no namespace.
 */
export function creationPath(resource: Resource<KubeObject>, namespace: string | undefined): string {
  if (resource.namespaced && namespace === undefined) {
    throw invalid(resource, 'namespace is missing, and the resource is namespaced');
  }
  return collectionPath(resource, namespace);
}

/**
 * The path of one object. An empty name is refused: it would address the whole collection.
 * @throws ApiError Invalid for a key that does not name one object.
 */
export function objectPath(resource: Resource<KubeObject>, key: ObjectKey, subresource?: 'status'): string {
  const path = `${creationPath(resource, key.namespace)}/${segment(resource, 'name', key.name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

function query(parameters: Readonly<Record<string, string | number | undefined>>): string {
  const parts = Object.entries(parameters)
    .filter(([, value]) => value !== undefined && value !== '')
    .map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`);
  return parts.length === 0 ? '' : `?${parts.join('&')}`;
}

/** The query of a list, with its question mark; empty where nothing is asked. */
export function listQuery(options: ListOptions, table: boolean): string {
  const { fieldSelector, labelSelector, limit, resourceVersion } = options;
  return query({
    fieldSelector,
    labelSelector,
    limit,
    continue: options.continue,
    resourceVersion,
    includeObject: table ? 'None' : undefined,
  });
}

/** The query of a watch. */
export function watchQuery(options: WatchOptions): string {
  const { fieldSelector, labelSelector, resourceVersion, timeoutSeconds } = options;
  return query({
    watch: 'true',
    allowWatchBookmarks: 'true',
    resourceVersion,
    fieldSelector,
    labelSelector,
    timeoutSeconds,
  });
}
