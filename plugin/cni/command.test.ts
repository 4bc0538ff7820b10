import {
  existsSync,
  globSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  BINARY_DEADLINE_MS,
  type CniAnswer,
  type CniRequest,
  MARKER_MAX_AGE_MS,
  MAX_ANSWER_BYTES,
  MAX_CONFIG_BYTES,
  parseDeleteEntryName,
  SUPPORTED_VERSIONS,
} from '../protocol.ts';
import { answerCall } from './command.ts';
import { listenRaw, TestAgent } from './testing/agent.ts';
import { TestHost } from './testing/host.ts';

let directory = '';
let socket = '';
let deletes = '';
let marker = '';
let host = new TestHost();

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'berth-cni-'));
  socket = join(directory, 'agent.sock');
  deletes = join(directory, 'deletes');
  marker = join(deletes, '.berth-agent');
  host = new TestHost();
});

afterEach(() => rmSync(directory, { recursive: true }));

const SUCCESS: CniAnswer = { exitCode: 0, stdout: '' };
const fromAgent: CniAnswer = { exitCode: 0, stdout: '{ "cniVersion": "1.0.0",\n "ips": [] }' };

function environment(command: string): Record<string, string> {
  return {
    CNI_COMMAND: command,
    CNI_CONTAINERID: 'c0ffee',
    CNI_NETNS: '/run/netns/x',
    CNI_IFNAME: 'net1',
    CNI_PATH: '/opt/cni/bin',
    CNI_ARGS: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1',
  };
}

function config(more: object = {}): string {
  return JSON.stringify({
    cniVersion: '1.1.0',
    name: 'storage',
    type: 'macvlan',
    ipam: { type: 'berth', socket, stateDir: directory },
    ...more,
  });
}

function call(command: string, stdin: string | Uint8Array = config(), env: object = {}): Promise<CniAnswer> {
  return answerCall({ ...environment(command), ...env }, Buffer.from(stdin), host);
}

interface CniError {
  cniVersion: string;
  code: number;
  msg: string;
  details?: string;
}

function errorOf(answer: CniAnswer): CniError {
  expect(answer.exitCode).toBe(1);
  // The error object of the CNI spec.
  return JSON.parse(answer.stdout) as CniError;
}

function makeMarker(): void {
  mkdirSync(deletes, { recursive: true });
  writeFileSync(marker, '');
}

function queued(): string[] {
  return readdirSync(deletes).filter((name) => name !== '.berth-agent');
}

describe('the request', () => {
  test.each(['ADD', 'DEL', 'CHECK', 'GC'])(
    '%s is one POST /v1/cni with stdin as it came, and the answer is given as it came',
    async (command) => {
      await using agent = await TestAgent.listen(socket, () => fromAgent);
      const stdin = ` ${config({ note: 'é\t"\\' })}\n`;
      expect(await call(command, stdin)).toEqual(fromAgent);
      expect(agent.received).toHaveLength(1);
      const [received] = agent.received;
      expect(received).toMatchObject({ method: 'POST', url: '/v1/cni', headers: { connection: 'close' } });
      expect(received?.request).toEqual({ command, env: environment(command), config: stdin });
    },
  );

  test('an error of the agent is given as it came, with its exit code', async () => {
    await using agent = await TestAgent.listen(socket, () => ({ exitCode: 3, stdout: '{"code":101}' }));
    expect(await call('DEL')).toEqual({ exitCode: 3, stdout: '{"code":101}' });
    expect(agent.received).toHaveLength(1);
  });

  test('of the environment only CNI_* variables leave the process', async () => {
    await using agent = await TestAgent.listen(socket, () => fromAgent);
    await call('ADD', config(), { PATH: '/bin', AWS_SECRET: 's', XCNI_A: '1', cni_b: '2', CNI_EXTRA: '3' });
    expect(agent.received[0]?.request.env).toEqual({ ...environment('ADD'), CNI_EXTRA: '3' });
  });

  test('control characters and broken text in a variable arrive as the process saw them', async () => {
    await using agent = await TestAgent.listen(socket, () => fromAgent);
    const odd = 'a\n"\\\u0000\u001b\uFFFD\uD800=;;';
    await call('ADD', config(), { CNI_ARGS: odd });
    expect(agent.received[0]?.request.env['CNI_ARGS']).toBe(odd);
  });

  test('a megabyte of configuration and an answer nearly as large pass', async () => {
    const large = { exitCode: 0, stdout: '"'.repeat(MAX_ANSWER_BYTES / 2 - 1024) };
    await using agent = await TestAgent.listen(socket, () => large);
    const stdin = config({ filler: '\\"'.repeat((MAX_CONFIG_BYTES - 1024) / 4) });
    expect(await call('ADD', stdin)).toEqual(large);
    expect(agent.received[0]?.request.config).toBe(stdin);
  });

  test('without socket and stateDir the default ones are used', async () => {
    const asked: string[] = [];
    host.connect = (path) => {
      asked.push(path);
      return Promise.reject(Object.assign(new Error('no'), { code: 'EPERM' }));
    };
    expect(errorOf(await call('ADD', '{"name":"n"}'))).toMatchObject({ code: 11, cniVersion: '0.1.0' });
    expect(asked).toEqual(['/run/berth/agent.sock']);
  });
});

