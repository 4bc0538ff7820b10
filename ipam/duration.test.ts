import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatDuration, parseDuration } from './duration.ts';
import { refusal } from './testing/refusal.ts';

test.each([
  ['0s', 0],
  ['250ms', 250],
  ['30s', 30_000],
  ['1m30s', 90_000],
  ['90s', 90_000],
  ['24h', 86_400_000],
  ['1h1m1s1ms', 3_661_001],
  ['1s1s', 2000],
  ['1ms1m', 60_001],
  ['007s', 7000],
])('%s is %i ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test.each(['', '30', 's', '-1s', '+1s', '1.5s', '1 s', '1d', '1us', '1S', '30s ', '30s\n', '1m30'])(
  'refuses %j',
  (text) => {
    const error = refusal(() => parseDuration(text));
    expect(error.code).toBe('InvalidDuration');
    expect(error.message).toContain('write whole numbers with ms, s, m or h');
  },
);

test('refuses what no number of milliseconds can hold', () => {
  expect(refusal(() => parseDuration('9999999999999999h')).message).toContain('is too long');
});

test.each([
  [0, '0s'],
  [1, '1ms'],
  [90_000, '1m30s'],
  [86_400_000, '24h'],
])('%i ms is written %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});

test.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])('%d ms cannot be written', (ms) => {
  expect(refusal(() => formatDuration(ms)).code).toBe('OutOfRange');
});

test('formatDuration is the inverse of parseDuration', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (ms) => {
      expect(parseDuration(formatDuration(ms))).toBe(ms);
    }),
  );
});
