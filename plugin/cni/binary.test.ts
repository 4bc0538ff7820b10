/** The compiled binary: what only the real process, its runtime and its sockets can show. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { MAX_ANSWER_BYTES, MAX_CONFIG_BYTES, parseDeleteEntryName, SUPPORTED_VERSIONS } from '../protocol.ts';
import { listenRaw, TestAgent } from './testing/agent.ts';

const root = join(import.meta.dirname, '../..');
const berth = join(root, 'dist/berth');
const fromAgent = { exitCode: 0, stdout: '{ "ips": [] }\n' };

let directory = '';
let socket = '';
let deletes = '';
const agents: ChildProcess[] = [];

beforeAll(async () => {
  await promisify(execFile)(process.execPath, [join(root, 'hack/build.ts'), 'berth']);
});

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'berth-binary-'));
  socket = join(directory, 'agent.sock');
  deletes = join(directory, 'deletes');
  mkdirSync(deletes);
  writeFileSync(join(deletes, '.berth-agent'), '');
});

afterEach(() => {
  for (const agent of agents.splice(0)) agent.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

interface Exit {
  code: number | null;
  stdout: string;
  stderr: string;
}

interface Options {
  env?: Record<string, string>;
  stdin?: string | Buffer;
  /** A file to read instead. */
  device?: string;
  uid?: number;
  argv?: string[];
}

function environment(command: string): Record<string, string> {
  return {
    CNI_COMMAND: command,
    CNI_CONTAINERID: 'c0ffee',
    CNI_NETNS: '/run/netns/x',
    CNI_IFNAME: 'net1',
    CNI_PATH: '/opt/cni/bin',
  };
}

function config(more: object = {}): string {
  const ipam = { type: 'berth', socket, stateDir: directory };
  return JSON.stringify({ cniVersion: '1.1.0', name: 'storage', type: 'macvlan', ipam, ...more });
}

function start(options: Options): ChildProcess {
  const { env = {}, stdin = config(), device, uid, argv = [berth] } = options;
  const [program = berth, ...rest] = argv;
  const descriptor = device === undefined ? undefined : openSync(device, constants.O_RDWR);
  const child = spawn(program, rest, {
    cwd: directory,
    env,
    stdio: [descriptor ?? 'pipe', 'pipe', 'pipe'],
    ...(uid === undefined ? {} : { uid }),
  });
  // It may have read enough, and be gone, before everything is written.
  child.stdin?.on('error', (error: NodeJS.ErrnoException) => expect(error.code).toBe('EPIPE'));
  child.stdin?.end(stdin);
  if (descriptor !== undefined) closeSync(descriptor);
  return child;
}

async function exitOf(child: ChildProcess): Promise<Exit> {
  const exit: Exit = { code: null, stdout: '', stderr: '' };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => void (exit.stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => void (exit.stderr += text));
  await once(child, 'close');
  exit.code = child.exitCode;
  return exit;
}

function run(command: string, options: Options = {}): Promise<Exit> {
  return exitOf(start({ ...options, env: { ...environment(command), ...options.env } }));
}

function errorOf(exit: Exit): { code: number; msg: string; details?: string } {
  expect(exit).toMatchObject({ code: 1, stderr: '' });
  // The error object of the CNI spec.
  return JSON.parse(exit.stdout) as { code: number; msg: string; details?: string };
}

function queued(): string[] {
  return readdirSync(deletes).filter((name) => name !== '.berth-agent');
}

