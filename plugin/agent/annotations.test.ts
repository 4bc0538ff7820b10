import { describe, expect, test } from 'vitest';
import { annotationFor } from './annotations.ts';
import { refusal } from './testing/refusal.ts';

describe('annotationFor', () => {
  const read = (value: string | undefined): string[] | undefined =>
    annotationFor('annotation x', value, 'net1', 'storage').items;

  test.each<[string, string | undefined, string[] | undefined]>([
    ['absent', undefined, undefined],
    ['empty', ' ', undefined],
    ['a comma list is for every interface', 'a, b,,', ['a', 'b']],
    ['JSON by ifname', '{"net1": ["a", "b"], "eth0": ["c"]}', ['a', 'b']],
    ['JSON by cniNetwork', '{"storage": "a"}', ['a']],
    ['the ifname comes before the cniNetwork', '{"storage": "a", "net1": "b"}', ['b']],
    ['a value may be one string, a list too', '{"net1": "a,b"}', ['a', 'b']],
    ['an interface that is not mentioned', '{"eth0": "a"}', undefined],
    ['an empty value says nothing', '{"net1": []}', undefined],
    ['an empty value of the ifname leaves it to the cniNetwork', '{"net1": [" "], "storage": "a"}', ['a']],
    ['commas alone', ' , ', undefined],
    ['an empty object', '{}', undefined],
    ['a key that JavaScript has ideas about', '{"__proto__": "a", "net1": "b"}', ['b']],
  ])('%s: %j', (_rule, value, list) => {
    expect(read(value)).toEqual(list);
  });

  test.each([
    '{',
    '{"net1": 3}',
    '{"net1": [3]}',
    '{"eth0": {"a": "b"}}',
    '["a"]',
    '"a"',
    '{"net1": null}',
    '{"net1": "a"} x',
  ])('%s is malformed: code 7 that names the annotation and shows both forms', (value) => {
    const error = refusal(() => read(value));
    expect(error).toMatchObject({ code: 7, message: expect.stringContaining('annotation x is malformed') });
    expect(error.details).toContain('{"net1": ["a", "b"]}');
  });
});

test('only a comma list shows how to write it for one interface alone', () => {
  const form = (value: string): string | undefined =>
    annotationFor('x', value, 'net1', 'storage').byInterface;
  expect(form('a,b')).toBe('{"net1":["a","b"]}');
  expect(form('{"net1": "a"}')).toBeUndefined();
  expect(form('')).toBeUndefined();
});
