/** Links lead somewhere, and decision records have their form. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { anchors, documents, links, ROOT, readDocument, tableAfter } from './testing/markdown.ts';

describe('links within the repository', () => {
  const withLinks = documents().filter((file) => links(readDocument(file)).length > 0);

  test.each(withLinks)('%s: each leads to a file and a heading that exist', (file) => {
    const broken: string[] = [];
    for (const link of links(readDocument(file))) {
      if (/^[a-z]+:/.test(link)) continue;
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? file : join(dirname(file), path);
      if (!existsSync(join(ROOT, target))) broken.push(link);
      else if (anchor !== undefined && !anchors(readDocument(target)).includes(anchor)) broken.push(link);
    }
    expect(broken).toEqual([]);
  });

  test('the index of the documentation names every document', () => {
    const named = links(readDocument('docs/README.md')).map((link) => join('docs', link));
    const own = documents().filter((file) => /^docs\/(?:reference\/)?[a-z-]+\.md$/.test(file));
    expect(own.filter((file) => !named.includes(file))).toEqual([]);
  });
});

describe('decision records', () => {
  const records = documents().filter((file) => /^docs\/adr\/\d/.test(file));
  const index = readDocument('docs/adr/README.md');

  test('are numbered without gaps, and each is in the index with its status', () => {
    expect(records.map((file) => file.slice('docs/adr/'.length, 'docs/adr/0000'.length))).toEqual(
      records.map((_, i) => String(i + 1).padStart(4, '0')),
    );
    const rows = tableAfter(index, '# Decision records');
    expect(rows.map(([link]) => links(link ?? '')[0])).toEqual(
      records.map((file) => file.slice('docs/adr/'.length)),
    );
    expect(rows.map((row) => row[2])).toEqual(
      records.map((file) => /^- Status: (.+)$/m.exec(readDocument(file))?.[1]),
    );
  });

  test.each(records)('%s: has its parts, in under 60 lines', (file) => {
    const source = readDocument(file);
    const number = file.slice('docs/adr/'.length, 'docs/adr/0000'.length);
    expect(source).toMatch(new RegExp(`^# ${number}: .+\n\n- Date: \\d{4}-\\d{2}-\\d{2}\n- Status: .+\n`));
    expect([...source.matchAll(/^## (.+)$/gm)].map((match) => match[1])).toEqual([
      'Context',
      'Decision',
      'Consequences',
    ]);
    expect(source.split('\n').length).toBeLessThan(60);
  });
});
