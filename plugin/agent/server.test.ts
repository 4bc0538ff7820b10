import { once } from 'node:events';
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as net from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Clock, systemClock } from '../../kube/clock.ts';
import { silentLog } from '../../kube/log.ts';
import { recordingLog } from '../../kube/testing/recordinglog.ts';
import { CNI_ENDPOINT, type CniAnswer, type CniRequest, MAX_REQUEST_BYTES } from '../protocol.ts';
import { type AgentServer, type ServerOptions, serveSocket } from './server.ts';

let directory = '';
let socket = '';
let servers: AgentServer[] = [];

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'berth-socket-'));
  socket = path.join(directory, 'run/agent.sock');
  servers = [];
});

afterEach(async () => {
  await Promise.all(servers.map((server) => server.close()));
  fs.rmSync(directory, { recursive: true });
});

const cni: CniRequest = { command: 'ADD', env: { CNI_IFNAME: 'eth0' }, config: '{}' };
const answer: CniAnswer = { exitCode: 0, stdout: '{"ok":"é"}\n' };

async function serve(options: Partial<ServerOptions> = {}): Promise<AgentServer> {
  const server = await serveSocket({
    socket,
    clock: systemClock,
    handle: async () => answer,
    probes: {
      registry: new Registry(),
      checks: { healthz: () => undefined, readyz: () => 'not yet' },
      routes: {
        '/v1/config': () => ({ status: 200, contentType: 'application/json', body: '{}\n' }),
        '/broken': () => {
          throw new Error('no');
        },
      },
    },
    log: silentLog,
    ...options,
  });
  servers.push(server);
  return server;
}

interface Response {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

async function ask(method: string, url: string, body?: string | Buffer): Promise<Response> {
  const request = http.request({ socketPath: socket, method, path: url, agent: false });
  request.end(body);
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  // Who is refused in the middle of his request learns it while he still writes.
  request.on('error', () => undefined);
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: Buffer.concat(chunks).toString(),
  };
}

describe('POST /v1/cni', () => {
  test('gives the request to the handler and its answer back, with a length', async () => {
    const seen: CniRequest[] = [];
    await serve({
      handle: async (request) => {
        seen.push(request);
        return answer;
      },
    });
    const response = await ask('POST', CNI_ENDPOINT, JSON.stringify(cni));
    expect(response.status).toBe(200);
    expect(JSON.parse(response.body)).toEqual(answer);
    expect(response.headers).toMatchObject({
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(response.body)),
    });
    expect(response.headers).not.toHaveProperty('transfer-encoding');
    expect(seen).toEqual([cni]);
  });

  test.each([
    ['no JSON', '{'],
    ['no object', '[]'],
    ['no config', '{"command":"ADD","env":{}}'],
    ['a variable that is no text', '{"command":"ADD","env":{"A":1},"config":""}'],
  ])('%s is 400', async (_what, body) => {
    await serve();
    expect((await ask('POST', CNI_ENDPOINT, body)).status).toBe(400);
  });

  test('a body of the greatest size is read, one byte more is 413', async () => {
    await serve();
    const frame = JSON.stringify({ ...cni, config: '' }).length;
    const body = (bytes: number): string => JSON.stringify({ ...cni, config: 'x'.repeat(bytes - frame) });
    expect((await ask('POST', CNI_ENDPOINT, body(MAX_REQUEST_BYTES))).status).toBe(200);
    for (const bytes of [MAX_REQUEST_BYTES + 1, 3 * MAX_REQUEST_BYTES]) {
      const refused = await ask('POST', CNI_ENDPOINT, body(bytes));
      expect(refused).toMatchObject({
        status: 413,
        body: expect.stringContaining(String(MAX_REQUEST_BYTES)),
      });
    }
  });

  test('a client that is gone before its request is whole is no error of ours', async () => {
    const log = recordingLog();
    await serve({ log });
    const client = net.connect(socket);
    await once(client, 'connect');
    client.write(`POST ${CNI_ENDPOINT} HTTP/1.1\r\nHost: agent\r\nContent-Length: 100\r\n\r\n{"comm`);
    // Answered on another connection: the first one has been read by then.
    expect((await ask('POST', CNI_ENDPOINT, JSON.stringify(cni))).status).toBe(200);
    client.destroy();
    await vi.waitFor(() => expect(log.lines).toHaveLength(1));
    expect(log.lines[0]).toMatchObject({ level: 'debug', message: expect.stringContaining('was gone') });
  });

  test('a handler that fails is 500, and the server goes on', async () => {
    let fails = true;
    await serve({ handle: () => (fails ? Promise.reject(new Error('no')) : Promise.resolve(answer)) });
    expect((await ask('POST', CNI_ENDPOINT, JSON.stringify(cni))).status).toBe(500);
    fails = false;
    expect((await ask('POST', CNI_ENDPOINT, JSON.stringify(cni))).status).toBe(200);
  });
});