test.each(['CHECK', 'GC', 'STATUS'])(
  'without cniVersion %s is refused in 0.1.0, which has no such verb',
  async (verb) => {
    expect(errorOf(await call(verb, '{"name":"n"}'))).toMatchObject({ code: 1, cniVersion: '0.1.0' });
  },
);

describe('VERSION, STATUS and input that cannot be decoded are answered without the agent', () => {
  test.each(SUPPORTED_VERSIONS)('VERSION in %s', async (cniVersion) => {
    const answer = await call('VERSION', JSON.stringify({ cniVersion }));
    expect(answer.exitCode).toBe(0);
    expect(JSON.parse(answer.stdout)).toEqual({ cniVersion, supportedVersions: SUPPORTED_VERSIONS });
  });

  test.each(['', '{}', '{"cniVersion":"7.0.0"}'])(
    'VERSION with %j answers in the newest version',
    async (stdin) => {
      const answer = await answerCall({ CNI_COMMAND: 'VERSION' }, Buffer.from(stdin), host);
      expect(JSON.parse(answer.stdout)).toMatchObject({ cniVersion: '1.1.0' });
    },
  );

  test('STATUS succeeds while the marker is fresh, although nobody listens', async () => {
    makeMarker();
    utimesSync(marker, host.now() / 1000, host.now() / 1000);
    expect(await call('STATUS')).toEqual(SUCCESS);
    utimesSync(marker, host.now() / 1000, (host.now() - MARKER_MAX_AGE_MS) / 1000);
    expect(await call('STATUS')).toEqual(SUCCESS);
  });

  test('STATUS is not disturbed by a marker from the future: clocks are set back', async () => {
    makeMarker();
    utimesSync(marker, host.now() / 1000, host.now() / 1000 + 3600);
    expect(await call('STATUS')).toEqual(SUCCESS);
  });

  test('STATUS is code 50 with a marker older than 60 s', async () => {
    makeMarker();
    utimesSync(marker, host.now() / 1000, host.now() / 1000 - 61);
    const error = errorOf(await call('STATUS'));
    expect(error).toMatchObject({ code: 50, cniVersion: '1.1.0' });
    expect(error.msg).toContain('61 s');
    expect(error.details).toContain(marker);
  });

  test('STATUS is code 50 without a marker, without its directory and without the state directory', async () => {
    mkdirSync(deletes);
    expect(errorOf(await call('STATUS')).code).toBe(50);
    rmSync(deletes, { recursive: true });
    expect(errorOf(await call('STATUS')).code).toBe(50);
    const elsewhere = config({ ipam: { type: 'berth', stateDir: join(directory, 'no/where') } });
    expect(errorOf(await call('STATUS', elsewhere)).code).toBe(50);
  });

  test('STATUS needs no variable but CNI_COMMAND', async () => {
    makeMarker();
    utimesSync(marker, host.now() / 1000, host.now() / 1000);
    expect(await answerCall({ CNI_COMMAND: 'STATUS' }, Buffer.from(config()), host)).toEqual(SUCCESS);
  });

  test.each([
    ['nothing', ''],
    ['half an object', '{"cniVersion":'],
    ['a list', '[]'],
    ['null', 'null'],
    ['a string', '"ADD"'],
    ['two objects', '{}{}'],
    ['a byte order mark', '\uFEFF{}'],
    ['bytes that are not UTF-8', Buffer.from('{"name":"\xff"}', 'latin1')],
  ])('%s on stdin is code 6', async (_, stdin) => {
    for (const command of ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS']) {
      expect(errorOf(await call(command, stdin))).toMatchObject({ code: 6, cniVersion: '1.1.0' });
    }
  });

  test('more than a megabyte on stdin is code 6, and says the limit', async () => {
    const error = errorOf(await call('ADD', ' '.repeat(MAX_CONFIG_BYTES + 1)));
    expect(error).toMatchObject({ code: 6 });
    expect(error.msg).toContain(String(MAX_CONFIG_BYTES));
  });

  test('variables that make the request too large are code 4', async () => {
    const answer = await call('ADD', config(), { CNI_ARGS: '\u0001'.repeat(1024 * 1024) });
    expect(errorOf(answer).code).toBe(4);
  });

  test('a version that is not supported is code 1, and the supported ones are named', async () => {
    for (const command of ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS']) {
      const error = errorOf(await call(command, config({ cniVersion: '0.9.9' })));
      expect(error).toMatchObject({ code: 1, cniVersion: '1.1.0' });
      expect(error.msg).toContain('"0.9.9"');
      expect(error.msg).toContain(SUPPORTED_VERSIONS.join(', '));
    }
  });

  test('a verb that the version does not have is code 1, in that version', async () => {
    expect(errorOf(await call('CHECK', config({ cniVersion: '0.3.1' })))).toMatchObject({
      code: 1,
      cniVersion: '0.3.1',
    });
  });

  test.each(['', 'FLY'])('the verb %j is code 4, in the version of the configuration', async (command) => {
    const error = errorOf(await call(command, config({ cniVersion: '0.4.0' })));
    expect(error).toMatchObject({ code: 4, cniVersion: '0.4.0' });
    expect(error.msg).toContain('CNI_COMMAND');
  });

  test('a missing variable is code 4 and named', async () => {
    const error = errorOf(await call('ADD', config(), { CNI_IFNAME: '' }));
    expect(error).toMatchObject({ code: 4 });
    expect(error.msg).toContain('CNI_IFNAME');
  });

  test.each(['socket', 'stateDir'])('a relative ipam.%s is code 7', async (key) => {
    const error = errorOf(await call('STATUS', config({ ipam: { type: 'berth', [key]: 'here' } })));
    expect(error).toMatchObject({ code: 7 });
    expect(error.msg).toContain(`ipam.${key}`);
  });
});

