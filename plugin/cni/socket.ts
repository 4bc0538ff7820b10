/** One HTTP/1.1 exchange over a unix socket, by hand: node:http and node:net would double the start-up time. */
import { CNI_ENDPOINT, type CniAnswer, MAX_ANSWER_BYTES, parseAnswer } from '../protocol.ts';

/** A connected socket. */
export interface Stream {
  /** How many of the bytes were taken; the others are for the next `drain`. Below zero: none. */
  write(bytes: Uint8Array): number;
  terminate(): void;
}

export interface StreamEvents {
  open(stream: Stream): void;
  drain(stream: Stream): void;
  data(stream: Stream, chunk: Uint8Array): void;
  error(stream: Stream, error: NodeJS.ErrnoException): void;
  close(stream: Stream): void;
}

/** The outside world: `kube/clock.ts` is out of this program's reach. */
export interface Edge {
  /** Wall clock, milliseconds since the Unix epoch. */
  now(): number;
  /** Milliseconds that never go back. */
  monotonic(): number;
  /** Uniform in [0, 1). */
  random(): number;
  /** Calls `run` after `ms` milliseconds; the result cancels it. */
  after(ms: number, run: () => void): () => void;
  /** @throws an error with `code` if nobody accepts on the unix socket `path` */
  connect(path: string, events: StreamEvents): Promise<unknown>;
}

/**
 * Why there is no answer. away: nobody accepted, nothing was sent; broken: closed before a whole answer and
 * late: none in time, so what the agent did is unknown; garbage: whoever answered does not speak the protocol.
 */
export interface Failure {
  readonly kind: 'away' | 'broken' | 'late' | 'garbage';
  readonly reason: string;
}

/** Posts `body` to the agent. Never rejects, and settles within `timeoutMs` milliseconds. */
export function post(
  path: string,
  body: string,
  timeoutMs: number,
  edge: Edge,
): Promise<CniAnswer | Failure> {
  return new Promise((resolve) => {
    let accepted: Stream | undefined;
    let received: Buffer = Buffer.alloc(0);
    let request: Uint8Array = Buffer.from(
      `POST ${CNI_ENDPOINT} HTTP/1.1\r\nHost: berth\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
    let settled = false;
    const finish = (outcome: CniAnswer | Failure): void => {
      settled = true;
      cancel();
      resolve(outcome);
      accepted?.terminate();
    };
    const fail = (kind: Failure['kind'], reason: string): void => finish({ kind, reason });
    const cancel = edge.after(Math.max(timeoutMs, 0), () => fail('late', 'no answer in time'));
    const send = (stream: Stream): void => {
      accepted = stream;
      if (settled) stream.terminate();
      else if (request.length > 0) request = request.subarray(Math.max(stream.write(request), 0));
    };
    const data = (_: Stream, chunk: Uint8Array): void => {
      received = Buffer.concat([received, chunk]);
      const outcome = parseResponse(received);
      if (typeof outcome === 'string') fail('garbage', `its answer cannot be used: ${outcome}`);
      else if (outcome !== undefined) finish(outcome);
    };
    const error = (_: Stream, e: NodeJS.ErrnoException): void => fail('broken', e.code ?? e.message);
    const close = (): void => fail('broken', 'the connection was closed before the answer');
    edge
      .connect(path, { open: send, drain: send, data, error, close })
      .catch((problem: NodeJS.ErrnoException) => fail('away', problem.code ?? problem.message));
  });
}

/** The answer, or why there will be none; undefined while more is needed. */
function parseResponse(received: Buffer): CniAnswer | string | undefined {
  const protocol = 'HTTP/1.1 ';
  const end = received.indexOf('\r\n\r\n');
  const head = received.toString('latin1', 0, end < 0 ? protocol.length : end + 4);
  if (!protocol.startsWith(head.slice(0, protocol.length))) return 'it is not HTTP/1.1';
  const length = /^content-length:[ \t]*(\d{1,9})[ \t]*\r$/im.exec(head)?.[1];
  if (end >= 0 && length === undefined) return 'it has no Content-Length';
  const size = head.length + Number(length ?? 0);
  if (Math.max(size, received.length) > MAX_ANSWER_BYTES)
    return `it is larger than ${MAX_ANSWER_BYTES} bytes`;
  if (end < 0 || received.length < size) return undefined;
  const body = received.toString('utf8', head.length, size);
  const status = head.slice(protocol.length, protocol.length + 3);
  return (status === '200' ? parseAnswer(body) : undefined) ?? `status ${status}, ${body.slice(0, 200)}`;
}