/** Another process that listens, tells when it has a request, and never answers. */
async function agentProcess(): Promise<ChildProcess> {
  const program = `
    require('node:http')
      .createServer((request) => request.resume().on('end', () => process.send('received')))
      .listen(process.argv[1], () => process.send('listening'));`;
  const child = spawn(process.execPath, ['-e', program, socket], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  agents.push(child);
  await once(child, 'message');
  return child;
}

/** How many connections on the socket wait for an accept or have one (proc_net_unix: state 2 or 3). */
function connectionsTo(path: string): number {
  const lines = readFileSync('/proc/net/unix', 'utf8').split('\n');
  return lines.filter((line) => line.endsWith(` ${path}`) && /^\S+ \S+ \S+ \S+ \S+ 0[23] /.test(line)).length;
}

describe('what it prints', () => {
  test.each(['ADD', 'DEL', 'CHECK', 'GC'])(
    "%s: the agent's answer as it came, and its exit code",
    async (command) => {
      await using agent = await TestAgent.listen(socket, () => ({ exitCode: 7, stdout: '\u001b é\n{' }));
      expect(await run(command)).toEqual({ code: 7, stdout: '\u001b é\n{', stderr: '' });
      expect(agent.received[0]?.request).toEqual({ command, env: environment(command), config: config() });
    },
  );

  test('an answer larger than a pipe, for a configuration of a megabyte', async () => {
    const large = { exitCode: 0, stdout: 'x'.repeat(MAX_ANSWER_BYTES - 4096) };
    await using agent = await TestAgent.listen(socket, () => large);
    const stdin = config({ filler: 'é'.repeat((MAX_CONFIG_BYTES - 1024) / 2) });
    const exit = await run('ADD', { stdin });
    expect(exit.stdout === large.stdout).toBe(true);
    expect(exit).toMatchObject({ code: 0, stderr: '' });
    expect(agent.received[0]?.request.config === stdin).toBe(true);
  });

  test.each(SUPPORTED_VERSIONS)('VERSION in %s', async (cniVersion) => {
    const exit = await run('VERSION', { stdin: JSON.stringify({ cniVersion }) });
    expect(exit).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(exit.stdout)).toEqual({ cniVersion, supportedVersions: SUPPORTED_VERSIONS });
  });

  test('VERSION without input, at a terminal too', async () => {
    for (const input of [{ stdin: '' }, { device: '/dev/null' }, { device: '/dev/ptmx' }]) {
      const exit = await run('VERSION', input);
      expect(exit).toMatchObject({ code: 0, stderr: '' });
      expect(JSON.parse(exit.stdout)).toMatchObject({ cniVersion: '1.1.0' });
    }
  });

  test('at a terminal without CNI_COMMAND: what it is, its version and the spec versions, on stderr', async () => {
    // package.json of this repository.
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    const exit = await exitOf(start({ device: '/dev/ptmx' }));
    expect(exit).toMatchObject({ code: 0, stdout: '' });
    expect(exit.stderr).toContain(`CNI berth plugin v${version}`);
    expect(exit.stderr).toContain(SUPPORTED_VERSIONS.join(', '));
  });

  test('without CNI_COMMAND and without a terminal: code 4', async () => {
    for (const input of [{ stdin: '' }, { stdin: config() }, { device: '/dev/null' }]) {
      expect(errorOf(await exitOf(start(input)))).toMatchObject({ code: 4 });
    }
  });

  test('STATUS by the age of the marker', async () => {
    expect(await run('STATUS')).toEqual({ code: 0, stdout: '', stderr: '' });
    const old = Date.now() / 1000 - 61;
    utimesSync(join(deletes, '.berth-agent'), old, old);
    expect(errorOf(await run('STATUS'))).toMatchObject({ code: 50 });
    rmSync(join(deletes, '.berth-agent'));
    expect(errorOf(await run('STATUS'))).toMatchObject({ code: 50 });
  });

  test('input that cannot be decoded: code 6', async () => {
    for (const stdin of ['', '{', 'null', Buffer.from('{"name":"\xff"}', 'latin1')]) {
      expect(errorOf(await run('ADD', { stdin }))).toMatchObject({ code: 6 });
    }
  });

  test('input without end is not read to its end: code 6', async () => {
    expect(errorOf(await run('ADD', { device: '/dev/zero' }))).toMatchObject({ code: 6 });
  });

  test('input that comes bit by bit through a pipe that does not block', async () => {
    await using agent = await TestAgent.listen(socket, () => fromAgent);
    const pipe = join(directory, 'pipe');
    await promisify(execFile)('mkfifo', [pipe]);
    const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(pipe, 'w');
    // spawn() would make descriptor 0 a blocking one.
    const child = spawn('/bin/sh', ['-c', 'exec "$0" <&3', berth], {
      env: environment('ADD'),
      stdio: ['ignore', 'pipe', 'pipe', reader],
    });
    const exit = exitOf(child);
    closeSync(reader);
    await expect.poll(() => readFileSync(`/proc/${child.pid}/comm`, 'utf8')).toBe('berth\n');
    const text = config();
    for (const character of text) {
      writeSync(writer, character);
      await setTimeout(1);
    }
    closeSync(writer);
    expect(await exit).toEqual({ code: 0, stdout: fromAgent.stdout, stderr: '' });
    expect(agent.received[0]?.request.config).toBe(text);
  });

  test('bytes in a variable that are not UTF-8 do not break the request', async () => {
    await using agent = await TestAgent.listen(socket, () => fromAgent);
    const script = 'CNI_ARGS=$(printf "A=\\377\\n\\001\\"\\\\x"); export CNI_ARGS; exec "$0"';
    const exit = await run('ADD', { argv: ['/bin/sh', '-c', script, berth] });
    expect(exit).toMatchObject({ code: 0, stderr: '' });
    const args = agent.received[0]?.request.env['CNI_ARGS'];
    expect(args?.replace(/^A=[^\n]+/, '')).toBe('\n\u0001"\\x');
    expect(Object.keys(agent.received[0]?.request.env ?? {}).every((name) => name.startsWith('CNI_'))).toBe(
      true,
    );
  });

  test('an interface name that is not UTF-8 is code 4', async () => {
    const script = 'CNI_IFNAME=$(printf "net\\377"); export CNI_IFNAME; exec "$0"';
    expect(errorOf(await run('DEL', { argv: ['/bin/sh', '-c', script, berth] }))).toMatchObject({ code: 4 });
  });

  test('nothing in its working directory or environment changes what it does', async () => {
    await using agent = await TestAgent.listen(socket, () => fromAgent);
    writeFileSync(join(directory, '.env'), 'CNI_ARGS=from=dotenv\n');
    writeFileSync(join(directory, 'bunfig.toml'), 'preload = ["./evil.ts"]\n');
    writeFileSync(join(directory, 'evil.ts'), 'console.log("evil")');
    writeFileSync(join(directory, 'package.json'), '{"name":"evil","type":"commonjs"}');
    expect(await run('ADD')).toEqual({ code: 0, stdout: fromAgent.stdout, stderr: '' });
    expect(agent.received[0]?.request.env['CNI_ARGS']).toBeUndefined();
  });
});