describe('ADD while the agent is away', () => {
  test('waits, and is served by an agent that comes back within 10 s', async () => {
    await using back = new AsyncDisposableStack();
    host.onPause = async (elapsed) => {
      if (elapsed === 9_950) back.use(await TestAgent.listen(socket, () => fromAgent));
    };
    expect(await call('ADD')).toEqual(fromAgent);
    expect(host.elapsed).toBe(9_950);
  });

  test('waits also where a dead agent left its socket behind', async () => {
    const dead = await TestAgent.listen(socket, () => fromAgent);
    linkSync(socket, `${socket}.kept`);
    // Takes the path away, as a process that is killed does not.
    await dead[Symbol.asyncDispose]();
    renameSync(`${socket}.kept`, socket);
    await using back = new AsyncDisposableStack();
    host.onPause = async (elapsed) => {
      if (elapsed !== 1_000) return;
      expect(statSync(socket).isSocket()).toBe(true);
      rmSync(socket);
      back.use(await TestAgent.listen(socket, () => fromAgent));
    };
    expect(await call('ADD')).toEqual(fromAgent);
    expect(host.elapsed).toBe(1_000);
  });

  test('is code 11 after 10 s, and says who, where and why', async () => {
    makeMarker();
    const error = errorOf(await call('ADD'));
    expect(error).toMatchObject({ code: 11, cniVersion: '1.1.0' });
    expect(error.msg).toContain('ADD shop/web-1 net1');
    expect(error.msg).toContain('ENOENT');
    expect(error.details).toContain(socket);
    expect(host.elapsed).toBe(10_000);
    expect(queued()).toEqual([]);
  });

  test('does not wait for what an agent cannot change', async () => {
    host.connect = () => Promise.reject(Object.assign(new Error('no'), { code: 'EACCES' }));
    const error = errorOf(await call('ADD'));
    expect(error).toMatchObject({ code: 11 });
    expect(error.msg).toContain('EACCES');
    expect(host.elapsed).toBe(0);
  });
});

