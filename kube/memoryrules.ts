/**
 * What the API server does to an object on its way into storage, for the in-memory API. Pure.
 *
 * Source: Kubernetes API conventions ("Metadata", "Spec and Status") and `rest.BeforeCreate/BeforeUpdate`.
 */
import type { KubeObject, Resource } from './api.ts';
import type { ApiErrorInit } from './errors.ts';
import { jsonEqual } from './jsonpatch.ts';
import { apiVersionOf } from './paths.ts';

export type Cause = NonNullable<ApiErrorInit['causes']>[number];

/** How one resource behaves. */
export interface MemoryResource {
  readonly resource: Resource<KubeObject>;
  /** Status is written by its own subresource and ignored by all other writes. Defaults to false. */
  readonly statusSubresource?: boolean;
  /** `metadata.generation` counts changes of everything but metadata (and status, if that is a subresource). Defaults to true. */
  readonly generation?: boolean;
  /** An update without a resourceVersion is accepted, as for most built-in kinds. Defaults to false, as for custom resources. */
  readonly unconditionalUpdate?: boolean;
  /** Paths beyond metadata.name and metadata.namespace: `spec.pool`. */
  readonly selectableFields?: readonly string[];
  /** Printer columns after Name; `path` is dotted. Defaults to Age. */
  readonly columns?: readonly { readonly name: string; readonly path: string }[];
  /** What the schema refuses: causes of an Invalid error. */
  readonly validate?: (object: KubeObject, old: KubeObject | undefined) => readonly Cause[];
}

/** All members but those named. */
function without(object: KubeObject, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));
}

/** The value at a dotted path; undefined where there is none. */
export function valueAt(object: unknown, path: string): unknown {
  let value = object;
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null) return undefined;
    // An object can be read by any key; the value stays unknown.
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}

/** The text by which selectors compare the value at a path; "" where there is none or it is no scalar. */
export function textAt(object: unknown, path: string): string {
  const value = valueAt(object, path);
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? `${value}`
    : '';
}

function dropStatus(object: KubeObject): KubeObject {
  // Without status it is still an object with its metadata.
  return without(object, ['status']) as unknown as KubeObject;
}

/** The object as it is stored first. */
export function prepareCreate(
  kind: MemoryResource,
  object: KubeObject,
  uid: string,
  creationTimestamp: string,
): KubeObject {
  const { deletionTimestamp: _deletion, resourceVersion: _version, ...metadata } = object.metadata;
  const content = kind.statusSubresource === true ? dropStatus(object) : object;
  return {
    ...content,
    apiVersion: apiVersionOf(kind.resource),
    kind: kind.resource.kind,
    metadata: {
      ...metadata,
      uid,
      creationTimestamp,
      ...(kind.generation === false ? {} : { generation: 1 }),
    },
  };
}

function contentChanged(kind: MemoryResource, a: KubeObject, b: KubeObject): boolean {
  const ignored = kind.statusSubresource === true ? ['metadata', 'status'] : ['metadata'];
  return !jsonEqual(without(a, ignored), without(b, ignored));
}

/** The object that an update or patch of `old` to `next` stores. */
export function prepareUpdate(
  kind: MemoryResource,
  old: KubeObject,
  next: KubeObject,
  subresource: 'status' | undefined,
): KubeObject {
  if (subresource === 'status') {
    const status = valueAt(next, 'status');
    return { ...dropStatus(old), ...(status === undefined ? {} : { status }) };
  }
  const { uid, resourceVersion, creationTimestamp, deletionTimestamp, generation } = old.metadata;
  const status = valueAt(old, 'status');
  const content =
    kind.statusSubresource === true
      ? { ...dropStatus(next), ...(status === undefined ? {} : { status }) }
      : { ...next };
  const { deletionTimestamp: _given, generation: _claimed, ...metadata } = next.metadata;
  const system = { uid, resourceVersion, creationTimestamp, deletionTimestamp, generation };
  if (generation !== undefined && contentChanged(kind, old, next)) system.generation = generation + 1;
  const merged = {
    ...metadata,
    ...Object.fromEntries(Object.entries(system).filter(([, v]) => v !== undefined)),
  };
  return { ...content, apiVersion: apiVersionOf(kind.resource), kind: kind.resource.kind, metadata: merged };
}

/** Finalizers that an update adds to an object that is being deleted, which is not allowed. */
export function forbiddenFinalizers(old: KubeObject, next: KubeObject): string[] {
  if (old.metadata.deletionTimestamp === undefined) return [];
  const before = old.metadata.finalizers ?? [];
  return (next.metadata.finalizers ?? []).filter((finalizer) => !before.includes(finalizer));
}

const NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** RFC 1123 subdomain, the rule for most object names. */
export function nameCauses(name: string): Cause[] {
  if (name.length <= 253 && NAME.test(name)) return [];
  const message = `Invalid value: "${name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'`;
  return [{ field: 'metadata.name', message, reason: 'FieldValueInvalid' }];
}
