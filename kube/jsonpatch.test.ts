import { describe, expect, it } from 'vitest';
import type { JsonPatchOperation } from './api.ts';
import { applyJsonPatch, jsonEqual, PatchFailed } from './jsonpatch.ts';

describe('applyJsonPatch', () => {
  it.each<[string, unknown, JsonPatchOperation[], unknown]>([
    ['adds a member', {}, [{ op: 'add', path: '/a', value: 1 }], { a: 1 }],
    ['adds into an array', { a: [1, 3] }, [{ op: 'add', path: '/a/1', value: 2 }], { a: [1, 2, 3] }],
    ['adds at the end of an array', { a: [1] }, [{ op: 'add', path: '/a/-', value: 2 }], { a: [1, 2] }],
    ['replaces', { a: { b: 1 } }, [{ op: 'replace', path: '/a/b', value: null }], { a: { b: null } }],
    ['removes from an array', { a: [1, 2] }, [{ op: 'remove', path: '/a/0' }], { a: [2] }],
    [
      'reads ~1 as / and ~0 as ~',
      { 'a/b': { 'c~d': 1 } },
      [{ op: 'remove', path: '/a~1b/c~0d' }],
      { 'a/b': {} },
    ],
    ['replaces the document', { a: 1 }, [{ op: 'replace', path: '', value: { b: 2 } }], { b: 2 }],
    [
      'tests deeply, in any order of members',
      { a: { x: 1, y: [2] } },
      [{ op: 'test', path: '/a', value: { y: [2], x: 1 } }],
      { a: { x: 1, y: [2] } },
    ],
  ])('%s', (_title, document, patch, result) => {
    expect(applyJsonPatch(document, patch)).toEqual(result);
  });

  it.each<[string, JsonPatchOperation]>([
    ['a failed test', { op: 'test', path: '/a', value: 2 }],
    ['a path without its slash', { op: 'add', path: 'a', value: 2 }],
    ['an index with a leading zero', { op: 'replace', path: '/list/00', value: 2 }],
    ['an index that is no number', { op: 'add', path: '/list/x', value: 2 }],
    ['a path through a scalar', { op: 'add', path: '/a/b', value: 2 }],
    ['the removal of the document', { op: 'remove', path: '' }],
  ])('refuses %s', (_title, operation) => {
    expect(() => applyJsonPatch({ a: 1, list: [1] }, [operation])).toThrow(PatchFailed);
  });

  it('leaves the document given as it was', () => {
    const document = { a: { b: [1] } };
    const value = { c: 1 };
    const result = applyJsonPatch(document, [{ op: 'add', path: '/a/b/0', value }]);
    value.c = 2;
    expect(document).toEqual({ a: { b: [1] } });
    expect(result).toEqual({ a: { b: [{ c: 1 }, 1] } });
  });
});

it.each<[unknown, unknown, boolean]>([
  [null, null, true],
  [null, {}, false],
  [[], {}, false],
  [{ a: undefined }, {}, false],
  [[1, 2], [2, 1], false],
  ['1', 1, false],
])('jsonEqual(%j, %j) is %s', (a, b, equal) => {
  expect(jsonEqual(a, b)).toBe(equal);
});
