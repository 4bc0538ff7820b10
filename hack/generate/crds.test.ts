import { spawnSync } from 'node:child_process';
import { appendFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  API_VERSION,
  DEFAULT_NETWORK,
  ipPools,
  ipReservations,
  type KindResource,
  MAX_HOLDERS,
  POOL_COLUMNS,
  RESERVATION_COLUMNS,
} from '../../crds/resources.ts';
import { type Kind, kindFromCrd, type Schema } from './kind.ts';
import { generateReference } from './reference.ts';
import { generateTypes } from './types.ts';

const root = join(import.meta.dirname, '../..');

async function kind(file: string): Promise<Kind> {
  return kindFromCrd(`crds/${file}`, await readFile(join(root, 'crds', file), 'utf8'));
}

const pool = await kind('ippool.yaml');
const reservation = await kind('ipreservation.yaml');

/** Every schema below this one with its path, but metadata, which the API server describes itself. */
function fieldsOf(schema: Schema, path: string): { path: string; schema: Schema }[] {
  const inner = [
    ...Object.entries(schema.properties ?? {}).map(([name, field]) => [`${path}.${name}`, field] as const),
    ...(schema.items === undefined ? [] : [[`${path}[]`, schema.items] as const]),
    ...(schema.additionalProperties === undefined
      ? []
      : [[`${path}{}`, schema.additionalProperties] as const]),
  ];
  return inner.flatMap(([name, field]) => [{ path: name, schema: field }, ...fieldsOf(field, name)]);
}

describe.each([
  {
    name: 'IPPool',
    kind: pool,
    resource: ipPools as KindResource<unknown>,
    columns: POOL_COLUMNS,
    shortName: 'ipp',
  },
  {
    name: 'IPReservation',
    kind: reservation,
    resource: ipReservations as KindResource<unknown>,
    columns: RESERVATION_COLUMNS,
    shortName: 'ipr',
  },
])('$name', ({ name, kind, resource, columns, shortName }) => {
  const fields = fieldsOf(kind.schema, name);

  test('every field has a description that is a sentence', () => {
    const bad = fields.filter(
      ({ path, schema }) => path !== `${name}.metadata` && !/^[A-Z0-9].*\.$/s.test(schema.description ?? ''),
    );
    expect(bad.map(({ path }) => path)).toEqual([]);
    expect(fields.length).toBeGreaterThan(15);
  });

  test('every text, list and map of the spec is bounded, so that the cost of a rule is', () => {
    const unbounded = fields.filter(({ path, schema }) => {
      if (!path.startsWith(`${name}.spec`)) return false;
      if (schema.type === 'string')
        return schema.maxLength === undefined && schema.enum === undefined && schema.pattern === undefined;
      if (schema.type === 'array') return schema.maxItems === undefined;
      return schema.additionalProperties !== undefined && schema.maxProperties === undefined;
    });
    expect(unbounded.map(({ path }) => path)).toEqual([]);
  });

  test('the constants name the resource of the CRD', () => {
    expect(resource).toEqual({
      group: kind.group,
      version: kind.version,
      plural: kind.names.plural,
      kind: kind.names.kind,
      namespaced: false,
    });
    expect(`${kind.group}/${kind.version}`).toBe(API_VERSION);
    expect(kind.names.shortNames).toEqual([shortName]);
  });

  test('the constants list the columns in order, the wide ones last', () => {
    expect(['Name', ...kind.columns.map((column) => column.name)]).toEqual(columns);
    expect(kind.columns.map(({ priority }) => priority)).toEqual(
      kind.columns.map(({ priority }) => priority).toSorted((a, b) => a - b),
    );
  });

  test('the reference page follows from the CRD and has every field', async () => {
    const page = await readFile(join(root, 'docs/reference', `${name.toLowerCase()}.md`), 'utf8');
    expect(page).toBe(generateReference(kind));
    for (const { path } of fields) {
      if (path.endsWith(']') || path.endsWith('}') || !/\.(spec|status)\./.test(path)) continue;
      expect(page).toContain(`| \`${path.slice(name.length + 1)}\` |`);
    }
  });
});

