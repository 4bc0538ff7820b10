import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';

test('an owner is complete by the number of its fields only with all that it can have', async () => {
  const text = await readFile(join(import.meta.dirname, 'ipreservation.yaml'), 'utf8');
  // The file's own form, which the API server checks.
  const crd = parse(text) as {
    spec: {
      versions: { schema: { openAPIV3Schema: { properties: { spec: { properties: { owner: Owner } } } } } }[];
    };
  };
  const owners = crd.spec.versions.map(
    ({ schema }) => schema.openAPIV3Schema.properties.spec.properties.owner,
  );
  for (const owner of owners) {
    const rules = owner['x-kubernetes-validations'].map(({ rule }) => rule);
    const counts = rules.flatMap((rule) => /dyn\(self\)\.size\(\) == (\d+)/.exec(rule)?.[1] ?? []);
    expect(new Set(counts)).toEqual(new Set([String(Object.keys(owner.properties).length)]));
  }
  expect(owners).toHaveLength(1);
});

interface Owner {
  readonly properties: object;
  readonly 'x-kubernetes-validations': readonly { readonly rule: string }[];
}
