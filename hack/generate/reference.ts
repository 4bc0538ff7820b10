/** A reference page of one kind, from its schema. */
import type { Kind, Schema } from './kind.ts';

interface Row {
  readonly path: string;
  readonly type: string;
  readonly required: boolean;
  readonly schema: Schema;
}

/** Markdown with one table of fields for spec and one for status, the columns and the selectable fields. */
export function generateReference(kind: Kind): string {
  const { kind: name, plural, shortNames } = kind.names;
  const sections = [
    `# ${name}`,
    `<!-- Generated from ${kind.source} by "npm run generate": do not edit. -->`,
    kind.schema.description ?? '',
    `\`apiVersion: ${kind.group}/${kind.version}\`, cluster-scoped; \`kubectl get ${plural}\`, short \`${shortNames.join('`, `')}\`.`,
  ];
  const objectName = kind.schema.properties?.['metadata']?.properties?.['name']?.description;
  if (objectName !== undefined) sections.push(`\`metadata.name\`: ${objectName}`);
  for (const part of ['spec', 'status']) {
    const schema = kind.schema.properties?.[part];
    if (schema === undefined) continue;
    sections.push(`## ${part}`, schema.description ?? '', fieldTable(rowsOf(schema, part)));
  }
  sections.push('## Columns', columnTable(kind));
  sections.push(
    '## Field selectors',
    `\`kubectl get ${plural} --field-selector\` takes ${kind.selectableFields.map((path) => `\`${path.slice(1)}\``).join(', ')}.`,
  );
  return sections.join('\n\n') + '\n';
}

function rowsOf(schema: Schema, path: string): Row[] {
  return Object.entries(schema.properties ?? {}).flatMap(([field, inner]) => {
    const own = `${path}.${field}`;
    const row: Row = {
      path: own,
      type: typeOf(inner),
      required: schema.required?.includes(field) ?? false,
      schema: inner,
    };
    return [row, ...rowsOf(inner.items ?? inner, inner.items === undefined ? own : `${own}[]`)];
  });
}

function typeOf(schema: Schema): string {
  if (schema.type === 'array' && schema.items !== undefined) return `list of ${typeOf(schema.items)}`;
  if (schema.additionalProperties !== undefined) return `map of ${typeOf(schema.additionalProperties)}`;
  return schema.format === 'date-time' ? 'time' : schema.type;
}

function fieldTable(rows: readonly Row[]): string {
  const lines = rows.map(({ path, type, required, schema }) => {
    const notes = [
      required ? '**required**' : '',
      schema.default === undefined ? '' : `default \`${JSON.stringify(schema.default)}\``,
      schema.enum === undefined ? '' : `one of ${schema.enum.map((value) => `\`${value}\``).join(', ')}`,
    ].filter((note) => note !== '');
    return `| \`${path}\` | ${type} | ${notes.join('; ')} | ${escapeCell(schema.description ?? '')} |`;
  });
  return ['| Field | Type | | Meaning |', '| --- | --- | --- | --- |', ...lines].join('\n');
}

function columnTable(kind: Kind): string {
  const lines = kind.columns.map(
    ({ name, jsonPath, priority, description }) =>
      `| ${name} | ${priority === 0 ? '' : '`-o wide`'} | \`${escapeCell(jsonPath)}\` | ${escapeCell(description)} |`,
  );
  return ['| Column | Shown | Field | Meaning |', '| --- | --- | --- | --- |', ...lines].join('\n');
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
}