describe('an agent that dies with the request in its hands', () => {
  test.each(['ADD', 'CHECK'])('%s is sent again, and the next agent answers it', async (command) => {
    let deaths = 0;
    await using agent = await TestAgent.listen(socket, (_, __, connection) => {
      if (++deaths > 2) return fromAgent;
      connection.destroy();
      return undefined;
    });
    expect(await call(command)).toEqual(fromAgent);
    expect(agent.received.map((each) => each.request)).toEqual(Array(3).fill(agent.received[0]?.request));
  });

  test.each(['ADD', 'CHECK'])(
    '%s waits up to 10 s for the next agent, and is code 11 then',
    async (command) => {
      const agent = await TestAgent.listen(socket, (_, __, connection) => {
        connection.destroy();
        rmSync(socket);
        return undefined;
      });
      expect(errorOf(await call(command))).toMatchObject({ code: 11 });
      expect(host.elapsed).toBeGreaterThanOrEqual(10_000);
      expect(host.elapsed).toBeLessThan(11_000);
      await agent[Symbol.asyncDispose]();
    },
  );

  test('half an answer is none', async () => {
    let first = true;
    await using agent = await TestAgent.listen(socket, (_, response, connection) => {
      if (!first) return fromAgent;
      first = false;
      response.setHeader('Content-Length', '1000');
      response.write('{"exitCode":0,"stdout":"half', () => connection.destroy());
      return undefined;
    });
    expect(await call('ADD')).toEqual(fromAgent);
    expect(agent.received).toHaveLength(2);
  });

  test('an ADD that kills every agent ends after 30 s with code 11', async () => {
    await using agent = await TestAgent.listen(socket, (_, __, connection) => void connection.destroy());
    expect(errorOf(await call('ADD'))).toMatchObject({ code: 11 });
    expect(host.elapsed).toBeGreaterThan(BINARY_DEADLINE_MS - 100);
    expect(host.elapsed).toBeLessThanOrEqual(BINARY_DEADLINE_MS);
    expect(agent.received.length).toBeGreaterThan(100);
  });

  test('GC is not sent again: code 11', async () => {
    await using agent = await TestAgent.listen(socket, (_, __, connection) => void connection.destroy());
    expect(errorOf(await call('GC'))).toMatchObject({ code: 11 });
    expect(agent.received).toHaveLength(1);
  });
});

describe('an agent that does not answer', () => {
  test.each(['ADD', 'CHECK', 'GC'])('%s is code 11 after 30 s', async (command) => {
    await using agent = await TestAgent.listen(socket, () => {
      host.advance(BINARY_DEADLINE_MS);
      return undefined;
    });
    expect(errorOf(await call(command))).toMatchObject({ code: 11 });
    expect(agent.received).toHaveLength(1);
    expect(host.elapsed).toBe(BINARY_DEADLINE_MS);
  });

  test('a DEL is queued after 25 s, tried once more, and succeeds within 30 s', async () => {
    makeMarker();
    await using agent = await TestAgent.listen(socket, () => {
      host.advance(host.elapsed === 0 ? 25_000 : 5_000);
      return undefined;
    });
    expect(await call('DEL')).toEqual(SUCCESS);
    expect(agent.received).toHaveLength(2);
    expect(queued()).toHaveLength(1);
    expect(host.elapsed).toBe(BINARY_DEADLINE_MS);
  });
});