/** Resolves at the end of a connection, also at one that comes while the client writes (EPIPE), unlike `once`. */
function hungUp(client: net.Socket): Promise<void> {
  client.on('error', () => undefined);
  return new Promise((resolve) => void client.once('close', () => resolve()));
}

/** A client that sends what it is told and no more; resolves with what it was told when the server hangs up. */
async function halfRequest(text: string): Promise<string> {
  const client = net.connect(socket);
  await once(client, 'connect');
  client.write(text);
  const chunks: Buffer[] = [];
  client.on('data', (chunk: Buffer) => chunks.push(chunk));
  await hungUp(client);
  return Buffer.concat(chunks).toString();
}

/** Milliseconds: on a starved machine a request's own time is over before what these tests wait for. */
const LONG_MS = 300_000;

describe('who does not get on', () => {
  const head = `POST ${CNI_ENDPOINT} HTTP/1.1\r\nHost: agent\r\nContent-Length: 100\r\n`;

  test('is hung up on when his time is over, whatever he has sent, and others are served meanwhile', async () => {
    await serve({ requestTimeoutMs: 500 });
    const halves = ['', 'P', head, `${head}\r\n`, `${head}\r\n{"command"`].map((text) => halfRequest(text));
    expect((await ask('POST', CNI_ENDPOINT, JSON.stringify(cni))).status).toBe(200);
    for (const said of await Promise.all(halves)) expect(said).toMatch(/^(HTTP\/1\.1 408 |$)/);
  });

  test('is hung up on too when he sends a byte now and then', async () => {
    await serve({ requestTimeoutMs: 500 });
    const client = net.connect(socket);
    await once(client, 'connect');
    client.write(`${head}\r\n{`);
    const drip = setInterval(() => client.writable && client.write(' ', () => undefined), 50);
    client.resume();
    await hungUp(client);
    clearInterval(drip);
    expect((await ask('GET', '/healthz')).status).toBe(200);
  });

  test('takes no more memory with all his kind than is set: the rest is told to come again', async () => {
    await serve({ requestTimeoutMs: LONG_MS });
    const body = Buffer.alloc(MAX_REQUEST_BYTES - 1, ' ');
    const clients: net.Socket[] = [];
    const said: string[] = [];
    for (let i = 0; i < 24; i += 1) {
      const client = net.connect(socket);
      clients.push(client);
      client.on('error', () => undefined);
      client.on('data', (chunk: Buffer) => said.push(chunk.toString()));
      client.write(
        `POST ${CNI_ENDPOINT} HTTP/1.1\r\nHost: a\r\nContent-Length: ${MAX_REQUEST_BYTES}\r\n\r\n`,
      );
      client.write(body);
    }
    await vi.waitFor(() => expect(said.length).toBeGreaterThanOrEqual(8), 20_000);
    for (const each of said) expect(each).toMatch(/^HTTP\/1\.1 503 /);
    for (const client of clients) client.destroy();
    await vi.waitFor(async () => {
      expect((await ask('POST', CNI_ENDPOINT, JSON.stringify(cni))).status).toBe(200);
    }, 20_000);
  });

  test('a thousand at once are all answered', async () => {
    await serve({ requestTimeoutMs: LONG_MS });
    const all = Array.from({ length: 1000 }, async () => {
      for (;;) {
        try {
          return (await ask('POST', CNI_ENDPOINT, JSON.stringify(cni))).status;
        } catch (error) {
          // The queue of those who wait to be accepted is full: the binary, too, comes again.
          if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
          await systemClock.sleep(50);
        }
      }
    });
    expect(new Set(await Promise.all(all))).toEqual(new Set([200]));
  });
});

