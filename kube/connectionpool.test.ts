import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer, connect as netConnect, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { selfSignedCertificate } from '../e2e/controlplane/certificate.ts';
import { type Clock, systemClock } from './clock.ts';
import { ConnectionPool, type PoolOptions } from './connectionpool.ts';
import type { AnswerReceiver, Flow, HttpRequest } from './http.ts';
import { FakeClock } from './testing/fakeclock.ts';

/** One request as it came, and the connection that it came on. */
interface Asked {
  readonly text: string;
  readonly path: string;
  readonly socket: Socket;
}

let servers: Server[];
let sockets: Socket[];
let asked: Asked[];
let answer: (request: Asked) => void;
let port: number;
let pools: ConnectionPool[];

/** What the answers of these tests look like: the path is the body. */
const ok = ({ path, socket }: Asked): void => {
  socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${path.length}\r\n\r\n${path}`);
};
const nothing = (): void => undefined;

/** Reads the requests of a connection; with a body only as far as it comes with its head. */
function serve(socket: Socket): void {
  sockets.push(socket);
  socket.on('error', nothing);
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    if (!text.includes('\r\n\r\n')) return;
    const request = { text, path: text.split(' ', 2)[1] ?? '', socket };
    text = '';
    asked.push(request);
    answer(request);
  });
}

async function listen(server: Server, at = 0): Promise<number> {
  servers.push(server);
  server.listen(at, '127.0.0.1');
  await once(server, 'listening');
  // A TCP server that listens has an AddressInfo.
  return (server.address() as AddressInfo).port;
}

beforeEach(async () => {
  servers = [];
  sockets = [];
  asked = [];
  pools = [];
  answer = ok;
  port = await listen(createServer(serve));
});

afterEach(async () => {
  await Promise.all(pools.map((pool) => pool.destroy()));
  for (const socket of sockets) socket.destroy();
  for (const server of servers) {
    if (!server.listening) continue;
    server.close();
    await once(server, 'close');
  }
});

function open(options: Partial<PoolOptions> = {}): ConnectionPool {
  const origin = new URL(`http://127.0.0.1:${port}`);
  const defaults = { origin, tls: {}, proxy: undefined, connections: undefined, clock: systemClock };
  const pool = new ConnectionPool({ ...defaults, ...options });
  pools.push(pool);
  return pool;
}

/** A receiver that writes down what it hears. */
class Sent implements AnswerReceiver {
  readonly heard: string[] = [];
  body = '';
  flow: Flow | undefined;
  isWanted = true;
  readonly #over = Promise.withResolvers<void>();
  /** Resolves with the end or the error. */
  readonly over = this.#over.promise;
  /** Is called with each piece of the body. */
  onPiece: (flow: Flow) => void = nothing;

  onTurn(flow: Flow): boolean {
    this.heard.push('turn');
    this.flow = flow;
    return this.isWanted;
  }

  onHead(head: { status: number }): void {
    this.heard.push(`head ${head.status}`);
  }

  onData(chunk: Buffer): void {
    this.body += chunk.toString();
    // Nobody hears of data before it is their turn.
    if (this.flow !== undefined) this.onPiece(this.flow);
  }

  onEnd(): void {
    this.heard.push('end');
    this.#over.resolve();
  }

  onError(error: Error): void {
    this.heard.push(`error ${error.message}`);
    this.#over.resolve();
  }
}

const get = (path: string, headers: HttpRequest['headers'] = {}): HttpRequest => ({
  method: 'GET',
  path,
  headers,
});

function send(pool: ConnectionPool, path: string, receiver: Sent = new Sent()): Sent {
  pool.dispatch(get(path), receiver);
  return receiver;
}

const COMPLETE = ['turn', 'head 200', 'end'];

/** Asks and expects the right answer. */
async function exchange(pool: ConnectionPool, path: string): Promise<void> {
  const sent = send(pool, path);
  await sent.over;
  expect([...sent.heard, sent.body]).toEqual([...COMPLETE, path]);
}

/** A condition that a busy machine may make wait. */
const until = <T>(value: () => T): ReturnType<typeof expect.poll<T>> =>
  expect.poll(value, { interval: 1, timeout: 20_000 });

const paths = (): string[] => asked.map(({ path }) => path);

async function isAsked(count: number): Promise<Asked[]> {
  await until(paths).toHaveLength(count);
  return asked;
}

