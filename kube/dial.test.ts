import dns from 'node:dns';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import {
  createServer as createTlsServer,
  getCACertificates,
  setDefaultCACertificates,
  type TLSSocket,
} from 'node:tls';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Certificate, selfSignedCertificate } from '../e2e/controlplane/certificate.ts';
import { systemClock } from './clock.ts';
import { Dialer, type DialOptions } from './dial.ts';
import { FakeClock } from './testing/fakeclock.ts';
import { failOnLeakedTimers } from './testing/leaks.ts';

failOnLeakedTimers();

/** Its name is the server's; as each is its own authority, it is what the client must trust too. */
const identity: Certificate = selfSignedCertificate('berth.test');
const client: Certificate = selfSignedCertificate('somebody');
const trust = { ca: identity.certificate, servername: 'berth.test' };

/** It depends on where the handshake was. */
const HUNG_UP = /ECONNRESET|EPIPE|closed|disconnected/;

let servers: Server[];
/** Of the servers. */
let sockets: Socket[];
/** Of the client. */
let made: Socket[];

beforeEach(() => {
  servers = [];
  sockets = [];
  made = [];
});

afterEach(async () => {
  for (const socket of [...made, ...sockets]) socket.destroy();
  for (const server of servers) {
    if (!server.listening) continue;
    server.close();
    await once(server, 'close');
  }
});

async function listen(server: Server, host = '127.0.0.1'): Promise<number> {
  servers.push(server);
  server.on('connection', (socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
  });
  server.listen(0, host);
  await once(server, 'listening');
  // A TCP server that listens has an AddressInfo.
  return (server.address() as AddressInfo).port;
}

/** Says what comes back to whoever said it. */
const echo = (socket: Socket): void => {
  socket.on('error', () => undefined);
  socket.pipe(socket);
};

/** A condition that a busy machine may make wait. */
const until = <T>(value: () => T): ReturnType<typeof expect.poll<T>> =>
  expect.poll(value, { interval: 1, timeout: 20_000 });

const plain = (): Promise<number> => listen(createServer(echo));

/** @param seen is told of each connection */
function secure(
  seen: (socket: TLSSocket) => void = () => undefined,
  { mutual = false, as: { certificate: cert, key } = identity }: { mutual?: boolean; as?: Certificate } = {},
): Promise<number> {
  const server = createTlsServer({
    cert,
    key,
    ALPNProtocols: ['h2', 'http/1.1'],
    ...(mutual && { requestCert: true, ca: client.certificate }),
  });
  server.on('secureConnection', (socket) => {
    seen(socket);
    echo(socket);
  });
  return listen(server);
}

function dialer(origin: string, options: Partial<DialOptions> = {}): Dialer {
  const defaults = { tls: {}, proxy: undefined, clock: systemClock, timeoutMs: 20_000 };
  return new Dialer({ ...defaults, origin: new URL(origin), ...options });
}

function dial(from: Dialer): Promise<Socket> {
  return new Promise((resolve, reject) => {
    from.dial((error, socket) => {
      if (error !== undefined) {
        reject(error);
        return;
      }
      made.push(socket);
      resolve(socket);
    });
  });
}

/** The bytes go to the server and back. */
async function expectEcho(socket: Socket): Promise<void> {
  const answer = once(socket, 'data');
  socket.write('hello');
  expect(String((await answer)[0])).toBe('hello');
}

const ended = async (socket: Socket | undefined): Promise<void> => {
  if (socket === undefined) throw new Error('no connection');
  if (!socket.closed) await once(socket, 'close');
};