describe('other requests', () => {
  test.each([
    ['GET', CNI_ENDPOINT, 405],
    ['POST', '/healthz', 405],
    ['GET', '/no', 404],
    ['GET', '//', 404],
    ['GET', '/healthz', 200],
    ['GET', '/readyz', 503],
    ['GET', '/metrics', 200],
    ['GET', '/v1/config?x=1', 200],
    ['GET', '/broken', 500],
  ])('%s %s is %i', async (method, url, status) => {
    await serve();
    expect((await ask(method, url)).status).toBe(status);
  });

  test('a client that goes away in the middle harms nobody', async () => {
    await serve();
    const client = net.connect(socket);
    await once(client, 'connect');
    client.write(`POST ${CNI_ENDPOINT} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{`);
    client.destroy();
    expect((await ask('GET', '/healthz')).status).toBe(200);
  });
});

describe('the socket', () => {
  test("is mode 0600 in a directory of mode 0700, and the process's umask stays", async () => {
    const umask = process.umask();
    await serve();
    expect(fs.statSync(socket).mode & 0o777).toBe(0o600);
    expect(fs.statSync(path.dirname(socket)).mode & 0o777).toBe(0o700);
    expect(process.umask()).toBe(umask);
  });

  test('that a dead agent left behind is replaced', async () => {
    fs.mkdirSync(path.dirname(socket));
    const dead = net.createServer();
    dead.listen(socket);
    await once(dead, 'listening');
    fs.renameSync(socket, `${socket}.kept`);
    dead.close();
    await once(dead, 'close');
    fs.renameSync(`${socket}.kept`, socket);
    await serve();
    expect((await ask('GET', '/healthz')).status).toBe(200);
  });

  test('that is another kind of file is refused and left as it is', async () => {
    fs.mkdirSync(path.dirname(socket));
    fs.writeFileSync(socket, 'precious');
    await expect(serve()).rejects.toThrow(`${socket} exists and is not a socket`);
    expect(fs.readFileSync(socket, 'utf8')).toBe('precious');
  });

  test('that is a symbolic link is refused, wherever it leads', async () => {
    fs.mkdirSync(path.dirname(socket));
    const elsewhere = path.join(directory, 'elsewhere.sock');
    for (const target of [elsewhere, path.join(directory, 'nothing')]) {
      const other = net.createServer();
      if (target === elsewhere) await once(other.listen(target), 'listening');
      fs.symlinkSync(target, socket);
      await expect(serve()).rejects.toThrow(`${socket} exists and is not a socket`);
      expect(fs.readlinkSync(socket)).toBe(target);
      fs.rmSync(socket);
      other.close();
    }
  });

  test('in a directory that everybody may write is not made', async () => {
    fs.mkdirSync(path.dirname(socket));
    fs.chmodSync(path.dirname(socket), 0o777);
    await expect(serve()).rejects.toThrow(`${path.dirname(socket)} may be written by`);
    expect(fs.existsSync(socket)).toBe(false);
  });

  test('at which another process answers is left to it', async () => {
    await serve();
    const before = fs.lstatSync(socket).ino;
    await expect(serve({ patienceMs: 0 })).rejects.toThrow(`another process answers at ${socket}`);
    expect(fs.lstatSync(socket).ino).toBe(before);
    expect((await ask('GET', '/healthz')).status).toBe(200);
  });

  test('at which a process that is being killed still answers is made when that has ended', async () => {
    fs.mkdirSync(path.dirname(socket), { mode: 0o700 });
    const dying = net.createServer();
    await once(dying.listen(socket), 'listening');
    let waits = 0;
    const sleep: Clock['sleep'] = async (ms, signal) => {
      waits += 1;
      if (waits === 3) dying.close();
      // The later ones are those between looks at the file.
      if (waits > 3) await systemClock.sleep(ms, signal);
    };
    await serve({ clock: { ...systemClock, sleep } });
    expect(waits).toBeGreaterThanOrEqual(3);
    expect((await ask('GET', '/healthz')).status).toBe(200);
  });

  const answers = async (): Promise<void> => {
    await vi.waitFor(async () => expect((await ask('GET', '/healthz')).status).toBe(200), 20_000);
    expect(fs.lstatSync(socket).mode & 0o777).toBe(0o600);
  };

  test('that is removed is made anew, and what was begun is answered', async () => {
    const begun = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    const log = recordingLog();
    await serve({
      log,
      handle: async () => {
        begun.resolve();
        await finish.promise;
        return answer;
      },
    });
    const response = ask('POST', CNI_ENDPOINT, JSON.stringify(cni));
    await begun.promise;
    fs.rmSync(socket);
    await answers();
    finish.resolve();
    expect((await response).status).toBe(200);
    expect(log.lines).toMatchObject([
      { level: 'error', message: expect.stringContaining('removed or replaced') },
    ]);
  });

  test('that another process replaced is made anew once that one is dead, and not before', async () => {
    const log = recordingLog();
    await serve({ log });
    fs.rmSync(socket);
    const thief = net.createServer((connection) => connection.end());
    await once(thief.listen(socket), 'listening');
    const stolen = fs.lstatSync(socket).ino;
    await vi.waitFor(
      () =>
        expect(log.lines).toContainEqual(
          expect.objectContaining({
            level: 'error',
            fields: expect.objectContaining({
              error: expect.objectContaining({ message: expect.stringContaining('another process answers') }),
            }),
          }),
        ),
      20_000,
    );
    expect(fs.lstatSync(socket).ino).toBe(stolen);
    thief.close();
    await once(thief, 'close');
    await answers();
  });

  test('that another kind of file replaced is made anew when somebody has taken that away', async () => {
    const log = recordingLog();
    await serve({ log });
    fs.rmSync(socket);
    fs.writeFileSync(socket, 'precious');
    await vi.waitFor(() => expect(log.lines.length).toBeGreaterThan(1), 20_000);
    expect(fs.readFileSync(socket, 'utf8')).toBe('precious');
    fs.rmSync(socket);
    await answers();
  });

  test('that can not be made is an error that names it', async () => {
    socket = path.join(directory, 'x'.repeat(200));
    await expect(serve()).rejects.toThrow('x'.repeat(100));
  });
});

test('close answers what was begun, takes nothing new, and ends', async () => {
  const begun = Promise.withResolvers<void>();
  const finish = Promise.withResolvers<void>();
  const server = await serve({
    handle: async () => {
      begun.resolve();
      await finish.promise;
      return answer;
    },
  });
  const response = ask('POST', CNI_ENDPOINT, JSON.stringify(cni));
  await begun.promise;
  const closed = server.close();
  await expect(ask('GET', '/healthz')).rejects.toThrow();
  finish.resolve();
  expect((await response).status).toBe(200);
  await closed;
  servers = [];
  expect(fs.existsSync(socket)).toBe(false);
});

test('close does not wait for clients that keep their connection', async () => {
  const server = await serve();
  const agent = new http.Agent({ keepAlive: true });
  const request = http.get({ socketPath: socket, path: '/healthz', agent });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  response.resume();
  await once(response, 'end');
  await server.close();
  servers = [];
  agent.destroy();
});
