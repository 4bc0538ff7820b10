/** A stand-in for the agent at the other end of the socket. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createRawServer, type Server, type Socket } from 'node:net';
import type { CniAnswer, CniRequest } from '../../protocol.ts';

export interface Received {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly request: CniRequest;
}

/** Answers one request, or does something worse to its connection. */
export type Behaviour = (
  received: Received,
  response: ServerResponse,
  socket: Socket,
) => CniAnswer | undefined;

/** Listens on a unix socket with Node's own HTTP server, and keeps what it received. */
export class TestAgent implements AsyncDisposable {
  readonly received: Received[] = [];
  readonly #server: Server;

  private constructor(behaviour: Behaviour) {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { method, url, headers } = request;
        // Tests look at what it holds.
        const body = JSON.parse(Buffer.concat(chunks).toString()) as CniRequest;
        const received = { method, url, headers, request: body };
        this.received.push(received);
        const answer = behaviour(received, response, request.socket);
        if (answer !== undefined) response.end(JSON.stringify(answer));
      });
    });
  }

  static async listen(path: string, behaviour: Behaviour): Promise<TestAgent> {
    const agent = new TestAgent(behaviour);
    await listening(agent.#server, path);
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }
}

/** Somebody on the socket who sends `bytes` to whoever connects, and then hangs up, or does not. */
export async function listenRaw(
  path: string,
  bytes: string | Buffer,
  hangUp: boolean,
): Promise<AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createRawServer((socket) => {
    sockets.add(socket);
    // The other side may be gone before everything is sent.
    socket.on('error', () => socket.destroy());
    socket.once('data', () => (hangUp ? socket.end(bytes) : socket.write(bytes)));
  });
  await listening(server, path);
  return {
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => resolve());
  });
}