describe('TCP', () => {
  it('connects', async () => {
    await expectEcho(await dial(dialer(`http://127.0.0.1:${await plain()}`)));
  });

  it('connects to an IPv6 address in brackets', async () => {
    const port = await listen(createServer(echo), '::1');
    await expectEcho(await dial(dialer(`http://[::1]:${port}`)));
  });

  it('that is refused is an error that says where', async () => {
    const port = await plain();
    servers[0]?.close();
    await expect(dial(dialer(`http://127.0.0.1:${port}`))).rejects.toThrow(`ECONNREFUSED 127.0.0.1:${port}`);
    await expect(dial(dialer(`http://localhost:${port}`))).rejects.toThrow(`127.0.0.1:${port}`);
  });

  it('that is refused at all addresses of a name is an error that says each', async () => {
    const port = await plain();
    servers[0]?.close();
    const found = ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }));
    const resolver = vi.spyOn(dns, 'lookup');
    // All overloads of it end with the callback; a connection asks for all addresses.
    resolver.mockImplementation(((
      _name: string,
      _options: object,
      then: (error: null, all: object) => void,
    ) => process.nextTick(then, null, found)) as typeof dns.lookup);
    try {
      await expect(dial(dialer(`http://berth.test:${port}`))).rejects.toThrow(
        `ECONNREFUSED 127.0.0.1:${port}; Error: connect ECONNREFUSED 127.0.0.2:${port}`,
      );
    } finally {
      resolver.mockRestore();
    }
  });
});

describe('TLS', () => {
  it('speaks HTTP/1.1 with a server that has the name, and says which name it wants', async () => {
    const seen: unknown[] = [];
    const port = await secure((socket) => seen.push(socket.servername, socket.alpnProtocol));
    await expectEcho(await dial(dialer(`https://127.0.0.1:${port}`, { tls: trust })));
    expect(seen).toEqual(['berth.test', 'http/1.1']);
  });

  it.each([
    ['another name', { ...trust, servername: 'other.test' }, "altnames: Host: other.test. is not cert's CN"],
    ['no name but an address', { ca: trust.ca, servername: undefined }, '127.0.0.1'],
    ['an authority that is not trusted', { ...trust, ca: client.certificate }, 'self-signed certificate'],
    [
      'no authority of ours',
      { ...trust, ca: undefined, rejectUnauthorized: undefined },
      'self-signed certificate',
    ],
  ])('refuses a server for %s', async (_, tls, message) => {
    const port = await secure();
    await expect(dial(dialer(`https://127.0.0.1:${port}`, { tls }))).rejects.toThrow(message);
    await ended(sockets[0]);
  });

  it('takes any server where the configuration says so, and does not take an address for a name', async () => {
    const seen: unknown[] = [];
    const port = await secure((socket) => seen.push(socket.servername));
    const tls = { rejectUnauthorized: false };
    await expectEcho(await dial(dialer(`https://127.0.0.1:${port}`, { tls })));
    expect(seen).toEqual([false]);
  });

  it('wants the name of the URL where there is no other', async () => {
    const seen: unknown[] = [];
    const localhost = selfSignedCertificate('localhost');
    const port = await secure((socket) => seen.push(socket.servername), { as: localhost });
    const tls = { ca: [localhost.certificate, trust.ca], servername: undefined };
    await expectEcho(await dial(dialer(`https://localhost:${port}`, { tls })));
    expect(seen).toEqual(['localhost']);
    const other = dial(dialer(`https://localhost:${await secure()}`, { tls }));
    await expect(other).rejects.toThrow("Host: localhost. is not cert's CN: berth.test");
  });

  it('shows its own certificate', async () => {
    const seen: unknown[] = [];
    const port = await secure(
      (socket) => seen.push(socket.authorized, socket.getPeerCertificate().subject.CN),
      { mutual: true },
    );
    const tls = { ...trust, cert: client.certificate, key: client.key };
    await expectEcho(await dial(dialer(`https://127.0.0.1:${port}`, { tls })));
    expect(seen).toEqual([true, 'somebody']);
  });

  it('resumes the session on the connections after the first', async () => {
    const seen: boolean[] = [];
    const port = await secure((socket) => seen.push(socket.isSessionReused()));
    const from = dialer(`https://127.0.0.1:${port}`, { tls: trust });
    const first = await dial(from);
    const ticket = once(first, 'session');
    await expectEcho(first);
    await ticket;
    for (let i = 0; i < 2; i += 1) await expectEcho(await dial(from));
    expect(seen).toEqual([false, true, true]);
  });

  it.each([
    ['key', { cert: client.certificate, key: 'nonsense' }, /PEM|DECODER|no start line/i],
    ['certificate', { cert: 'nonsense', key: client.key }, /PEM|DECODER|no start line/i],
    [
      'key, another than the certificate has',
      { cert: client.certificate, key: identity.key },
      /key values mismatch/,
    ],
  ])(
    'with an unusable %s calls back with an error, later, and connects to nobody',
    async (_, tls, message) => {
      const from = dialer(`https://127.0.0.1:${await secure()}`, { tls });
      let isLater = false;
      const outcome = new Promise<Error | undefined>((resolve) => {
        from.dial((...[error]) => resolve(isLater ? error : new Error('before dial returned')));
      });
      isLater = true;
      expect((await outcome)?.message).toMatch(message);
      await expectEcho(await dial(dialer(`http://127.0.0.1:${await plain()}`)));
      expect(sockets).toHaveLength(1);
    },
  );

  it('with an unreadable ca trusts nobody', async () => {
    const tls = { ...trust, ca: 'nonsense' };
    const outcome = dial(dialer(`https://127.0.0.1:${await secure()}`, { tls }));
    await expect(outcome).rejects.toThrow('self-signed certificate');
  });

  it('with an unreadable key does not call back if it is given up at once', async () => {
    const clock = new FakeClock();
    let calls = 0;
    const tls = { cert: client.certificate, key: 'nonsense' };
    dialer('https://127.0.0.1:1', { tls, clock }).dial(() => {
      calls += 1;
    })();
    await clock.advance(30_000);
    expect(calls).toBe(0);
  });
});