describe('requests', () => {
  it('are written as HTTP/1.1 says, the length of the body in bytes', async () => {
    const pool = open();
    const headers = { accept: 'application/json', 'x-a': 'tab\tand größe' };
    await exchange(pool, '/first');
    const sent = new Sent();
    pool.dispatch({ method: 'POST', path: '/pods?a=b%20c', headers, body: 'größe' }, sent);
    await sent.over;
    pool.dispatch({ method: 'PUT', path: '/pods', headers, body: '' }, new Sent());
    await isAsked(3);
    const fields = `host: 127.0.0.1:${port}\r\naccept: application/json\r\nx-a: tab\tand größe\r\n`;
    expect(asked.map(({ text }) => text)).toEqual([
      `GET /first HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n\r\n`,
      `POST /pods?a=b%20c HTTP/1.1\r\n${fields}content-length: 7\r\n\r\ngröße`,
      `PUT /pods HTTP/1.1\r\n${fields}content-length: 0\r\n\r\n`,
    ]);
  });

  it.each([
    ['a line end in a header', get('/', { a: 'secret\r\nb: c' })],
    ['a line feed in a header', get('/', { a: 'secret\nb' })],
    ['a zero byte in a header', get('/', { a: 'secret\0' })],
    ['a DEL in a header', get('/', { a: 'secret\x7f' })],
    ['a line end in the name of a header', get('/', { 'a: b\r\nc': 'secret' })],
    ['a space in the name of a header', get('/', { 'a ': 'secret' })],
    ['a header without name', get('/', { '': 'secret' })],
    ['a space in the path', get('/a b', { a: 'secret' })],
    ['a line end in the path', get('/a\r\nb: c', { a: 'secret' })],
    ['a letter in the path that is not ASCII', get('/größe', { a: 'secret' })],
  ])('with %s are refused, nothing is sent and no value told', async (_, request) => {
    const pool = open();
    const sent = new Sent();
    // Also where the same headers come again.
    for (let i = 0; i < 2; i += 1) {
      let said = '';
      try {
        pool.dispatch(request, sent);
      } catch (error) {
        said = String(error);
      }
      expect(said).toMatch(/is not the (?:path|name)|control character/);
      expect(said).not.toContain('secret');
    }
    await exchange(pool, '/next');
    expect(paths()).toEqual(['/next']);
    expect(sockets).toHaveLength(1);
    expect(sent.heard).toEqual([]);
  });
});