describe('when the agent is away', () => {
  test('ADD waits for the agent, also beside the socket that a dead one left, and is served', async () => {
    const dead = await agentProcess();
    dead.kill('SIGKILL');
    await once(dead, 'close');
    const child = start({ env: environment('ADD') });
    const exit = exitOf(child);
    // The configuration has been read: what comes next is the socket.
    await expect.poll(() => readlinkSync(`/proc/${child.pid}/exe`)).toBe(berth);
    await setTimeout(200);
    expect(child.exitCode).toBeNull();
    rmSync(socket);
    await setTimeout(100);
    await using agent = await TestAgent.listen(socket, () => fromAgent);
    expect(await exit).toEqual({ code: 0, stdout: fromAgent.stdout, stderr: '' });
    expect(agent.received).toHaveLength(1);
  });

  test.each(['CHECK', 'GC'])('%s is code 11', async (command) => {
    expect(errorOf(await run(command))).toMatchObject({ code: 11 });
    expect(queued()).toEqual([]);
  });

  test('DEL is queued and succeeds', async () => {
    expect(await run('DEL')).toEqual({ code: 0, stdout: '', stderr: '' });
    const [name = ''] = queued();
    expect(queued()).toHaveLength(1);
    expect(parseDeleteEntryName(name)).toBeDefined();
    const request: unknown = JSON.parse(readFileSync(join(deletes, name), 'utf8'));
    expect(request).toEqual({ command: 'DEL', env: environment('DEL'), config: config() });
  });

  test('DEL without the marker is code 11', async () => {
    rmSync(join(deletes, '.berth-agent'));
    expect(errorOf(await run('DEL'))).toMatchObject({ code: 11 });
    expect(queued()).toEqual([]);
  });

  test('DEL that may not write is code 11, and says why', async () => {
    // Root may write everywhere, so it is somebody else then, and the binary where he can reach it.
    const reachable = join(directory, 'berth');
    copyFileSync(berth, reachable);
    chmodSync(directory, 0o755);
    chmodSync(deletes, 0o555);
    const root = process.getuid?.() === 0;
    const error = errorOf(await run('DEL', { argv: [reachable], ...(root ? { uid: 65_534 } : {}) }));
    chmodSync(deletes, 0o755);
    expect(error).toMatchObject({ code: 11 });
    expect(error.details).toMatch(/cannot be queued.*EACCES/);
    expect(queued()).toEqual([]);
  });

  test('a socket that it may not open is code 11 at once', async () => {
    const reachable = join(directory, 'berth');
    copyFileSync(berth, reachable);
    chmodSync(directory, 0o755);
    await using _agent = await TestAgent.listen(socket, () => fromAgent);
    chmodSync(socket, 0o000);
    const root = process.getuid?.() === 0;
    const error = errorOf(await run('ADD', { argv: [reachable], ...(root ? { uid: 65_534 } : {}) }));
    expect(error).toMatchObject({ code: 11 });
    expect(error.msg).toContain('EACCES');
  });
});

