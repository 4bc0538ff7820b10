/** What the chart has from elsewhere: copies of the kinds, roles and policy, its values, and their reference. */

/** File in `charts/berth/files/` → the file that it is a copy of; Helm reads nothing outside of the chart. */
export const CHART_COPIES: Readonly<Record<string, string>> = {
  'ippool.yaml': 'crds/ippool.yaml',
  'ipreservation.yaml': 'crds/ipreservation.yaml',
  'rbac-agent.yaml': 'config/rbac/agent.yaml',
  'rbac-operator.yaml': 'config/rbac/operator.yaml',
  'rbac-annotate-pods.yaml': 'config/rbac/optional/agent-annotate-pods.yaml',
  'policy-agent.yaml': 'config/policy/agent.yaml',
};

/** A JSON schema, as far as `values.schema.json` uses it. */
export interface ValuesSchema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, ValuesSchema>>;
}

/** One value that a user can set. */
interface Value {
  readonly path: string;
  readonly schema: ValuesSchema;
}

function leaves(schema: ValuesSchema, prefix = ''): Value[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, each]) => {
    if (each.properties !== undefined) return leaves(each, `${prefix}${name}.`);
    return each.default === undefined ? [] : [{ path: prefix + name, schema: each }];
  });
}

/** `values.yaml`: every default, with its description. */
export function valuesFile(schema: ValuesSchema): string {
  const lines = ['# Generated from values.schema.json by `npm run generate`: edit that instead.'];
  for (const [group, part] of Object.entries(schema.properties ?? {})) {
    const values = leaves(part);
    if (values.length === 0) continue;
    lines.push('', `${group}:`);
    for (const { path, schema: value } of values) {
      // JSON is YAML.
      lines.push(`  # ${value.description ?? ''}`, `  ${path}: ${JSON.stringify(value.default)}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function typeOf({ type, enum: options }: ValuesSchema): string {
  if (options !== undefined) return options.map((option) => `\`${option}\``).join(', ');
  return [type ?? 'any'].flat().join(' or ');
}

/** `docs/reference/values.md`. */
export function valuesReference(schema: ValuesSchema): string {
  const rows = leaves(schema).map(
    ({ path, schema: value }) =>
      `| \`${path}\` | ${typeOf(value)} | \`${JSON.stringify(value.default)}\` | ${value.description ?? ''} |`,
  );
  return [
    '# Values of the Helm chart',
    '',
    '<!-- Generated from charts/berth/values.schema.json by `npm run generate`: edit that instead. -->',
    '',
    'An unknown value, or one of the wrong type, is refused by Helm.',
    '',
    '| value | type | default | meaning |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}
