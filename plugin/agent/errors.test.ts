import { describe, expect, test } from 'vitest';
import { CniError, type Code, combine, messageOf } from './errors.ts';

describe('combine', () => {
  test('of several failures the one first in 105, 104, 103, 102, 101, 11 is reported, with the reasons of all', () => {
    const order: Code[] = [105, 104, 103, 102, 101, 11];
    for (let from = 0; from < order.length; from += 1) {
      const [first, ...rest] = order.slice(from).map((code) => new CniError(code, `m${code}`, `d${code}`));
      if (first === undefined) throw new Error('the list is not empty');
      const [last, ...others] = [...rest.toReversed(), first];
      const combined = combine([last, ...others]);
      expect(combined).toMatchObject({ code: first.code, message: first.message });
      if (rest.length > 0) {
        for (const { message, details } of [first, ...rest]) {
          expect(combined.details).toContain(`${message}: ${details}`);
        }
      }
    }
  });

  test('invalid input comes before them all', () => {
    expect(combine([new CniError(105, 'a'), new CniError(7, 'b')]).code).toBe(7);
  });

  test('one failure stays as it is', () => {
    const only = new CniError(101, 'full', 'details');
    expect(combine([only])).toBe(only);
  });

  test('the message has the reasons of all that have this code', () => {
    const failures = [new CniError(101, 'first'), new CniError(11, 'later'), new CniError(101, 'second')];
    const [one, ...more] = failures;
    if (one === undefined) throw new Error('the list is not empty');
    expect(combine([one, ...more])).toMatchObject({
      message: 'first; second',
      details: 'first\nsecond\nlater',
    });
  });
});

test('messageOf makes one line of anything', () => {
  expect(messageOf(new Error('a\n  b'))).toBe('a b');
  expect(messageOf('text')).toBe('text');
});