describe('the time limit', () => {
  it.each([
    ['a TLS handshake that nobody answers', false],
    ['a proxy that says nothing', true],
  ])('ends %s, and closes the connection', async (_, isProxied) => {
    const port = await listen(createServer());
    const clock = new FakeClock();
    const silent = `127.0.0.1:${port}`;
    const outcome = dial(
      isProxied
        ? dialer('http://berth.test', { clock, proxy: new URL(`http://${silent}`), timeoutMs: 1000 })
        : dialer(`https://${silent}`, { clock, timeoutMs: 1000 }),
    );
    let error: unknown;
    outcome.catch((reason: unknown) => {
      error = reason;
    });
    await until(() => sockets.length).toBe(1);
    sockets[0]?.resume();
    await clock.advance(999);
    expect(error).toBeUndefined();
    await clock.advance(1);
    expect(String(error)).toBe(`Error: no connection to ${isProxied ? 'berth.test' : silent} within 1000 ms`);
    await ended(sockets[0]);
  });

  it('does not outlast the connection', async () => {
    const clock = new FakeClock();
    const socket = await dial(dialer(`http://127.0.0.1:${await plain()}`, { clock, timeoutMs: 1000 }));
    expect(clock.pendingTimers).toBe(0);
    await expectEcho(socket);
  });
});

describe('given up', () => {
  it('a connection is closed, and nobody is called', async () => {
    const port = await listen(createServer());
    const clock = new FakeClock();
    let calls = 0;
    const giveUp = dialer(`https://127.0.0.1:${port}`, { clock }).dial(() => {
      calls += 1;
    });
    await until(() => sockets.length).toBe(1);
    sockets[0]?.resume();
    giveUp();
    await ended(sockets[0]);
    await clock.advance(30_000);
    expect(calls).toBe(0);
  });

  it('a server that hangs up during the handshake is an error', async () => {
    const port = await listen(createServer((socket) => socket.destroy()));
    await expect(dial(dialer(`https://127.0.0.1:${port}`))).rejects.toThrow(HUNG_UP);
  });
});

