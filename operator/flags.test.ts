import { expect, test } from 'vitest';
import { parseFlags } from '../process/flags.ts';
import { operatorProgram } from './flags.ts';

function parse(...argv: string[]): unknown {
  const parsed = parseFlags(operatorProgram, argv, {});
  return 'values' in parsed ? parsed.values : parsed.help;
}

test('the defaults are those of the contract', () => {
  expect(parse()).toMatchObject({
    kubeconfig: undefined,
    'leader-elect': true,
    namespace: undefined,
    'orphan-grace': 60_000,
    'scan-interval': 300_000,
    'dry-run': false,
    'log-level': 'info',
  });
});

test('every flag of the contract is there, and no other', () => {
  expect(Object.keys(operatorProgram.flags)).toEqual([
    'kubeconfig',
    'leader-elect',
    'namespace',
    'metrics-address',
    'health-address',
    'orphan-grace',
    'scan-interval',
    'dry-run',
    'log-level',
  ]);
});

test.each([
  { argv: ['--leader-elect=false'], want: { 'leader-elect': false } },
  { argv: ['--leader-elect'], want: { 'leader-elect': true } },
  { argv: ['--dry-run'], want: { 'dry-run': true } },
  {
    argv: ['--orphan-grace=3s', '--scan-interval', '1h30m'],
    want: { 'orphan-grace': 3_000, 'scan-interval': 5_400_000 },
  },
])('$argv is understood', ({ argv, want }) => {
  expect(parse(...argv)).toMatchObject(want);
});

test.each([
  { argv: ['--orphan-grace=0s'], message: /--orphan-grace is "0s": use a duration above 0/ },
  { argv: ['--orphan-grace=soon'], message: /--orphan-grace is "soon": .*soon/ },
  { argv: ['--namespace=Berth'], message: /--namespace is "Berth": use the name of a namespace/ },
])('$argv is refused', ({ argv, message }) => {
  expect(() => parse(...argv)).toThrow(message);
});
