import { describe, expect, test } from 'vitest';
import {
  agentPaths,
  DEFAULT_SOCKET,
  DEFAULT_STATE_DIR,
  deleteEntryName,
  deletesDir,
  deleteTempName,
  describeCall,
  ErrorCode,
  environmentProblem,
  errorAnswer,
  parseAnswer,
  parseDeleteEntryName,
  SUPPORTED_VERSIONS,
  versionAnswer,
  versionProblem,
} from './protocol.ts';

const error = (...args: Parameters<typeof errorAnswer>): Record<string, unknown> =>
  // An error object of the CNI spec.
  JSON.parse(errorAnswer(...args).stdout) as Record<string, unknown>;

describe('errorAnswer (CNI spec, "Error")', () => {
  test.each(SUPPORTED_VERSIONS)('carries the version of the configuration: %s', (version) => {
    expect(error(version, ErrorCode.exhausted, 'full', 'why')).toEqual({
      cniVersion: version,
      code: 101,
      msg: 'full',
      details: 'why',
    });
  });

  test.each([[undefined], [''], ['9.9.9']])('carries the newest version for %j', (version) => {
    expect(error(version, 6, 'x')['cniVersion']).toBe('1.1.0');
  });

  test('exits with 1, and details are optional', () => {
    expect(errorAnswer('1.0.0', 7, 'bad')).toEqual({
      exitCode: 1,
      stdout: '{"cniVersion":"1.0.0","code":7,"msg":"bad"}\n',
    });
  });

  test('msg is one line, whatever it quotes', () => {
    const { msg } = error('1.0.0', 7, 'a\nb\r\n\u001b[31mred\u0000\u0085\u2028c\u009b');
    expect(msg).toBe('a b [31mred c');
  });

  test('details keep their lines, and nothing else that a terminal would obey', () => {
    expect(error('1.0.0', 7, 'x', 'one\ntwo\u001b[2J\u0007')['details']).toBe('one\ntwo [2J ');
  });

  test('neither turns the reading direction, nor has line separators', () => {
    const nasty = 'a\u202eb\u2066c\u200f\u061cd\u2028e';
    expect(error('1.0.0', 7, nasty, `${nasty}\n${nasty}`)).toMatchObject({
      msg: 'a b c d e',
      details: 'a b c d e\na b c d e',
    });
  });

  test('overlong texts are cut, and a character that is cut in two does not break the JSON', () => {
    const { msg, details } = error('1.0.0', 7, '😀'.repeat(5000), 'd'.repeat(100_000));
    expect(String(msg).length).toBeLessThanOrEqual(1024);
    expect(String(msg)).toMatch(/^(😀)+\uFFFD?…$/u);
    expect(String(details).length).toBe(16 * 1024);
  });
});

describe('names in the delete queue', () => {
  test.each([
    [0, 0],
    [1_790_000_000_123, 0.5],
    [999_999_999_999_999, 1 - Number.EPSILON],
  ])('a name tells its time: %d, %d', (time, random) => {
    const name = deleteEntryName(time, random);
    expect(name).toMatch(/^\d{15}-[0-9a-f]{12}\.json$/);
    expect(parseDeleteEntryName(name)).toEqual({ time });
  });

  test('names sort by time', () => {
    const names = [2, 10, 1_000_000, 1_790_000_000_000].map((time, i) =>
      deleteEntryName(time, 1 - i / 4 - 0.1),
    );
    expect(names.toSorted()).toEqual(names);
  });

  test.each(['.berth-agent', '', 'x.json', '1-2.json', deleteTempName(deleteEntryName(5, 0.5))])(
    'anything else is no entry: %j',
    (name) => expect(parseDeleteEntryName(name)).toBeUndefined(),
  );

  test('the directory is in the state directory', () => {
    expect(deletesDir('/var/lib/berth')).toBe('/var/lib/berth/deletes');
    expect(deletesDir('/var/lib/berth//')).toBe('/var/lib/berth/deletes');
  });
});

describe('environmentProblem (CNI spec 1.1.0, section 2)', () => {
  const full = {
    CNI_CONTAINERID: 'a1.b_c-d',
    CNI_NETNS: '/run/netns/x',
    CNI_IFNAME: 'net1',
    CNI_PATH: '/opt/cni/bin',
  };
  const commands = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'];

  test.each(commands)('a complete environment is right for %s', (command) => {
    expect(environmentProblem({ ...full, CNI_COMMAND: command })).toBeUndefined();
  });

  const required: Readonly<Record<string, readonly string[]>> = {
    ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
    CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
    DEL: ['CNI_CONTAINERID', 'CNI_IFNAME'],
    GC: ['CNI_PATH'],
    STATUS: [],
    VERSION: [],
  };
  test.each(commands.flatMap((command) => Object.keys(full).map((name) => [command, name] as const)))(
    '%s without %s is refused exactly where the spec requires it',
    (command, name) => {
      for (const value of [undefined, '']) {
        const problem = environmentProblem({ ...full, CNI_COMMAND: command, [name]: value });
        if (required[command]?.includes(name)) expect(problem).toContain(name);
        else expect(problem).toBeUndefined();
      }
    },
  );

  test.each([undefined, '', 'add', 'UPDATE', 'constructor', '__proto__'])('no verb: %j', (command) => {
    expect(environmentProblem({ ...full, CNI_COMMAND: command })).toContain('CNI_COMMAND');
  });

  test.each(['-a', '.a', '_a', 'a/b', 'a b', 'a\n', 'é', '../../x', '\uFFFD'])(
    'a container ID begins with a letter or digit and has only letters, digits, "_", ".", "-": not %j',
    (id) => {
      expect(environmentProblem({ ...full, CNI_COMMAND: 'DEL', CNI_CONTAINERID: id })).toContain(
        'CNI_CONTAINERID',
      );
    },
  );

  test.each([
    '.',
    '..',
    'a/b',
    'a:b',
    'a b',
    'a\tb',
    'a\u0085',
    'sixteencharacter',
    'éééééééé',
    '\uFFFDx',
    '\uD800x',
  ])(
    'an interface name has at most 15 bytes, no "/", ":" or white space, and is not "." or "..": not %j',
    (name) => {
      expect(environmentProblem({ ...full, CNI_COMMAND: 'ADD', CNI_IFNAME: name })).toContain('CNI_IFNAME');
    },
  );

  test.each(['eth0', 'fifteencharacte', 'ééééééé', '...', 'a-b_c.1', '<a>&'])(
    '%j is an interface name',
    (name) => {
      expect(environmentProblem({ ...full, CNI_COMMAND: 'ADD', CNI_IFNAME: name })).toBeUndefined();
    },
  );
});

