import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LineSplitter } from './watchstream.ts';

it('cuts lines however the bytes arrive', () => {
  const cuts = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 });
  const texts = fc.array(
    fc.string({ unit: 'grapheme' }).filter((text) => text !== '' && !text.includes('\n')),
  );
  fc.assert(
    fc.property(texts, cuts, (lines, sizes) => {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
      const splitter = new LineSplitter();
      const found: string[] = [];
      for (let at = 0, i = 0; at < bytes.length; i += 1) {
        const size = sizes[i % sizes.length] ?? 1;
        found.push(...splitter.push(bytes.subarray(at, at + size)));
        at += size;
      }
      expect(found).toEqual(lines);
      expect(splitter.pending).toBe(0);
    }),
  );
});

it('leaves empty lines out, and knows how much of a line is pending', () => {
  const splitter = new LineSplitter();
  expect(splitter.push(Buffer.from('\n\na\n\nbc'))).toEqual(['a']);
  expect(splitter.pending).toBe(2);
  expect(splitter.push(Buffer.from('d\n'))).toEqual(['bcd']);
});