describe('connections', () => {
  it('are kept', async () => {
    const pool = open();
    for (let i = 0; i < 5; i += 1) await exchange(pool, `/${i}`);
    expect(sockets).toHaveLength(1);
  });

  it('are as many as requests run, without a limit', async () => {
    answer = nothing;
    const pool = open();
    for (let i = 0; i < 20; i += 1) send(pool, `/${i}`);
    await isAsked(20);
    expect(sockets).toHaveLength(20);
  });

  it('are no more than the limit, and who waits is served in order', async () => {
    answer = nothing;
    const pool = open({ connections: 2 });
    const all = Array.from({ length: 4 }, (_, i) => send(pool, `/${i}`));
    await isAsked(2);
    // Also those that come when both are busy.
    all.push(send(pool, '/4'), send(pool, '/5'));
    for (let i = 0; i < 6; i += 1) {
      await isAsked(Math.min(i + 2, 6));
      const request = asked[i];
      if (request !== undefined) ok(request);
      await all[i]?.over;
      expect(all[i]?.heard).toEqual(COMPLETE);
      // Whoever waits has not had its turn.
      expect(all.filter(({ heard }) => heard.length > 0)).toHaveLength(Math.min(i + 3, 6));
    }
    // Two connections were made at the same time: which came first is not ours to say.
    expect(paths().slice(2)).toEqual(['/2', '/3', '/4', '/5']);
    expect(sockets).toHaveLength(2);
  });

  it('serve the next when what waited for them was given up, of which nothing is written', async () => {
    answer = nothing;
    const pool = open({ connections: 1 });
    const first = send(pool, '/first');
    const givenUp = [send(pool, '/a'), send(pool, '/b')];
    const last = send(pool, '/last');
    for (const sent of givenUp) sent.isWanted = false;
    const [request] = await isAsked(1);
    answer = ok;
    if (request !== undefined) ok(request);
    await last.over;
    expect(last.heard).toEqual(COMPLETE);
    expect(first.heard).toEqual(COMPLETE);
    expect(givenUp.map(({ heard }) => heard)).toEqual([['turn'], ['turn']]);
    expect(paths()).toEqual(['/first', '/last']);
    expect(sockets).toHaveLength(1);
  });

  it('rest when all that waited was given up', async () => {
    const pool = open();
    const sent = new Sent();
    sent.isWanted = false;
    send(pool, '/a', sent);
    await until(() => sent.heard).toEqual(['turn']);
    // A connection at rest is asked at once.
    const again = new Sent();
    again.isWanted = false;
    send(pool, '/b', again);
    expect(again.heard).toEqual(['turn']);
    await exchange(pool, '/c');
    expect(paths()).toEqual(['/c']);
    expect(sockets).toHaveLength(1);
  });

  it('that are refused fail as many as wait, whose turn never came', async () => {
    const [server] = servers;
    server?.close();
    const pool = open({ connections: 2 });
    const all = Array.from({ length: 5 }, (_, i) => send(pool, `/${i}`));
    await Promise.all(all.map(({ over }) => over));
    for (const { heard } of all) expect(heard).toEqual([expect.stringContaining('ECONNREFUSED')]);
    // It goes on when the server is there again.
    await listen(createServer(serve), port);
    await exchange(pool, '/again');
  });

  it('on which bytes come that nobody has asked for are closed, and are no answer to the next', async () => {
    const pool = open();
    await exchange(pool, '/first');
    const [socket] = sockets;
    if (socket === undefined) throw new Error('no connection');
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong');
    await once(socket, 'close');
    await exchange(pool, '/second');
    expect(sockets).toHaveLength(2);
  });

  it('with bytes after the end of an answer are closed', async () => {
    answer = ({ socket }) =>
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n/aHTTP/1.1 200 OK\r\n');
    const pool = open({ connections: 1 });
    await exchange(pool, '/a');
    answer = ok;
    await exchange(pool, '/b');
    expect(sockets).toHaveLength(2);
  });

  it('that the server closes while they rest fail no request', async () => {
    const pool = open();
    for (let i = 0; i < 3; i += 1) {
      await exchange(pool, `/${i}`);
      const socket = sockets[i];
      if (socket === undefined) throw new Error('the old connection was used');
      socket.end();
      await once(socket, 'close');
    }
    expect(sockets).toHaveLength(3);
  });

  it('that have rested for a minute are not used again, and all of them are closed', async () => {
    let skipped = 0;
    const clock: Clock = { ...systemClock, monotonic: () => skipped };
    const pool = open({ clock });
    answer = nothing;
    const both = ['/a', '/b'].map((path) => send(pool, path));
    for (const request of await isAsked(2)) ok(request);
    await Promise.all(both.map(({ over }) => over));
    answer = ok;
    await exchange(pool, '/c');
    skipped += 60_000;
    await exchange(pool, '/d');
    expect(sockets).toHaveLength(2);
    const closed = Promise.all(sockets.map((socket) => once(socket, 'close')));
    skipped += 60_001;
    await exchange(pool, '/e');
    expect(sockets).toHaveLength(3);
    await closed;
  });

  it('used last are taken first, so that the others grow old', async () => {
    let skipped = 0;
    const clock: Clock = { ...systemClock, monotonic: () => skipped };
    const pool = open({ clock });
    answer = nothing;
    const both = ['/a', '/b'].map((path) => send(pool, path));
    const requests = await isAsked(2);
    // The other one rests since before.
    for (const request of requests) {
      ok(request);
      await both[Number(request.path === '/b')]?.over;
    }
    answer = ok;
    skipped += 40_000;
    await exchange(pool, '/c');
    expect(asked[2]?.socket).toBe(requests[1]?.socket);
    const old = requests[0]?.socket;
    if (old === undefined) throw new Error('no request');
    const closed = once(old, 'close');
    skipped += 40_000;
    await exchange(pool, '/d');
    expect(asked[3]?.socket).toBe(requests[1]?.socket);
    await closed;
    expect(sockets).toHaveLength(2);
  });

  it('whose answer says that it is the last are not used again', async () => {
    answer = ({ socket }) =>
      socket.write('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n/a');
    const pool = open();
    await exchange(pool, '/a');
    answer = ok;
    await exchange(pool, '/b');
    expect(sockets).toHaveLength(2);
  });

  it('end the answer that has no length of its own', async () => {
    answer = ({ socket }) => socket.end('HTTP/1.1 200 OK\r\n\r\n/a');
    const pool = open();
    await exchange(pool, '/a');
    await exchange(pool, '/a');
    expect(sockets).toHaveLength(2);
  });
});

