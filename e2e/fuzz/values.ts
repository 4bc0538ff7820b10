/** Values that programs have stumbled over, and how often. */
import fc from 'fast-check';

/** Text that programs have stumbled over. */
const NASTY: readonly string[] = [
  '',
  ' ',
  '\0',
  '\n',
  '\r\nX-Injected: yes\r\n\r\n',
  '\u2028',
  '\ud800',
  '\ufeff',
  '𝕏é\u0301',
  '../../../etc/passwd',
  '/',
  '%s%n%x',
  '${jndi:x}',
  '","code":0,"x":"',
  '{"code":0}',
  '\\',
  "'; drop table --",
  '__proto__',
  'constructor',
  'toString',
  '-1',
  '1e999',
  'NaN',
  'null',
  '[]',
  '0.0.0.0',
  '255.255.255.255',
  '::',
  '::ffff:10.0.0.1',
  'fe80::1%eth0',
  '10.0.0.1/33',
  '010.0.0.1',
  'metadata.name!=x,spec.pool=y',
  'a'.repeat(254),
  'é'.repeat(4000),
  '\u001b[2J',
];

export const nasty: fc.Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...NASTY) },
  { weight: 1, arbitrary: fc.string({ maxLength: 40 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
);

export const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  nasty,
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom(null, [], {}, 0, -1, 1e308, true, '', [[]], [null], { a: {} }),
);

/** Present in some of the draws. */
export function sometimes<T>(arbitrary: fc.Arbitrary<T>, outOf: number): fc.Arbitrary<T | undefined> {
  return fc.option(arbitrary, { nil: undefined, freq: outOf });
}

/** undefined in most draws. */
export function seldom<T>(arbitrary: fc.Arbitrary<T>, outOf: number): fc.Arbitrary<T | undefined> {
  return fc.oneof({ weight: outOf - 1, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
}