describe('a proxy', () => {
  /** What was asked of it. */
  let requests: string[];

  beforeEach(() => {
    requests = [];
  });

  /** Goes wherever CONNECT names a port of this machine, in two pieces. */
  function tunnel(socket: Socket): void {
    sockets.push(socket);
    socket.on('error', () => undefined);
    let text = '';
    const onData = (chunk: Buffer): void => {
      text += chunk.toString();
      if (!text.includes('\r\n\r\n')) return;
      requests.push(text);
      socket.off('data', onData);
      const [, host, port] = /^CONNECT \[?([^ \]]+?)\]?:(\d+) /.exec(text) ?? [];
      const there = connect(Number(port), host?.includes(':') === true ? '::1' : '127.0.0.1');
      sockets.push(there);
      there.on('error', () => socket.destroy());
      there.on('close', () => socket.destroy());
      socket.on('close', () => there.destroy());
      there.once('connect', () => {
        socket.write('HTTP/1.1 200 Connection');
        setImmediate(() => socket.write(' established\r\nvia: test\r\n\r\n'));
        socket.pipe(there).pipe(socket);
      });
    };
    socket.on('data', onData);
  }

  /** One that gives this answer to everything. */
  const saying = async (answer: string): Promise<URL> => {
    const port = await listen(createServer((socket) => socket.once('data', () => socket.end(answer))));
    return new URL(`http://127.0.0.1:${port}`);
  };

  const proxyUrl = async (credentials = ''): Promise<URL> =>
    new URL(`http://${credentials}127.0.0.1:${await listen(createServer(tunnel))}`);

  it('is asked for the way to an http server', async () => {
    const port = await plain();
    const proxy = await proxyUrl();
    await expectEcho(await dial(dialer(`http://127.0.0.1:${port}`, { proxy })));
    expect(requests).toEqual([`CONNECT 127.0.0.1:${port} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n\r\n`]);
  });

  it('is asked with the credentials of its URL, decoded, for the way to an https server', async () => {
    const seen: boolean[] = [];
    const port = await secure((socket) => seen.push(socket.isSessionReused()));
    const proxy = await proxyUrl('m%C3%BCller:p%40ss%3Aword@');
    const from = dialer(`https://127.0.0.1:${port}`, { proxy, tls: trust });
    const first = await dial(from);
    const ticket = once(first, 'session');
    await expectEcho(first);
    await ticket;
    await expectEcho(await dial(from));
    const basic = Buffer.from('müller:p@ss:word').toString('base64');
    const request = `CONNECT 127.0.0.1:${port} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nproxy-authorization: Basic ${basic}\r\n\r\n`;
    expect(requests).toEqual([request, request]);
    expect(seen).toEqual([false, true]);
  });

  it('is asked with a user without a password', async () => {
    const proxy = await proxyUrl('somebody@');
    await dial(dialer(`http://127.0.0.1:${await plain()}`, { proxy }));
    expect(requests[0]).toContain(`Basic ${Buffer.from('somebody:').toString('base64')}\r\n`);
  });

  it('whose credentials cannot be decoded is refused at once', () => {
    expect(() => dialer('http://berth.test', { proxy: new URL('http://a%ff@127.0.0.1:1') })).toThrow(
      URIError,
    );
  });

  it('is asked for the default port of the server, by its name', async () => {
    const proxy = await saying('HTTP/1.1 200 OK\r\n\r\n');
    const [server] = servers;
    server?.on('connection', (socket: Socket) => socket.on('data', (chunk) => requests.push(String(chunk))));
    await dial(dialer('http://berth.test', { proxy }));
    await expect(dial(dialer('https://berth.test', { proxy }))).rejects.toThrow(HUNG_UP);
    expect(requests[0]).toContain('CONNECT berth.test:80 HTTP/1.1\r\nhost: berth.test:80\r\n');
    expect(requests[1]).toContain('CONNECT berth.test:443 HTTP/1.1\r\nhost: berth.test:443\r\n');
  });

  it('gets the address of an IPv6 server in brackets', async () => {
    const port = await listen(createServer(echo), '::1');
    const proxy = await proxyUrl();
    await expectEcho(await dial(dialer(`http://[::1]:${port}`, { proxy })));
    expect(requests).toEqual([`CONNECT [::1]:${port} HTTP/1.1\r\nhost: [::1]:${port}\r\n\r\n`]);
  });

  it('does not vouch for the name of the server', async () => {
    const port = await secure();
    const tls = { ...trust, servername: 'other.test' };
    const proxy = await proxyUrl();
    await expect(dial(dialer(`https://127.0.0.1:${port}`, { tls, proxy }))).rejects.toThrow('other.test');
    for (const socket of sockets) await ended(socket);
  });

  it.each([
    [
      'refuses',
      'HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 2\r\n\r\nno',
      'HTTP/1.1 407 Proxy Authentication Required',
    ],
    ['refuses without a body', 'HTTP/1.1 403 Forbidden\r\n\r\n', 'HTTP/1.1 403 Forbidden'],
    ['speaks no HTTP', 'hello\r\n\r\n', '"hello"'],
    ['sends on what the server has not been asked for', 'HTTP/1.1 200 OK\r\n\r\nhello', 'HTTP/1.1 200 OK'],
    ['does not end its answer', `HTTP/1.1 200 OK\r\na: ${'b'.repeat(20_000)}`, 'HTTP/1.1 200 OK'],
    ['hangs up', '', 'the connection was closed while it was made'],
    ['hangs up in its answer', 'HTTP/1.1 200 OK\r\n', 'the connection was closed while it was made'],
  ])('that %s is an error that tells what it said', async (_, answer, message) => {
    const proxy = await saying(answer);
    await expect(dial(dialer('http://berth.test', { proxy }))).rejects.toThrow(message);
    await ended(sockets[0]);
  });

  it('that refuses the connection is an error', async () => {
    const proxy = await saying('');
    servers[0]?.close();
    await expect(dial(dialer('http://berth.test', { proxy }))).rejects.toThrow('ECONNREFUSED');
  });

  it('and a key that cannot be read: an error too, and the connection to the proxy is closed', async () => {
    const port = await secure();
    const proxy = await proxyUrl();
    const tls = { cert: client.certificate, key: 'nonsense' };
    await expect(dial(dialer(`https://127.0.0.1:${port}`, { tls, proxy }))).rejects.toThrow(
      /PEM|DECODER|no start line/i,
    );
    expect(requests).toHaveLength(1);
    for (const socket of sockets) await ended(socket);
  });

  it('and a connection through it that is given up: both ways are closed', async () => {
    const port = await listen(createServer((socket) => socket.resume()));
    const proxy = await proxyUrl();
    const clock = new FakeClock();
    const giveUp = dialer(`https://127.0.0.1:${port}`, { proxy, clock }).dial(() => expect.unreachable());
    // The proxy's two and the server's own, in the middle of the handshake.
    await expect
      .poll(() => sockets.find((socket) => socket.localPort === port)?.bytesRead)
      .toBeGreaterThan(0);
    giveUp();
    for (const socket of sockets) await ended(socket);
  });

  describe('of https', () => {
    const known = getCACertificates('default');
    const its = selfSignedCertificate('localhost');

    afterEach(() => setDefaultCACertificates(known));

    const open = async (): Promise<URL> => {
      const server = createTlsServer({ cert: its.certificate, key: its.key });
      server.on('secureConnection', tunnel);
      return new URL(`https://localhost:${await listen(server)}`);
    };

    it('whose certificate the system trusts lets through to http and https', async () => {
      setDefaultCACertificates([its.certificate]);
      const proxy = await open();
      await expectEcho(await dial(dialer(`http://127.0.0.1:${await plain()}`, { proxy })));
      await expectEcho(await dial(dialer(`https://127.0.0.1:${await secure()}`, { proxy, tls: trust })));
      expect(requests).toHaveLength(2);
    });

    it('whose certificate only the server may have is refused, and not asked', async () => {
      const proxy = await open();
      const tls = { ...trust, ca: [trust.ca, its.certificate] };
      const outcome = dial(dialer(`https://127.0.0.1:${await secure()}`, { proxy, tls }));
      await expect(outcome).rejects.toThrow('self-signed certificate');
      expect(requests).toEqual([]);
    });
  });
});