describe.each(['CHECK', 'GC'])('%s while the agent is away', (command) => {
  test('is code 11 at once', async () => {
    makeMarker();
    expect(errorOf(await call(command))).toMatchObject({ code: 11 });
    expect(host.elapsed).toBe(0);
    expect(queued()).toEqual([]);
  });
});

describe('DEL while the agent is away', () => {
  test('is queued as the same JSON, and succeeds', async () => {
    makeMarker();
    expect(await call('DEL')).toEqual(SUCCESS);
    const names = queued();
    expect(names).toHaveLength(1);
    expect(parseDeleteEntryName(names[0] ?? '')).toEqual({ time: host.started });
    const text = readFileSync(join(deletes, names[0] ?? ''), 'utf8');
    const expected: CniRequest = { command: 'DEL', env: environment('DEL'), config: config() };
    expect(JSON.parse(text)).toEqual(expected);
    expect(statSync(join(deletes, names[0] ?? '')).mode & 0o777).toBe(0o600);
    expect(host.elapsed).toBe(0);
  });

  test('carries the time when it was called, not when it was queued', async () => {
    makeMarker();
    await using agent = await TestAgent.listen(socket, () => {
      host.advance(25_000);
      return agent.received.length > 1 ? fromAgent : undefined;
    });
    expect(await call('DEL')).toEqual(SUCCESS);
    expect(parseDeleteEntryName(queued()[0] ?? '')).toEqual({ time: host.started });
  });

  test('is queued however old the marker is', async () => {
    makeMarker();
    utimesSync(marker, 0, 0);
    expect(await call('DEL')).toEqual(SUCCESS);
    expect(queued()).toHaveLength(1);
  });

  test('many at once make as many entries', async () => {
    makeMarker();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => {
        const own = Object.assign(new TestHost(), { die: i / 20 });
        return answerCall(environment('DEL'), Buffer.from(config()), own);
      }),
    );
    expect(answers).toEqual(Array(20).fill(SUCCESS));
    expect(queued()).toHaveLength(20);
  });

  test('without the marker it is code 11, and nothing is written', async () => {
    mkdirSync(deletes);
    expect(errorOf(await call('DEL'))).toMatchObject({ code: 11 });
    expect(queued()).toEqual([]);
    rmSync(deletes, { recursive: true });
    expect(errorOf(await call('DEL'))).toMatchObject({ code: 11 });
    expect(existsSync(deletes)).toBe(false);
  });

  test('the socket is tried once more after the entry is durable', async () => {
    makeMarker();
    const seen: number[] = [];
    const connect = host.connect.bind(host);
    host.connect = (path) => {
      seen.push(queued().length);
      return connect(path);
    };
    expect(await call('DEL')).toEqual(SUCCESS);
    expect(seen).toEqual([0, 1]);
  });

  test('a connection that breaks in the middle is queued too', async () => {
    makeMarker();
    await using agent = await TestAgent.listen(socket, (_, __, connection) => void connection.destroy());
    expect(await call('DEL')).toEqual(SUCCESS);
    expect(queued()).toHaveLength(1);
    expect(agent.received).toHaveLength(2);
  });

  test('an error of the second try does not matter any more', async () => {
    makeMarker();
    let first = true;
    await using agent = await TestAgent.listen(socket, (_, __, connection) => {
      if (!first) return { exitCode: 1, stdout: '{"code":11}' };
      first = false;
      connection.destroy();
      return undefined;
    });
    expect(await call('DEL')).toEqual(SUCCESS);
    expect(agent.received).toHaveLength(2);
  });

  test('what can be neither sent nor written is code 11, and both reasons are told', async () => {
    makeMarker();
    mkdirSync(join(deletes, `.${String(host.started).padStart(15, '0')}-800000000000.json.tmp`));
    const error = errorOf(await call('DEL'));
    expect(error).toMatchObject({ code: 11 });
    expect(error.msg).toContain('DEL shop/web-1 net1');
    expect(error.msg).toContain('ENOENT');
    expect(error.details).toMatch(/cannot be queued.*EEXIST/);
    expect(queued().filter((name) => parseDeleteEntryName(name) !== undefined)).toEqual([]);
  });

  test('what cannot be written is answered by the agent that is back at the second try', async () => {
    makeMarker();
    mkdirSync(join(deletes, `.${String(host.started).padStart(15, '0')}-800000000000.json.tmp`));
    let first = true;
    await using agent = await TestAgent.listen(socket, (_, __, connection) => {
      if (!first) return fromAgent;
      first = false;
      connection.destroy();
      return undefined;
    });
    expect(await call('DEL')).toEqual(fromAgent);
    expect(agent.received).toHaveLength(2);
  });
});

