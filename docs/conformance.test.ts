/** The tables of conformance.md are the rules that are tested. */
import { describe, expect, test } from 'vitest';
import { versionsOf } from '../e2e/conformance/rule.ts';
import { CHAPTERS } from '../e2e/conformance/rules.ts';
import { readDocument, tableAfter } from './testing/markdown.ts';

const document = readDocument('docs/conformance.md');
const all = Object.values(CHAPTERS).flat();
const asCell = (text: string): string => text.replaceAll('|', '\\|');

describe('conformance.md', () => {
  test.each([
    ['## Configuration, parameters, ADD and its result', CHAPTERS.add],
    ['## DEL, CHECK, GC, STATUS and VERSION', CHAPTERS.verbs],
    ['## host-local, static and Cilium', CHAPTERS.reference],
  ])('"%s" has every rule, as it is tested', (heading, rules) => {
    expect(tableAfter(document, heading)).toEqual(
      rules.map((rule) => [`\`${rule.id}\``, asCell(rule.text), asCell(rule.source), versionsOf(rule)]),
    );
  });

  test('every difference is told, from what and with its reason', () => {
    expect(tableAfter(document, '## Where Berth differs')).toEqual(
      all.flatMap(({ id, text, differs }) =>
        differs === undefined ? [] : [[`\`${id}\``, asCell(text), asCell(differs)]],
      ),
    );
  });

  test('no two rules have one name', () => {
    const ids = all.map((rule) => rule.id);
    expect(ids).toEqual([...new Set(ids)]);
  });
});
