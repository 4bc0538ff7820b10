/** What kustomize makes of a folder of `config/`, as objects. */
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { ControlPlane } from '../../e2e/controlplane/controlplane.ts';

/** A Kubernetes object, as far as all of them are alike. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** The objects of a text of YAML documents. @throws Error at the first that is no YAML */
export function parseObjects(text: string): KubernetesObject[] {
  return parseAllDocuments(text, { strict: true, uniqueKeys: true })
    .filter((document) => document.contents !== null)
    .map((document) => {
      const [error] = document.errors;
      if (error !== undefined) throw error;
      // YAML has no type; whoever reads a field says what it expects.
      return document.toJS() as KubernetesObject;
    });
}

/** The YAML that `kubectl apply -k config/<folder>` would apply. */
export function kustomize(controlPlane: ControlPlane, folder: string): Promise<string> {
  return controlPlane.kubectl(['kustomize', join(import.meta.dirname, '..', folder)]);
}
