import { describe, expect, test } from 'vitest';
import { parseArguments, UsageError } from './options.ts';

describe('the length and the seed', () => {
  test('are those of the full run, with the seed that is new', () => {
    const { options, help } = parseArguments([], {}, 7);
    expect(help).toBe(false);
    expect(options).toMatchObject({ minutes: 20, seed: 7, adds: 20_000, restores: 2, nodes: 10 });
  });

  test('are given by flags, which beat the environment', () => {
    const env = { BERTH_CHAOS_MINUTES: '3', BERTH_CHAOS_SEED: '4', BERTH_CHAOS_JSON: '/x' };
    expect(parseArguments([], env, 7)).toMatchObject({
      json: '/x',
      options: { minutes: 3, seed: 4, adds: 3_000 },
    });
    const { options } = parseArguments(['--minutes', '0.5', '--seed=5'], env, 7);
    expect(options).toMatchObject({ minutes: 0.5, seed: 5, restores: 0 });
  });

  test('that are empty, as from make, are those of the full run', () => {
    const argv = ['--minutes', '', '--seed', '', '--json', ''];
    expect(parseArguments(argv, {}, 7)).toMatchObject({ json: undefined, options: { minutes: 20, seed: 7 } });
  });
});

test.each([
  { argv: ['--minutes', 'x'], message: /--minutes is "x": give a number from 0.5 to 240/ },
  { argv: ['--minutes', '0.1'], message: /--minutes is "0.1"/ },
  { argv: ['--seed', '1.5'], message: /--seed is 1.5: give a whole number/ },
  { argv: ['--restores', '-1'], message: /--restores/ },
  { argv: ['--bogus'], message: /--bogus.*--help/s },
])('$argv is refused by name, value and cure', ({ argv, message }) => {
  expect(() => parseArguments(argv, {}, 7)).toThrow(UsageError);
  expect(() => parseArguments(argv, {}, 7)).toThrow(message);
});
