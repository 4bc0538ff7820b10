import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import {
  booleanSchema,
  type FlagValues,
  hostPortSchema,
  kubeconfigFlag,
  logLevelFlag,
  type Program,
  parseFlags,
  UsageError,
} from './flags.ts';

const flags = {
  'node-name': { schema: z.string().min(1), description: 'the node', placeholder: 'name', env: 'NODE_NAME' },
  kubeconfig: kubeconfigFlag,
  'metrics-address': { schema: hostPortSchema, description: 'where metrics are', default: '127.0.0.1:0' },
  'dry-run': { schema: booleanSchema, description: 'changes nothing', default: 'false', implied: 'true' },
  'log-level': logLevelFlag,
};
const program: Program<typeof flags> = {
  name: 'berth-test',
  version: '1.2.3',
  summary: 'tests flags',
  flags,
};

function values(argv: string[], env: Record<string, string> = {}): FlagValues<typeof flags> {
  const parsed = parseFlags(program, argv, env);
  if ('help' in parsed) {
    throw new Error('values expected, help given');
  }
  return parsed.values;
}

describe('values', () => {
  test.each([
    { argv: ['--node-name', 'a'] },
    { argv: ['--node-name=a'] },
    { argv: ['--dry-run', '--node-name', 'a'] },
  ])('$argv sets the flag', ({ argv }) => {
    expect(values(argv)['node-name']).toBe('a');
  });

  test('what is absent has its default, or undefined where the schema accepts it', () => {
    expect(values(['--node-name=a'])).toEqual({
      'node-name': 'a',
      kubeconfig: undefined,
      'metrics-address': { host: '127.0.0.1', port: 0 },
      'dry-run': false,
      'log-level': 'info',
    });
  });

  test.each([
    { argv: ['--dry-run'], want: true },
    { argv: ['--dry-run=true'], want: true },
    { argv: ['--dry-run=false'], want: false },
  ])('a boolean flag: $argv is $want', ({ argv, want }) => {
    expect(values([...argv, '--node-name=a'])['dry-run']).toBe(want);
  });

  test('a value may contain = and be empty-looking text', () => {
    expect(values(['--node-name=a=b'])['node-name']).toBe('a=b');
  });

  test('a flag beats the environment, which beats the default', () => {
    const env = { NODE_NAME: 'from-env', BERTH_LOG_LEVEL: 'debug' };
    expect(values([], env)).toMatchObject({ 'node-name': 'from-env', 'log-level': 'debug' });
    expect(values(['--node-name=a', '--log-level=error'], env)).toMatchObject({
      'node-name': 'a',
      'log-level': 'error',
    });
  });

  test('an empty environment variable counts as unset', () => {
    expect(values(['--node-name=a'], { BERTH_LOG_LEVEL: '' })['log-level']).toBe('info');
  });
});

describe('usage errors name the flag, the value and the cure', () => {
  test.each([
    { argv: ['--node=a'], message: /unknown flag --node: the flags are --node-name, .*--log-level/ },
    { argv: ['--constructor=a'], message: /unknown flag --constructor/ },
    { argv: ['a'], message: /unexpected argument "a": flags are/ },
    { argv: ['-x'], message: /unexpected argument "-x"/ },
    { argv: ['--'], message: /unexpected argument "--"/ },
    { argv: ['--node-name'], message: /--node-name needs a value: --node-name <name>/ },
    { argv: ['--node-name', '--dry-run'], message: /--node-name needs a value/ },
    { argv: ['--node-name=a', '--node-name=b'], message: /--node-name is given twice/ },
    { argv: [], message: /--node-name is required: give --node-name <name> or set NODE_NAME/ },
    { argv: ['--node-name=a', '--dry-run=yes'], message: /--dry-run is "yes": use true or false/ },
    { argv: ['--node-name=a', '--dry-run', 'false'], message: /unexpected argument "false"/ },
    { argv: ['--node-name=a', '--log-level=loud'], message: /--log-level is "loud": use one of debug, info/ },
    { argv: ['--node-name=a', '--kubeconfig='], message: /--kubeconfig is "": give the path/ },
  ])('$argv', ({ argv, message }) => {
    expect(() => parseFlags(program, argv, {})).toThrow(UsageError);
    expect(() => parseFlags(program, argv, {})).toThrow(message);
  });

  test('a wrong environment variable is named with its flag', () => {
    expect(() => parseFlags(program, ['--node-name=a'], { BERTH_DRY_RUN: 'x' })).toThrow(
      /BERTH_DRY_RUN \(for --dry-run\) is "x": use true or false/,
    );
  });
});

describe('--help and --version', () => {
  test('help shows every flag with its default and variable, whatever else is wrong', () => {
    const parsed = parseFlags(program, ['--help', '--bogus'], {});
    const help = 'help' in parsed ? parsed.help : '';
    for (const part of [
      '--node-name <name>',
      'NODE_NAME',
      '--dry-run[=<',
      'default 127.0.0.1:0',
      '--version',
    ]) {
      expect(help).toContain(part);
    }
  });

  test('version shows name and version', () => {
    expect(parseFlags(program, ['--version'], {})).toEqual({ help: 'berth-test 1.2.3\n' });
  });
});

describe('host:port', () => {
  test.each([
    { text: '127.0.0.1:8080', want: { host: '127.0.0.1', port: 8080 } },
    { text: '[::1]:0', want: { host: '::1', port: 0 } },
    { text: 'localhost:65535', want: { host: 'localhost', port: 65_535 } },
    { text: ':9090', want: { host: '', port: 9090 } },
  ])('$text', ({ text, want }) => {
    expect(hostPortSchema.parse(text)).toEqual(want);
  });

  test.each([
    '8080',
    'localhost',
    'localhost:',
    'localhost:65536',
    'localhost:-1',
    '::1:80',
    '[::1]',
    'a b:80',
    'http://a:80',
    '',
  ])('"%s" is refused', (text) => {
    expect(() => hostPortSchema.parse(text)).toThrow(/use host:port/);
  });
});
