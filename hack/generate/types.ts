/** TypeScript types of the kinds, from their schemas. */
import { compile } from 'json-schema-to-typescript';
import type { Kind, Schema } from './kind.ts';

/** Names of the types of nested objects, by path (`[]` = an item). Every nested object needs one. */
const typeNames: Readonly<Record<string, string>> = {
  'IPPool.spec': 'IPPoolSpec',
  'IPPool.spec.routes[]': 'Route',
  'IPPool.spec.dns': 'DNS',
  'IPPool.spec.nodeSelector': 'LabelSelector',
  'IPPool.spec.nodeSelector.matchExpressions[]': 'LabelSelectorRequirement',
  'IPPool.spec.namespaceSelector': 'LabelSelector',
  'IPPool.spec.namespaceSelector.matchExpressions[]': 'LabelSelectorRequirement',
  'IPPool.spec.podSelector': 'LabelSelector',
  'IPPool.spec.podSelector.matchExpressions[]': 'LabelSelectorRequirement',
  'IPPool.status': 'IPPoolStatus',
  'IPPool.status.occupancy': 'Occupancy',
  'IPPool.status.holders[]': 'HeldAddress',
  'IPPool.status.conditions[]': 'Condition',
  'IPReservation.spec': 'IPReservationSpec',
  'IPReservation.spec.owner': 'ReservationOwner',
};

const sharedDescriptions: Readonly<Record<string, string>> = {
  LabelSelector:
    'A Kubernetes label selector: matchLabels and matchExpressions must all hold; an empty one matches everything.',
};

const banner = `/**
 * Types of the kinds. Generated from crds/*.yaml by \`npm run generate\`: do not edit.
 *
 * Everything is read-only, since objects are shared with caches. A field with a default may be left out when an object
 * is written; the API server fills it in, so that it is there when the object is read.
 */
import type { ObjectMeta } from './meta.ts';
`;

/** Any JSON schema that json-schema-to-typescript takes; `tsType` replaces what it would write. */
type JsonSchema = Parameters<typeof compile>[0];

class TypeWriter {
  /** Type name → its schema with nested objects replaced by their names; in the order of first use. */
  readonly #types = new Map<string, JsonSchema>();

  /** All types that `add` met, outermost first. */
  get types(): ReadonlyMap<string, JsonSchema> {
    return this.#types;
  }

  addKind(kind: Kind): void {
    const name = kind.names.kind;
    const { spec, status } = kind.schema.properties ?? {};
    if (spec === undefined) throw new Error(`${kind.source}: the schema has no spec`);
    const properties: Record<string, JsonSchema> = {
      apiVersion: {
        description: 'Absent in the items of a list.',
        tsType: `'${kind.group}/${kind.version}'`,
      },
      kind: { description: 'Absent in the items of a list.', tsType: `'${name}'` },
      metadata: { tsType: 'ObjectMeta' },
    };
    this.#types.set(name, {
      type: 'object',
      description: kind.schema.description ?? '',
      additionalProperties: false,
      required: ['metadata', ...(kind.schema.required ?? [])],
      properties,
    });
    properties['spec'] = this.#convert(spec, `${name}.spec`);
    if (status !== undefined) properties['status'] = this.#convert(status, `${name}.status`);
  }

  #convert(schema: Schema, path: string): JsonSchema {
    const description = describe(schema);
    if (schema.type === 'array') {
      if (schema.items === undefined) throw new Error(`${path}: an array without items`);
      return { type: 'array', description, items: this.#convert(schema.items, `${path}[]`) };
    }
    if (schema.type !== 'object') {
      return {
        type: schema.type,
        description,
        ...(schema.enum === undefined ? {} : { enum: [...schema.enum] }),
      };
    }
    if (schema.properties === undefined) {
      if (schema.additionalProperties === undefined) throw new Error(`${path}: an object without properties`);
      return {
        type: 'object',
        description,
        additionalProperties: this.#convert(schema.additionalProperties, `${path}{}`),
      };
    }
    const name = typeNames[path];
    if (name === undefined)
      throw new Error(`${path}: no type name in hack/generate/types.ts: add one to typeNames`);
    this.#addObject(name, schema, path);
    return { description, tsType: name };
  }

  #addObject(name: string, schema: Schema, path: string): void {
    const properties: Record<string, JsonSchema> = {};
    const type: JsonSchema = {
      type: 'object',
      description: sharedDescriptions[name] ?? schema.description ?? '',
      additionalProperties: false,
      required: [...(schema.required ?? [])],
      properties,
    };
    const before = this.#types.get(name);
    this.#types.set(name, type);
    for (const [field, inner] of Object.entries(schema.properties ?? {})) {
      properties[field] = this.#convert(inner, `${path}.${field}`);
    }
    if (before !== undefined && JSON.stringify(before) !== JSON.stringify(type)) {
      throw new Error(`${path}: differs from the other schema that is called ${name}`);
    }
  }
}

function describe(schema: Schema): string {
  const text = schema.description ?? '';
  return schema.default === undefined ? text : `${text} Default: ${JSON.stringify(schema.default)}.`;
}

/** Writes what json-schema-to-typescript has no option for: read-only properties, index signatures and arrays. */
function makeReadonly(source: string): string {
  return source
    .split('\n')
    .map((line) => {
      const property = /^(\s+)((?:\w+\??|\[k: string\]): )(.*)$/.exec(line);
      if (property === null) return line;
      const [, indent = '', name = '', type = ''] = property;
      return `${indent}readonly ${name}${type.endsWith('[];') ? 'readonly ' : ''}${type}`;
    })
    .join('\n');
}

/**
 * The content of crds/types.ts.
 * @throws Error that names the path of a nested object without a type name.
 */
export async function generateTypes(kinds: readonly Kind[]): Promise<string> {
  const writer = new TypeWriter();
  for (const kind of kinds) writer.addKind(kind);
  const parts: string[] = [banner];
  for (const [name, schema] of writer.types) {
    const source = await compile(schema, name, {
      bannerComment: '',
      additionalProperties: false,
      style: { singleQuote: true, printWidth: 110, semi: true },
    });
    parts.push(makeReadonly(source.trim()) + '\n');
  }
  return parts.join('\n');
}