describe('somebody else on the socket: code 11 that says so, for every verb', () => {
  const ok = 'HTTP/1.1 200 OK\r\n';
  test.each([
    ['another protocol', 'SSH-2.0-x\r\n', false],
    ['another protocol that hangs up', 'hello', true],
    ['an older HTTP', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}', true],
    ['no length', `${ok}\r\n{}`, false],
    ['a chunked body', `${ok}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`, false],
    ['a length that is none', `${ok}Content-Length: -1\r\n\r\n`, false],
    ['a body that is no JSON', `${ok}Content-Length: 3\r\n\r\n<a>`, false],
    ['a body that is no answer', `${ok}Content-Length: 2\r\n\r\n{}`, false],
    ['a body that is a list', `${ok}Content-Length: 2\r\n\r\n[]`, false],
    ['another status', 'HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy', false],
    ['a length above the limit', `${ok}Content-Length: ${MAX_ANSWER_BYTES}\r\n\r\n`, false],
    ['a length beyond all measure', `${ok}Content-Length: ${'9'.repeat(30)}\r\n\r\n`, false],
    ['headers without end', `${ok}X: ${'x'.repeat(MAX_ANSWER_BYTES)}`, false],
  ])('%s', async (_, bytes, hangUp) => {
    makeMarker();
    await using _other = await listenRaw(socket, bytes, hangUp);
    for (const command of ['ADD', 'DEL', 'CHECK', 'GC']) {
      const error = errorOf(await call(command));
      expect(error).toMatchObject({ code: 11 });
      expect(error.msg).toContain('its answer cannot be used');
    }
    expect(queued()).toEqual([]);
  });

  test('bytes that are no text do not get onto the terminal', async () => {
    await using _other = await listenRaw(socket, `${ok}Content-Length: 5\r\n\r\n\u001b[2J\n`, false);
    expect(errorOf(await call('ADD')).msg).not.toMatch(/\p{Cc}/u);
  });
});

test('the binary has at most 300 lines, in four files that import nothing but each other and the protocol', () => {
  const sources = globSync('*.ts', { cwd: import.meta.dirname })
    .filter((name) => !name.endsWith('.test.ts'))
    .toSorted();
  expect(sources).toEqual(['command.ts', 'host.ts', 'main.ts', 'socket.ts']);
  const texts = sources.map((name) => readFileSync(join(import.meta.dirname, name), 'utf8'));
  expect(texts.join('').split('\n').length - 1).toBeLessThanOrEqual(300);
  const imported = texts.flatMap((text) => [...text.matchAll(/\bfrom '([^']+)'|import\('([^']+)'\)/g)]);
  const allowed = ['../protocol.ts', './command.ts', './host.ts', './socket.ts'];
  expect(allowed).toEqual(expect.arrayContaining(imported.map((match) => match[1] ?? match[2])));
  expect(imported.length).toBeGreaterThan(4);
});
