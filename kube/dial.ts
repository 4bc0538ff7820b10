/**
 * New connections to one server: TCP, TLS where it is https, through an HTTP proxy where one is named.
 *
 * - One time limit for all of it together.
 * - TLS sessions are resumed, so that a connection after the first costs less of both sides' CPU.
 */
import { isIP, type Socket, connect as tcpConnect } from 'node:net';
import { type ConnectionOptions, connect as tlsConnect } from 'node:tls';
import type { Clock } from './clock.ts';
import { asError } from './errors.ts';

export interface DialOptions {
  readonly origin: URL;
  readonly tls: ConnectionOptions;
  /** http or https; with credentials if it wants some. */
  readonly proxy: URL | undefined;
  readonly clock: Clock;
  /** Milliseconds until the connection must be there. */
  readonly timeoutMs: number;
}

const TCP_KEEP_ALIVE_MS = 30_000;
/** Bytes of a proxy's answer to CONNECT. */
const MAX_PROXY_HEAD_BYTES = 16 * 1024;

/** Calls back once: with a connection that can be written to, or with why there is none. */
export type Dialled = (
  ...outcome: [error: undefined, socket: Socket] | [error: Error, socket: undefined]
) => void;

/** Watches over the socket that is being made now, and goes on when it is `ready`. */
type Use = (made: Socket, ready: 'connect' | 'secureConnect', then: () => void) => void;

/** "host" without the brackets of an IPv6 address, and the port. */
function endpoint(url: URL): { host: string; port: number } {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return { host, port: url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port) };
}

/** What TLS asks the server to be (RFC 6066, section 3: a name, not an address). */
function serverName(host: string): string {
  return isIP(host) === 0 ? host : '';
}

/** One that was refused at several addresses has no message of its own. */
function described(error: Error): Error {
  if (!(error instanceof AggregateError) || error.message !== '') return error;
  return new Error(error.errors.map(String).join('; '), { cause: error });
}

export class Dialer {
  readonly #options: DialOptions;
  readonly #connectRequest: string;
  /** What the server gave to resume TLS with. */
  #session: Buffer | undefined;

  /** @throws URIError for a proxy's credentials whose percent-encoding is broken */
  constructor(options: DialOptions) {
    this.#options = options;
    const { origin, proxy } = options;
    this.#connectRequest = proxy === undefined ? '' : connectRequest(origin, proxy);
  }

  /** @returns a function that gives up; `dialled` is not called then */
  dial(dialled: Dialled): () => void {
    const { clock, timeoutMs, origin } = this.#options;
    let isSettled = false;
    let socket: Socket | undefined;
    const settle = (error: Error | undefined): void => {
      if (isSettled) return;
      isSettled = true;
      cancel();
      if (error === undefined && socket !== undefined) {
        dialled(undefined, socket);
        return;
      }
      socket?.destroy();
      dialled(described(error ?? new Error('no connection')), undefined);
    };
    const cancel = clock.after(timeoutMs, () =>
      settle(new Error(`no connection to ${origin.host} within ${timeoutMs} ms`)),
    );
    const use: Use = (made, ready, then) => {
      socket = made;
      made.once(ready, then);
      made.on('error', settle);
      made.once('close', () => settle(new Error('the connection was closed while it was made')));
    };
    try {
      this.#begin(use, settle);
    } catch (error) {
      // Certificates or keys that cannot be read. Not before whoever asked has been told how to give up.
      queueMicrotask(() => settle(asError(error)));
    }
    return () => {
      isSettled = true;
      cancel();
      socket?.destroy();
    };
  }

  #begin(use: Use, settle: (error: Error | undefined) => void): void {
    const { proxy, origin } = this.#options;
    const done = (): void => settle(undefined);
    const toServer = (through?: Socket): void => {
      if (origin.protocol === 'https:') use(this.#secure(through), 'secureConnect', done);
      else if (through === undefined)
        use(tcpConnect({ ...endpoint(origin), noDelay: true }), 'connect', done);
      else done();
    };
    if (proxy === undefined) {
      toServer();
      return;
    }
    const isSecure = proxy.protocol === 'https:';
    const to = endpoint(proxy);
    const made = isSecure ? tlsConnect({ ...to, servername: serverName(to.host) }) : tcpConnect(to);
    use(made, isSecure ? 'secureConnect' : 'connect', () =>
      tunnel(
        made,
        this.#connectRequest,
        (through) => {
          try {
            toServer(through);
          } catch (error) {
            settle(asError(error));
          }
        },
        settle,
      ),
    );
  }

  #secure(through: Socket | undefined): Socket {
    const { tls, origin } = this.#options;
    const { host, port } = endpoint(origin);
    const made = tlsConnect({
      ...tls,
      ...(through === undefined ? { host, port } : { socket: through, host }),
      servername: tls.servername ?? serverName(host),
      ALPNProtocols: ['http/1.1'],
      session: this.#session,
    });
    made.setNoDelay(true);
    made.setKeepAlive(true, TCP_KEEP_ALIVE_MS);
    made.on('session', (session) => {
      this.#session = session;
    });
    return made;
  }
}

/**
 * What asks a proxy for a way to the server (RFC 9110, section 9.3.6).
 * @throws URIError for credentials whose percent-encoding is broken
 */
function connectRequest(origin: URL, proxy: URL): string {
  const { host, port } = endpoint(origin);
  const target = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
  const user = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  const credentials =
    user === ':' ? '' : `proxy-authorization: Basic ${Buffer.from(user).toString('base64')}\r\n`;
  return `CONNECT ${target} HTTP/1.1\r\nhost: ${target}\r\n${credentials}\r\n`;
}

/** Calls one of the two: with the socket as the way to the server, or with what the proxy says instead. */
function tunnel(
  socket: Socket,
  request: string,
  then: (socket: Socket) => void,
  fail: (error: Error) => void,
): void {
  let head = '';
  const onData = (chunk: Buffer): void => {
    head += chunk.toString('latin1');
    const end = head.indexOf('\r\n\r\n');
    if (end === -1 && head.length <= MAX_PROXY_HEAD_BYTES) return;
    socket.off('data', onData);
    const line = head.split('\r\n', 1)[0] ?? '';
    if (end === head.length - 4 && /^HTTP\/1\.[01] 2\d\d(?: |$)/.test(line)) then(socket);
    else fail(new Error(`the proxy does not let through: ${JSON.stringify(line.slice(0, 80))}`));
  };
  socket.on('data', onData);
  socket.write(request);
}
