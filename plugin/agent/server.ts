/**
 * The agent's unix socket: `POST /v1/cni` for the binary, and what the agent shows about itself by GET.
 *
 * - Mode 0600, in a directory that nobody else may write: who may connect may have any address.
 * - Input is bounded in size and in time; so is what all requests that are not whole yet hold together.
 * - A socket that somebody removes or replaces is made anew within seconds; what was begun is still answered.
 * - `close` answers what was begun.
 */
import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import { pause } from '../../kube/abort.ts';
import type { Clock } from '../../kube/clock.ts';
import type { Log } from '../../kube/log.ts';
import { type ProbeOptions, probeRoutes } from '../../process/httpserver.ts';
import { CNI_ENDPOINT, type CniAnswer, type CniRequest, MAX_REQUEST_BYTES, requestOf } from '../protocol.ts';
import { bindSocket, isStillThere, prepareSocket, type SocketFile } from './socketfile.ts';
import { takeWholeRequests } from './wholerequest.ts';

/** Milliseconds in which a request must be whole: a binary sends it at once. */
const REQUEST_TIMEOUT_MS = 10_000;
/** Bytes of bodies that are being read, of all requests together; a usual one has two thousand. */
const MAX_BODIES_BYTES = 64 * 1024 * 1024;
/** Milliseconds for which an agent that is being killed may still answer. */
const PATIENCE_MS = 10_000;
/** Milliseconds between looks whether the socket's file is still there. */
const LOOK_EVERY_MS = 2_000;

export interface ServerOptions {
  readonly socket: string;
  readonly clock: Clock;
  readonly handle: (request: CniRequest) => Promise<CniAnswer>;
  readonly probes: ProbeOptions;
  readonly log: Log;
  /** Milliseconds in which a request must be whole. Defaults to 10,000. */
  readonly requestTimeoutMs?: number;
  /** Milliseconds that a process which answers at the socket is given to end. Defaults to 10,000. */
  readonly patienceMs?: number;
}

export interface AgentServer {
  close(): Promise<void>;
}

interface HttpAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

const text = (status: number, body: string): HttpAnswer => ({
  status,
  contentType: 'text/plain',
  body: `${body}\n`,
});

/** Reads bodies, none larger than a request may be, and all together no more than `MAX_BODIES_BYTES`. */
class Bodies {
  #bytes = 0;

  /** The body, or why it is not read any further. */
  async read(request: IncomingMessage): Promise<string | HttpAnswer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      // Left alive at the end: the refusal goes out over the same connection.
      for await (const chunk of request.iterator({ destroyOnReturn: false })) {
        // A request without an encoding yields buffers.
        const data = chunk as Buffer;
        bytes += data.length;
        this.#bytes += data.length;
        if (bytes > MAX_REQUEST_BYTES) {
          return text(413, `the request is larger than ${MAX_REQUEST_BYTES} bytes`);
        }
        if (this.#bytes > MAX_BODIES_BYTES) {
          return text(503, 'too many large requests at the same time; try again');
        }
        chunks.push(data);
      }
      return Buffer.concat(chunks).toString('utf8');
    } finally {
      this.#bytes -= bytes;
    }
  }
}

async function answerCni(body: string, handle: ServerOptions['handle']): Promise<HttpAnswer> {
  let raw: unknown;
  try {
    raw = JSON.parse(body);
  } catch (error) {
    return text(400, `the body is not JSON: ${String(error)}`);
  }
  const request = requestOf(raw);
  if (request === undefined) {
    return text(400, 'the body is not {"command", "env": {…}, "config": "…"}');
  }
  const answer = await handle(request);
  return { status: 200, contentType: 'application/json', body: JSON.stringify(answer) };
}

/** As it goes over the wire; the connection ends with it. */
function wireText({ status, contentType, body }: HttpAnswer): string {
  const reason = STATUS_CODES[status] ?? '';
  return `HTTP/1.1 ${status} ${reason}\r\ncontent-type: ${contentType}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`;
}