describe('when the agent dies with the request in its hands', () => {
  test.each(['ADD', 'CHECK'])('%s is sent again to the next one', async (command) => {
    const first = await agentProcess();
    const exit = run(command);
    await once(first, 'message');
    first.kill('SIGKILL');
    await once(first, 'close');
    rmSync(socket);
    await using agent = await TestAgent.listen(socket, () => fromAgent);
    expect(await exit).toEqual({ code: 0, stdout: fromAgent.stdout, stderr: '' });
    expect(agent.received).toHaveLength(1);
  });

  test.each(['ADD', 'CHECK'])('%s that the dead one never read is sent again', async (command) => {
    const first = await agentProcess();
    first.kill('SIGSTOP');
    const exit = run(command);
    await expect.poll(() => connectionsTo(socket)).toBeGreaterThan(0);
    first.kill('SIGKILL');
    await once(first, 'close');
    rmSync(socket);
    await using agent = await TestAgent.listen(socket, () => fromAgent);
    expect(await exit).toEqual({ code: 0, stdout: fromAgent.stdout, stderr: '' });
    expect(agent.received).toHaveLength(1);
  });

  test('half an answer is none', async () => {
    let first = true;
    await using agent = await TestAgent.listen(socket, (_, response, connection) => {
      if (!first) return fromAgent;
      first = false;
      response.setHeader('Content-Length', '1000');
      response.write('{"exitCode":0,"stdout":"half', () => connection.destroy());
      return undefined;
    });
    expect(await run('ADD')).toMatchObject({ code: 0, stdout: fromAgent.stdout });
    expect(agent.received).toHaveLength(2);
  });

  test('DEL is queued', async () => {
    const first = await agentProcess();
    const exit = run('DEL');
    await once(first, 'message');
    first.kill('SIGKILL');
    expect(await exit).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(queued()).toHaveLength(1);
  });
});

test.each([
  ['another protocol', 'SSH-2.0-x\r\n'],
  ['an answer without end', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(MAX_ANSWER_BYTES)}`],
])('%s on the socket is code 11', async (_, bytes) => {
  await using _other = await listenRaw(socket, bytes, false);
  const error = errorOf(await run('ADD'));
  expect(error).toMatchObject({ code: 11 });
  expect(error.msg).toContain('its answer cannot be used');
});
