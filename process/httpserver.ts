/** GET /healthz, /readyz and /metrics, and whatever else a program shows about itself. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import type { Log } from '../kube/log.ts';
import type { HostPort } from './flags.ts';

/** Why the program is not well, in one line; undefined when it is. Must be quick and must not throw. */
export type Check = () => string | undefined;

export interface HttpAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** Answers GET of one path. A rejection is logged and answered with 500. */
export type Route = (url: URL) => HttpAnswer | Promise<HttpAnswer>;

export interface ProbeOptions {
  /** /healthz and /readyz. Absent: these paths answer 404. */
  readonly checks?: { readonly healthz: Check; readonly readyz: Check };
  /** /metrics. Absent: this path answers 404. */
  readonly registry?: Registry;
  /** More paths, such as "/v1/pools". */
  readonly routes?: Readonly<Record<string, Route>>;
}

/** The routes of `options` by path, for a server that has other things to serve as well. */
export function probeRoutes(options: ProbeOptions): ReadonlyMap<string, Route> {
  const routes = new Map<string, Route>(Object.entries(options.routes ?? {}));
  const { checks, registry } = options;
  if (checks !== undefined) {
    routes.set('/healthz', () => checkAnswer(checks.healthz));
    routes.set('/readyz', () => checkAnswer(checks.readyz));
  }
  if (registry !== undefined) {
    routes.set('/metrics', async () => ({
      status: 200,
      contentType: registry.contentType,
      body: await registry.metrics(),
    }));
  }
  return routes;
}

function checkAnswer(check: Check): HttpAnswer {
  const reason = check();
  return {
    status: reason === undefined ? 200 : 503,
    contentType: 'text/plain; charset=utf-8',
    body: `${reason ?? 'ok'}\n`,
  };
}

export interface ProbeServer {
  /** "host:port" with the port that is really used. */
  readonly address: string;
  /** Stops listening and drops idle connections; resolves when the last answer is out. */
  close(): Promise<void>;
}

/**
 * Serves `options` at `address` until closed. Only GET and HEAD are answered (405 otherwise).
 * @throws the system's error (EADDRINUSE, EADDRNOTAVAIL, …) where it cannot listen.
 */
export async function serveProbes(
  options: ProbeOptions & { readonly address: HostPort; readonly log: Log },
): Promise<ProbeServer> {
  const routes = probeRoutes(options);
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 10_000 }, (request, response) => {
    answer(routes, request)
      .catch((error: unknown): HttpAnswer => {
        options.log.error({ error, path: request.url }, 'a request to the probe server failed');
        return plain(500, 'internal error');
      })
      .then((result) => send(request, response, result))
      .catch((error: unknown) =>
        options.log.error({ error, path: request.url }, 'an answer could not be sent'),
      );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    const { host, port } = options.address;
    server.listen(host === '' ? { port } : { host, port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  server.on('error', (error) => options.log.error({ error }, 'the probe server has an error'));
  return {
    address: formatAddress(options.address.host, server.address()),
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error === undefined ? resolve() : reject(error)));
        server.closeIdleConnections();
      }),
  };
}

async function answer(routes: ReadonlyMap<string, Route>, request: IncomingMessage): Promise<HttpAnswer> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return plain(405, `${request.method ?? ''} is not supported: use GET`);
  }
  // The base only completes the relative URL of the request line; its host is never used.
  const url = URL.parse(request.url ?? '/', 'http://localhost');
  if (url === null) {
    return plain(400, 'malformed URL');
  }
  const route = routes.get(url.pathname);
  return route === undefined
    ? plain(404, `not found: the paths are ${[...routes.keys()].join(' ')}`)
    : route(url);
}

function send(request: IncomingMessage, response: ServerResponse, result: HttpAnswer): void {
  const body = Buffer.from(result.body);
  response.writeHead(result.status, { 'content-type': result.contentType, 'content-length': body.length });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function plain(status: number, text: string): HttpAnswer {
  return { status, contentType: 'text/plain; charset=utf-8', body: `${text}\n` };
}

function formatAddress(host: string, bound: AddressInfo | string | null): string {
  if (bound === null || typeof bound === 'string') {
    throw new Error(`the probe server listens on ${String(bound)}, not on a TCP port`);
  }
  const shown = host === '' ? bound.address : host;
  return shown.includes(':') ? `[${shown}]:${bound.port}` : `${shown}:${bound.port}`;
}
