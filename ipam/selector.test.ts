import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { LabelSelector } from './selector.ts';
import { formatSelector, matchesSelector } from './selector.ts';

const labels = { zone: 'a', disk: '' };

test.each<[string, LabelSelector | undefined, boolean]>([
  ['an absent selector', undefined, true],
  ['an empty selector', {}, true],
  ['empty lists', { matchLabels: {}, matchExpressions: [] }, true],
  ['an equal label', { matchLabels: { zone: 'a' } }, true],
  ['another value', { matchLabels: { zone: 'b' } }, false],
  ['an absent label', { matchLabels: { rack: '1' } }, false],
  ['an empty value', { matchLabels: { disk: '' } }, true],
  ['an empty value of an absent label', { matchLabels: { rack: '' } }, false],
  ['one of two labels', { matchLabels: { zone: 'a', rack: '1' } }, false],
  ['In with the value', { matchExpressions: [{ key: 'zone', operator: 'In', values: ['b', 'a'] }] }, true],
  ['In without the value', { matchExpressions: [{ key: 'zone', operator: 'In', values: ['b'] }] }, false],
  ['In of an absent label', { matchExpressions: [{ key: 'rack', operator: 'In', values: ['1'] }] }, false],
  ['In of nothing', { matchExpressions: [{ key: 'zone', operator: 'In' }] }, false],
  ['NotIn with the value', { matchExpressions: [{ key: 'zone', operator: 'NotIn', values: ['a'] }] }, false],
  [
    'NotIn without the value',
    { matchExpressions: [{ key: 'zone', operator: 'NotIn', values: ['b'] }] },
    true,
  ],
  [
    'NotIn of an absent label',
    { matchExpressions: [{ key: 'rack', operator: 'NotIn', values: ['1'] }] },
    true,
  ],
  ['Exists', { matchExpressions: [{ key: 'disk', operator: 'Exists' }] }, true],
  ['Exists of an absent label', { matchExpressions: [{ key: 'rack', operator: 'Exists' }] }, false],
  ['DoesNotExist', { matchExpressions: [{ key: 'zone', operator: 'DoesNotExist' }] }, false],
  [
    'DoesNotExist of an absent label',
    { matchExpressions: [{ key: 'rack', operator: 'DoesNotExist' }] },
    true,
  ],
  [
    'Exists of a name that objects inherit',
    { matchExpressions: [{ key: 'constructor', operator: 'Exists' }] },
    false,
  ],
  [
    'labels and expressions that disagree',
    { matchLabels: { zone: 'a' }, matchExpressions: [{ key: 'zone', operator: 'DoesNotExist' }] },
    false,
  ],
])('%s: %o matches %s', (_name, selector, matches) => {
  expect(matchesSelector(selector, labels)).toBe(matches);
});

test('NotIn is the opposite of In, DoesNotExist of Exists', () => {
  const key = fc.constantFrom('zone', 'disk', 'rack');
  const values = fc.array(fc.constantFrom('', 'a', 'b'), { minLength: 1 });
  fc.assert(
    fc.property(key, values, (k, v) => {
      const matches = (operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist'): boolean =>
        matchesSelector({ matchExpressions: [{ key: k, operator, values: v }] }, labels);
      expect(matches('NotIn')).toBe(!matches('In'));
      expect(matches('DoesNotExist')).toBe(!matches('Exists'));
    }),
  );
});

test('a selector is written as kubectl writes it', () => {
  expect(
    formatSelector({
      matchLabels: { zone: 'a' },
      matchExpressions: [
        { key: 'disk', operator: 'In', values: ['ssd', 'nvme'] },
        { key: 'rack', operator: 'NotIn', values: ['1', '2'] },
        { key: 'row', operator: 'NotIn', values: ['3'] },
        { key: 'gpu', operator: 'Exists' },
        { key: 'old', operator: 'DoesNotExist' },
      ],
    }),
  ).toBe('zone=a,disk in (ssd,nvme),rack notin (1,2),row!=3,gpu,!old');
  expect([formatSelector(undefined), formatSelector({})]).toEqual(['', '']);
});