describe('an answer', () => {
  it.each([
    [
      'that breaks off',
      'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc',
      ['head 200', 'error the answer breaks off'],
    ],
    ['that does not come', '', ['error the server closed the connection']],
    ['that is not HTTP', 'hello\r\n\r\n', ['error not an HTTP answer: "hello"']],
  ])('%s is an error once, and does not touch the next', async (_, text, heard) => {
    const pool = open({ connections: 1 });
    answer = (request) => {
      if (request.path === '/a') request.socket.end(text);
      else ok(request);
    };
    const [sent, next] = [send(pool, '/a'), send(pool, '/b')];
    await next.over;
    expect(sent.heard).toEqual(['turn', ...heard]);
    expect([...next.heard, next.body]).toEqual([...COMPLETE, '/b']);
    expect(paths()).toEqual(['/a', '/b']);
    expect(sockets).toHaveLength(2);
  });

  it('that is given up closes its connection, is not heard any more, and makes room for the next', async () => {
    answer = ({ socket }) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc');
    const pool = open({ connections: 1 });
    const sent = new Sent();
    sent.onPiece = (flow) => flow.abort();
    send(pool, '/a', sent);
    await isAsked(1);
    answer = ok;
    await exchange(pool, '/b');
    expect([...sent.heard, sent.body]).toEqual(['turn', 'head 200', 'abc']);
    expect(sockets).toHaveLength(2);
    await until(() => sockets[0]?.destroyed).toBe(true);
  });

  it('that is given up with its last piece is not heard any more', async () => {
    const pool = open({ connections: 1 });
    const sent = new Sent();
    sent.onPiece = (flow) => flow.abort();
    send(pool, '/a', sent);
    await exchange(pool, '/b');
    expect([...sent.heard, sent.body]).toEqual(['turn', 'head 200', '/a']);
    expect(sockets).toHaveLength(2);
  });

  it('that is paused holds the server back until it is resumed, and nothing is lost', async () => {
    // More than what the system's own buffers hold.
    const size = 32 * 1024 * 1024;
    answer = ({ socket }) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`);
      socket.write(Buffer.alloc(size, 'x'));
    };
    const pool = open();
    const sent = new Sent();
    let pieces = 0;
    sent.onPiece = (flow) => {
      pieces += 1;
      if (pieces === 1) flow.pause();
    };
    send(pool, '/slow', sent);
    await until(() => pieces).toBe(1);
    answer = ok;
    for (let i = 0; i < 50; i += 1) await exchange(pool, '/other');
    expect(pieces).toBe(1);
    expect(asked[0]?.socket.writableLength).toBeGreaterThan(0);
    sent.flow?.resume();
    await sent.over;
    expect(sent.heard).toEqual(COMPLETE);
    expect(sent.body.length).toBe(size);
  });

  it('that was paused to its end leaves a connection that serves the next', async () => {
    const pool = open();
    const sent = new Sent();
    sent.onPiece = (flow) => flow.pause();
    send(pool, '/a', sent);
    await sent.over;
    expect(sent.heard).toEqual(COMPLETE);
    await exchange(pool, '/b');
    expect(sockets).toHaveLength(1);
  });
});

describe('close', () => {
  it('lets what runs and waits end, refuses the new, and then there is no connection', async () => {
    answer = nothing;
    const pool = open({ connections: 1 });
    const all = ['/a', '/b', '/c'].map((path) => send(pool, path));
    await isAsked(1);
    let isClosed = false;
    const closed = pool.close().then(() => {
      isClosed = true;
    });
    expect(() => send(pool, '/d')).toThrow('the connections are closed');
    for (let i = 0; i < 3; i += 1) {
      const request = (await isAsked(i + 1))[i];
      expect(isClosed).toBe(false);
      if (request !== undefined) ok(request);
    }
    await closed;
    expect(all.map(({ heard }) => heard)).toEqual([COMPLETE, COMPLETE, COMPLETE]);
    expect(paths()).toEqual(['/a', '/b', '/c']);
    await until(() => sockets.map(({ destroyed }) => destroyed)).toEqual([true]);
  });

  it('closes what rests', async () => {
    const pool = open();
    await exchange(pool, '/a');
    await pool.close();
    await until(() => sockets.map(({ destroyed }) => destroyed)).toEqual([true]);
  });

  it('ends where what waits cannot be connected', async () => {
    servers[0]?.close();
    const pool = open({ connections: 1 });
    const all = ['/a', '/b'].map((path) => send(pool, path));
    await pool.close();
    for (const { heard } of all) expect(heard).toEqual([expect.stringContaining('ECONNREFUSED')]);
  });
});

describe('destroy', () => {
  const CLOSED = 'error the connections are closed';

  it('fails what runs and what waits', async () => {
    answer = ({ socket }) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc');
    const pool = open({ connections: 1 });
    const [running, waiting] = [send(pool, '/a'), send(pool, '/b')];
    await until(() => running.body).toBe('abc');
    await pool.destroy();
    expect(running.heard).toEqual(['turn', 'head 200', CLOSED]);
    expect(waiting.heard).toEqual([CLOSED]);
    expect(() => send(pool, '/c')).toThrow('the connections are closed');
    await until(() => sockets.map(({ destroyed }) => destroyed)).toEqual([true]);
    expect(paths()).toEqual(['/a']);
  });

  it('gives up connections that are being made', async () => {
    const clock = new FakeClock();
    const pool = open({ clock });
    const sent = send(pool, '/a');
    expect(clock.pendingTimers).toBe(1);
    await pool.destroy();
    expect(clock.pendingTimers).toBe(0);
    expect(sent.heard).toEqual([CLOSED]);
    await exchange(open(), '/b');
    expect(sent.heard).toEqual([CLOSED]);
    expect(paths()).toEqual(['/b']);
  });

  it('ends a close that lasts', async () => {
    answer = nothing;
    const pool = open();
    const sent = send(pool, '/a');
    await isAsked(1);
    const closed = pool.close();
    await pool.destroy();
    await closed;
    expect(sent.heard).toEqual(['turn', CLOSED]);
  });
});

describe('a process', () => {
  /** Asks twice, the second time on the connection that has rested, and closes nothing. */
  const program = `
    const [pool, clock] = await Promise.all(['connectionpool', 'clock'].map((name) =>
      import(new URL(name + '.ts', process.env.BASE))));
    const { origin, ca, proxy } = JSON.parse(process.env.OPTIONS);
    const calls = new pool.ConnectionPool({
      origin: new URL(origin), tls: { ca, servername: 'berth.test' },
      proxy: proxy && new URL(proxy), connections: 1, clock: clock.systemClock,
    });
    const ask = (path) => new Promise((onEnd, onError) => {
      calls.dispatch({ method: 'GET', path, headers: {} },
        { onTurn: () => true, onHead() {}, onData() {}, onEnd, onError });
      console.log(path);
    });
    await ask('/first');
    await new Promise(setImmediate);
    await ask('/second');
    console.log('done');`;

  const { certificate, key } = selfSignedCertificate('berth.test');

  /** Passes on what comes after it was asked to. */
  function proxying(socket: Socket): void {
    sockets.push(socket);
    socket.on('error', nothing);
    socket.once('data', (chunk: Buffer) => {
      const target = /^CONNECT 127\.0\.0\.1:(\d+) /.exec(chunk.toString())?.[1];
      const there = netConnect(Number(target), '127.0.0.1');
      there.on('error', nothing);
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.pipe(there).pipe(socket);
    });
  }

  it.each([
    ['http', false],
    ['https', false],
    ['http', true],
    ['https', true],
  ] as const)('ends while connections rest: %s, through a proxy: %s', async (protocol, isProxied) => {
    const secure = await listen(createTlsServer({ cert: certificate, key }, serve));
    const proxy = await listen(createServer(proxying));
    const options = {
      origin: `${protocol}://127.0.0.1:${protocol === 'https' ? secure : port}`,
      ca: certificate,
      proxy: isProxied ? `http://127.0.0.1:${proxy}` : undefined,
    };
    answer = nothing;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      env: { ...process.env, BASE: import.meta.url, OPTIONS: JSON.stringify(options) },
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 30_000,
    });
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const exit = once(child, 'close');
    for (const [i, path] of ['/first', '/second'].entries()) {
      // Not before it has had the time to end by mistake.
      await until(() => said).toContain(path);
      await until(paths).toHaveLength(i + 1);
      const request = asked[i];
      if (request !== undefined) ok(request);
    }
    expect(await exit).toEqual([0, null]);
    expect(said).toBe('/first\n/second\ndone\n');
    expect(asked[1]?.socket).toBe(asked[0]?.socket);
  });
});
