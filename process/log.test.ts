import { expect, test } from 'vitest';
import { createLog } from './log.ts';

const NASTY =
  'a"b\\c\n{"level":"error"}\r\u001b[31mred\u0000\u007f\u0085\u009b2J\u2028x\u2029\u202eabc\u2066\u200f\u061c';

test('nothing that a text quotes breaks out of its line, and nothing of it is lost', () => {
  const lines: string[] = [];
  const log = createLog({ level: 'info', name: 'berth-test' }, { write: (line) => lines.push(line) });
  log.warn({ pod: NASTY, error: new Error(NASTY), [NASTY]: 1 }, NASTY);
  expect(lines).toHaveLength(1);
  const [line = ''] = lines;
  expect(line).toMatch(/^\{.*\}\n$/);
  expect(line.trimEnd()).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u);
  // The log's own format.
  const entry = JSON.parse(line) as Record<string, unknown>;
  expect(entry).toMatchObject({
    level: 'warn',
    pod: NASTY,
    msg: NASTY,
    [NASTY]: 1,
    error: { message: NASTY },
  });
});

test('texts of every language stay readable', () => {
  const lines: string[] = [];
  createLog({ level: 'info', name: 'berth-test' }, { write: (line) => lines.push(line) }).info(
    {},
    'Größe 大 😀',
  );
  expect(lines[0]).toContain('"msg":"Größe 大 😀"');
});
