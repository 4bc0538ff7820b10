/**
 * The agent's unix socket: `POST /v1/cni` for the binary, and what the agent shows about itself by GET.
 *
 * - Mode 0600: who may connect may have any address.
 * - Input is bounded in size and in time.
 * - `close` answers what was begun.
 */
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import * as path from 'node:path';
import type { Log } from '../../kube/log.ts';
import { type ProbeOptions, probeRoutes } from '../../process/httpserver.ts';
import { CNI_ENDPOINT, type CniAnswer, type CniRequest, MAX_REQUEST_BYTES } from '../protocol.ts';
import { cniRequestSchema } from './deletes.ts';

export interface ServerOptions {
  readonly socket: string;
  readonly handle: (request: CniRequest) => Promise<CniAnswer>;
  readonly probes: ProbeOptions;
  readonly log: Log;
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

/** undefined for a body that is too large; the rest of it is then not read. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Left alive at the end: the refusal goes out over the same connection.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    // A request without an encoding yields buffers.
    const data = chunk as Buffer;
    bytes += data.length;
    if (bytes > MAX_REQUEST_BYTES) {
      return undefined;
    }
    chunks.push(data);
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function answerCni(request: IncomingMessage, handle: ServerOptions['handle']): Promise<HttpAnswer> {
  const body = await readBody(request);
  if (body === undefined) {
    return text(413, `the request is larger than ${MAX_REQUEST_BYTES} bytes`);
  }
  let raw: unknown;
  try {
    raw = JSON.parse(body);
  } catch (error) {
    return text(400, `the body is not JSON: ${String(error)}`);
  }
  const parsed = cniRequestSchema.safeParse(raw);
  if (!parsed.success) {
    return text(400, 'the body is not {"command", "env": {…}, "config": "…"}');
  }
  const answer = await handle(parsed.data);
  return { status: 200, contentType: 'application/json', body: JSON.stringify(answer) };
}

/** A socket file that is left over, or another agent's that this one replaces. Nothing else is removed. */
function removeOldSocket(socket: string): void {
  const stat = fs.lstatSync(socket, { throwIfNoEntry: false });
  if (stat === undefined) {
    return;
  }
  if (!stat.isSocket()) {
    throw new Error(`${socket} exists and is not a socket: move it away, or choose another --socket`);
  }
  fs.unlinkSync(socket);
}

/**
 * Listens until closed.
 * @throws Error if the socket cannot be made; it names the path
 */
export async function serveSocket(options: ServerOptions): Promise<AgentServer> {
  const { socket, handle, log } = options;
  const routes = probeRoutes(options.probes);
  const respond = async (request: IncomingMessage): Promise<HttpAnswer> => {
    const url = URL.parse(request.url ?? '/', 'http://agent');
    const route = url === null ? undefined : routes.get(url.pathname);
    if (url?.pathname === CNI_ENDPOINT) {
      return request.method === 'POST' ? await answerCni(request, handle) : text(405, 'use POST');
    }
    if (url === null || route === undefined) {
      return text(404, `not found: the paths are ${[CNI_ENDPOINT, ...routes.keys()].join(' ')}`);
    }
    return request.method === 'GET' ? await route(url) : text(405, 'use GET');
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
      log.error({ error, path: request.url }, 'a request of the socket failed');
      answer = text(500, 'internal error');
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
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 10_000 }, (request, response) => {
    serve(request, response).catch((error: unknown) => {
      log.warn({ error }, 'an answer could not be sent');
      response.destroy();
    });
  });
  fs.mkdirSync(path.dirname(socket), { recursive: true, mode: 0o700 });
  removeOldSocket(socket);
  // The mode must be right from the first moment: chmod afterwards leaves a gap. `listen` binds before it returns.
  const umask = process.umask(0o177);
  try {
    server.listen(socket);
  } finally {
    process.umask(umask);
  }
  await once(server, 'listening');
  server.on('error', (error) => log.error({ error }, 'the socket has an error'));
  return {
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeIdleConnections();
      await closed;
    },
  };
}