test('the types follow from the CRDs', async () => {
  expect(await readFile(join(root, 'crds/types.ts'), 'utf8')).toBe(await generateTypes([pool, reservation]));
});

test('the constants have the values of the schema', () => {
  expect(pool.schema.properties?.['spec']?.properties?.['network']?.default).toBe(DEFAULT_NETWORK);
  expect(pool.schema.properties?.['status']?.properties?.['holders']?.maxItems).toBe(MAX_HOLDERS);
});

test('an owner is complete by the number of its fields only with all that it can have', () => {
  const owner = reservation.schema.properties?.['spec']?.properties?.['owner'];
  const rules = (owner?.['x-kubernetes-validations'] ?? []).map(({ rule }) => rule);
  const counts = rules.flatMap((rule) => /dyn\(self\)\.size\(\) == (\d+)/.exec(rule)?.[1] ?? []);
  expect(new Set(counts)).toEqual(new Set([String(Object.keys(owner?.properties ?? {}).length)]));
});

test('reservations are selected by what agents and the operator look for', () => {
  expect(reservation.selectableFields).toEqual([
    '.spec.pool',
    '.spec.network',
    '.spec.state',
    '.spec.owner.node',
    '.spec.owner.uid',
    '.spec.owner.containerID',
    '.spec.holder',
  ]);
});

describe('generate --check', () => {
  /** A copy of what the generator reads and writes, so that it may be spoilt. */
  async function withCopy(body: (directory: string) => Promise<void>): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), 'berth-generate-'));
    try {
      await mkdir(join(directory, 'hack'));
      const parts = ['crds', 'config', 'charts', 'docs/reference', 'hack/generate', 'hack/generate.ts'];
      for (const path of [...parts, 'package.json']) {
        await cp(join(root, path), join(directory, path), { recursive: true });
      }
      await symlink(join(root, 'node_modules'), join(directory, 'node_modules'));
      await body(directory);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  function generate(
    directory: string,
    ...args: string[]
  ): { status: number | null; stdout: string; stderr: string } {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [join(directory, 'hack/generate.ts'), ...args],
      { encoding: 'utf8' },
    );
    return { status, stdout, stderr };
  }

  test('is content with what is committed', () =>
    withCopy(async (directory) => {
      expect(generate(directory, '--check')).toEqual({ status: 0, stdout: '', stderr: '' });
    }));

  test('names the file that differs, writes nothing, and a run without it mends the file', () =>
    withCopy(async (directory) => {
      const types = join(directory, 'crds/types.ts');
      await appendFile(types, '// by hand\n');
      const spoilt = await readFile(types, 'utf8');
      const { status, stderr } = generate(directory, '--check');
      expect(status).toBe(1);
      expect(stderr).toContain('crds/types.ts does not follow from its source: run "npm run generate"');
      expect(await readFile(types, 'utf8')).toBe(spoilt);
      expect(generate(directory).stdout).toBe('wrote crds/types.ts\n');
      expect(await readFile(types, 'utf8')).toBe(await readFile(join(root, 'crds/types.ts'), 'utf8'));
    }));

  test('notices a field that was added to a CRD only', () =>
    withCopy(async (directory) => {
      const path = join(directory, 'crds/ipreservation.yaml');
      const yaml = await readFile(path, 'utf8');
      const added = yaml.replace(
        /^( +)holder:$/m,
        '$1colour:\n$1  description: A colour.\n$1  type: string\n$1  maxLength: 9\n$&',
      );
      expect(added).not.toBe(yaml);
      await writeFile(path, added);
      const { status, stderr } = generate(directory, '--check');
      expect(status).toBe(1);
      expect(stderr).toContain('crds/types.ts');
      expect(stderr).toContain('docs/reference/ipreservation.md');
    }));

  test('refuses an argument that it does not know', () => {
    const { status, stderr } = generate(root, '--chekc');
    expect(status).toBe(2);
    expect(stderr).toContain('unknown argument "--chekc"');
  });
});
