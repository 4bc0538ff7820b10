/**
 * The request that the binary sends, answered without Node's HTTP server, which costs a fifth of an ADD's CPU (ADR 0027).
 *
 * - It comes in one piece, on a connection of its own, which its answer closes.
 * - Whatever is otherwise goes to the HTTP server as if nobody had looked at it: another path, a request in pieces or in
 *   another form, a second one behind it, anything that is not HTTP.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../../kube/clock.ts';
import { CNI_ENDPOINT } from '../protocol.ts';

const START = Buffer.from(`POST ${CNI_ENDPOINT} HTTP/1.1\r\n`);
const NO_MORE_FIELDS = '\r\n\r\n';
/** Those that do not change how the rest is read, and the length of it. */
const FIELD = /^(host|connection|content-type|accept|user-agent|content-length): *([!-~]+)$/i;

/** The body of a chunk that is the whole of a usual request; undefined: let HTTP's own rules decide. */
export function wholeBody(chunk: Buffer): string | undefined {
  if (!chunk.subarray(0, START.length).equals(START)) return undefined;
  const end = chunk.indexOf(NO_MORE_FIELDS, START.length - 2, 'latin1');
  if (end === -1) return undefined;
  const body = end + NO_MORE_FIELDS.length;
  let length: number | undefined;
  for (const field of chunk.toString('latin1', START.length, end).split('\r\n')) {
    const known = FIELD.exec(field);
    if (known === null) return undefined;
    const [, name = '', value = ''] = known;
    if (name.toLowerCase() !== 'content-length') continue;
    if (length !== undefined || !/^\d{1,8}$/.test(value)) return undefined;
    length = Number(value);
  }
  return length !== undefined && body + length === chunk.length ? chunk.toString('utf8', body) : undefined;
}

export interface WholeRequestOptions {
  readonly clock: Clock;
  /** Milliseconds in which the first byte must be there. */
  readonly timeoutMs: number;
  /** Calls `reply` once, with the whole HTTP answer to a request with that body. */
  readonly answer: (body: string, reply: (text: string) => void) => void;
}

/** Takes such requests from a server that does not listen yet. */
export function takeWholeRequests(server: Server, options: WholeRequestOptions): void {
  const others = server.listeners('connection');
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    look(socket, options, () => {
      for (const listener of others) Reflect.apply(listener, server, [socket]);
    });
  });
}

function look(socket: Socket, { clock, timeoutMs, answer }: WholeRequestOptions, leave: () => void): void {
  // Of no use to anybody: nothing has come, or nobody is left to hear the answer.
  const hangUp = (): void => {
    cancel();
    socket.destroy();
  };
  const onFirst = (chunk: Buffer): void => {
    cancel();
    socket.off('data', onFirst).off('end', hangUp);
    const body = wholeBody(chunk);
    if (body === undefined) {
      socket.off('error', hangUp);
      socket.unshift(chunk);
      leave();
      return;
    }
    answer(body, (text) => {
      // Not within the callback: for a socket that is destroyed in it Node makes an error that nobody asks for.
      socket.write(text, () => queueMicrotask(hangUp));
    });
  };
  const cancel = clock.after(timeoutMs, hangUp);
  socket.on('data', onFirst).on('end', hangUp).on('error', hangUp);
}
