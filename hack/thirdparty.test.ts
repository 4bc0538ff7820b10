import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

test('the JavaScript engine is what its project released', () => {
  const engine = join(import.meta.dirname, '../third_party/quickjs-ng');
  const listed = readFileSync(join(engine, 'SHA256SUMS'), 'utf8');
  const found = readdirSync(engine)
    .filter((name) => name !== 'SHA256SUMS')
    .map((name) => {
      const digest = createHash('sha256')
        .update(readFileSync(join(engine, name)))
        .digest('hex');
      return `${digest}  ${name}`;
    });
  expect(found.toSorted()).toEqual(listed.trimEnd().split('\n').toSorted());
});
