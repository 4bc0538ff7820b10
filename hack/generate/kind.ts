/** A CRD read from its YAML, as far as the generators need it. */
import { parse } from 'yaml';

/** A structural schema (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/), the part in use here. */
export interface Schema {
  readonly type: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly format?: string;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  readonly 'x-kubernetes-validations'?: readonly { readonly rule: string }[];
}

export interface Column {
  readonly name: string;
  readonly type: string;
  readonly jsonPath: string;
  readonly description: string;
  /** 0: always shown; 1: shown by `kubectl get -o wide`. */
  readonly priority: number;
}

export interface Kind {
  /** Path of the YAML from the repository's root. */
  readonly source: string;
  readonly group: string;
  readonly version: string;
  readonly names: { readonly plural: string; readonly kind: string; readonly shortNames: readonly string[] };
  readonly columns: readonly Column[];
  /** JSON paths of the selectable fields, with the leading dot. */
  readonly selectableFields: readonly string[];
  readonly schema: Schema;
}

interface Crd {
  readonly kind: string;
  readonly spec: {
    readonly group: string;
    readonly names: {
      readonly plural: string;
      readonly kind: string;
      readonly shortNames: readonly string[];
    };
    readonly versions: readonly {
      readonly name: string;
      readonly additionalPrinterColumns: readonly (Omit<Column, 'priority'> & {
        readonly priority?: number;
      })[];
      readonly selectableFields: readonly { readonly jsonPath: string }[];
      readonly schema: { readonly openAPIV3Schema: Schema };
    }[];
  };
}

/**
 * Reads one CustomResourceDefinition with exactly one version.
 * @throws Error that names `source` if the YAML is anything else.
 */
export function kindFromCrd(source: string, yaml: string): Kind {
  // The parser's result has no type; the API server checks the rest of the shape whenever the file is applied.
  const crd = parse(yaml) as Crd;
  if (crd.kind !== 'CustomResourceDefinition') {
    throw new Error(`${source}: kind is "${crd.kind}", expected CustomResourceDefinition`);
  }
  const [version, ...others] = crd.spec.versions;
  if (version === undefined || others.length > 0) {
    throw new Error(`${source}: has ${crd.spec.versions.length} versions, the generators know exactly one`);
  }
  return {
    source,
    group: crd.spec.group,
    version: version.name,
    names: crd.spec.names,
    columns: version.additionalPrinterColumns.map((column) => ({
      ...column,
      priority: column.priority ?? 0,
    })),
    selectableFields: version.selectableFields.map((field) => field.jsonPath),
    schema: version.schema.openAPIV3Schema,
  };
}