/** Answers CNI requests and what the agent shows; does not listen yet. */
function newServer({
  handle,
  log,
  clock,
  probes,
  requestTimeoutMs = REQUEST_TIMEOUT_MS,
}: ServerOptions): Server {
  const bodies = new Bodies();
  const routes = probeRoutes(probes);
  const respond = async (request: IncomingMessage): Promise<HttpAnswer> => {
    const url = URL.parse(request.url ?? '/', 'http://agent');
    const route = url === null ? undefined : routes.get(url.pathname);
    if (url?.pathname === CNI_ENDPOINT) {
      if (request.method !== 'POST') return text(405, 'use POST');
      const body = await bodies.read(request);
      return typeof body === 'string' ? await answerCni(body, handle) : body;
    }
    if (url === null || route === undefined) {
      return text(404, `not found: the paths are ${[CNI_ENDPOINT, ...routes.keys()].join(' ')}`);
    }
    return request.method === 'GET' ? await route(url) : text(405, 'use GET');
  };
  const failed = (error: unknown, path: string | undefined): HttpAnswer => {
    log.error({ error, path }, 'a request of the socket failed');
    return text(500, 'internal error');
  };
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let answer: HttpAnswer;
    try {
      answer = await respond(request);
    } catch (error) {
      if (request.destroyed && !request.complete) {
        // Killed by its runtime, or by hand: nobody is left to answer, and nothing was begun.
        log.debug({ error }, 'a client of the socket was gone before its request was whole');
        return;
      }
      answer = failed(error, request.url);
    }
    const body = Buffer.from(answer.body);
    response.writeHead(answer.status, {
      'content-type': answer.contentType,
      'content-length': body.length,
      // What is left of a body that was refused must not be taken for the next request.
      ...(!request.complete && { connection: 'close' }),
    });
    response.end(body);
  };
  const limits = {
    requestTimeout: requestTimeoutMs,
    headersTimeout: requestTimeoutMs,
    connectionsCheckingInterval: requestTimeoutMs / 5,
  };
  const made = createServer(limits, (request, response) => {
    serve(request, response).catch((error: unknown) => {
      log.warn({ error }, 'an answer could not be sent');
      response.destroy();
    });
  });
  takeWholeRequests(made, {
    clock,
    timeoutMs: requestTimeoutMs,
    answer: (body, reply) => {
      answerCni(body, handle)
        .catch((error: unknown) => failed(error, CNI_ENDPOINT))
        .then((answer) => reply(wireText(answer)))
        .catch((error: unknown) => log.warn({ error }, 'an answer could not be sent'));
    },
  });
  return made;
}

/**
 * Listens until closed.
 * @throws Error if the socket cannot be made, or its directory is not safe; it names the path
 */
export async function serveSocket(options: ServerOptions): Promise<AgentServer> {
  const { socket, log, clock, patienceMs = PATIENCE_MS } = options;
  const listen = async (): Promise<SocketFile> => {
    const bound = await bindSocket(server, socket);
    server.on('error', (error) => log.error({ error }, 'the socket has an error'));
    return bound;
  };

  let server = newServer(options);
  await prepareSocket(socket, clock, patienceMs);
  let file = await listen();
  /** Servers whose file is gone and which still answer what they began. */
  const ending = new Set<Promise<void>>();
  const stop = new AbortController();
  const listenAnew = async (): Promise<void> => {
    // It throws where somebody else serves there. Afterwards nothing lies there that closing the old one could remove.
    await prepareSocket(socket, clock, 0);
    const old = closeServer(server).finally(() => ending.delete(old));
    ending.add(old);
    server = newServer(options);
    file = await listen();
  };
  const guard = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      try {
        if (!isStillThere(file)) {
          log.error({ socket }, 'the socket was removed or replaced by somebody; listening anew');
          await listenAnew();
        }
      } catch (error) {
        log.error({ socket, error }, 'the socket cannot be made anew; trying again');
      }
      await pause(clock, LOOK_EVERY_MS, stop.signal);
    }
  };
  const guarded = guard();
  return {
    close: async () => {
      stop.abort();
      await guarded;
      await Promise.all([closeServer(server), ...ending]);
    },
  };
}

/** Takes nothing new, and ends when what was begun is answered. */
async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  await closed;
}