describe('versions', () => {
  test.each([undefined, null, ''])('a configuration without cniVersion (%j) is 0.1.0', (version) => {
    expect(versionProblem(version, 'ADD')).toBeUndefined();
    expect(versionProblem(version, 'CHECK')).toContain('0.1.0');
  });

  test.each([
    ['CHECK', '0.4.0'],
    ['GC', '1.1.0'],
    ['STATUS', '1.1.0'],
    ['ADD', '0.1.0'],
    ['DEL', '0.1.0'],
  ])('%s exists since %s', (command, since) => {
    for (const version of SUPPORTED_VERSIONS) {
      const exists = SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(since);
      expect(versionProblem(version, command) === undefined, version).toBe(exists);
    }
  });

  test.each(['1.2.0', '0.0.9', 'latest', 1, {}, ['1.0.0']])(
    '%j is refused, and the cure named',
    (version) => {
      expect(versionProblem(version, 'ADD')).toMatch(/is not supported; use one of 0\.1\.0, .*1\.1\.0/);
    },
  );

  test.each(SUPPORTED_VERSIONS)('VERSION answers in the version asked with: %s', (version) => {
    expect(versionAnswer(version)).toEqual({
      exitCode: 0,
      stdout: `${JSON.stringify({ cniVersion: version, supportedVersions: SUPPORTED_VERSIONS })}\n`,
    });
  });

  test.each([undefined, '', '2.0.0'])('VERSION answers %j in the newest', (version) => {
    expect(versionAnswer(version)).toEqual(versionAnswer('1.1.0'));
  });
});

describe('agentPaths', () => {
  test.each([undefined, null, 'berth', {}, { type: 'berth' }])('%j means the defaults', (ipam) => {
    expect(agentPaths(ipam)).toEqual({ socket: DEFAULT_SOCKET, stateDir: DEFAULT_STATE_DIR });
  });

  test('both can be given', () => {
    expect(agentPaths({ socket: '/a/b.sock', stateDir: '/c' })).toEqual({
      socket: '/a/b.sock',
      stateDir: '/c',
    });
  });

  test.each([
    ['socket', 'relative.sock'],
    ['socket', ''],
    ['socket', 5],
    ['socket', null],
    ['socket', `/${'a'.repeat(107)}`],
    ['socket', '/a\0b'],
    ['stateDir', './x'],
    ['stateDir', {}],
    ['stateDir', `/${'é'.repeat(600)}`],
  ])('%s %j is refused by name and value', (key, value) => {
    const problem = agentPaths({ [key]: value });
    expect(problem).toContain(`ipam.${key} is ${JSON.stringify(value)}; it must be an absolute path`);
  });

  test('a socket path of 107 bytes is the longest', () => {
    const socket = `/${'a'.repeat(106)}`;
    expect(agentPaths({ socket })).toEqual({ socket, stateDir: DEFAULT_STATE_DIR });
  });
});

describe('parseAnswer', () => {
  test('an answer is an exit code and a text', () => {
    expect(parseAnswer('{"exitCode":1,"stdout":"x","more":true}')).toEqual({ exitCode: 1, stdout: 'x' });
  });

  test.each([
    '',
    'x',
    'null',
    '[]',
    '"x"',
    '{}',
    '{"exitCode":0}',
    '{"exitCode":"0","stdout":""}',
    '{"exitCode":0.5,"stdout":""}',
    '{"exitCode":-1,"stdout":""}',
    '{"exitCode":256,"stdout":""}',
    '{"exitCode":0,"stdout":null}',
  ])('anything else is none: %j', (body) => expect(parseAnswer(body)).toBeUndefined());
});

describe('describeCall', () => {
  test('names verb, pod and interface', () => {
    const args = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=u';
    const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_IFNAME: 'net1', CNI_ARGS: args };
    expect(describeCall(env)).toBe('ADD shop/web-1 net1');
  });

  test.each([undefined, '', 'K8S_POD_NAME=', ';;=', 'XK8S_POD_NAME=a'])(
    'names the container where no pod is named: %j',
    (args) => {
      const env = { CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'c1', CNI_IFNAME: 'net1', CNI_ARGS: args };
      expect(describeCall(env)).toBe('DEL c1 net1');
    },
  );
});
