/** One HTTP/1.1 exchange over a unix socket. */
import { CNI_ENDPOINT, type CniAnswer, MAX_ANSWER_BYTES, parseAnswer } from '../protocol.ts';
import type { Host } from './host.ts';

/**
 * Why there is no answer. away: nobody accepted, nothing was sent; broken: closed before a whole answer and
 * late: none in time, so what the agent did is unknown; garbage: whoever answered does not speak the protocol.
 */
export interface Failure {
  readonly kind: 'away' | 'broken' | 'late' | 'garbage';
  readonly reason: string;
}

const LATE: Failure = { kind: 'late', reason: 'no answer in time' };
const CLOSED: Failure = { kind: 'broken', reason: 'the connection was closed before the answer' };
/** Headers that are longer are nobody's whom we know. */
const MAX_HEAD_BYTES = 16 * 1024;

/** Posts `body` to the agent. Never rejects, and settles by `deadline` on the monotonic clock. */
export async function post(
  path: string,
  body: Uint8Array,
  deadline: number,
  host: Host,
): Promise<CniAnswer | Failure> {
  let descriptor: number | undefined;
  try {
    descriptor = await host.connect(path);
    return await exchange(descriptor, body, deadline, host);
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    return { kind: descriptor === undefined ? 'away' : 'broken', reason };
  } finally {
    if (descriptor !== undefined) host.close(descriptor);
  }
}

async function exchange(
  descriptor: number,
  body: Uint8Array,
  deadline: number,
  host: Host,
): Promise<CniAnswer | Failure> {
  const head =
    `POST ${CNI_ENDPOINT} HTTP/1.1\r\nHost: berth\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
  const left = (): number => Math.max(deadline - host.monotonic(), 0);
  if (!(await host.send(descriptor, concat(host.encode(head), body), left()))) return LATE;
  let received: Uint8Array = new Uint8Array();
  for (;;) {
    const chunk = await host.receive(descriptor, left());
    if (chunk === undefined) return LATE;
    if (chunk.length === 0) return CLOSED;
    received = concat(received, chunk);
    const outcome = parseResponse(received, host);
    if (typeof outcome === 'string')
      return { kind: 'garbage', reason: `its answer cannot be used: ${outcome}` };
    if (outcome !== undefined) return outcome;
  }
}

function concat(one: Uint8Array, other: Uint8Array): Uint8Array {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

/** The answer, or why there will be none; undefined while more is needed. */
function parseResponse(received: Uint8Array, host: Host): CniAnswer | string | undefined {
  const protocol = 'HTTP/1.1 ';
  const start = String.fromCharCode(...received.subarray(0, MAX_HEAD_BYTES));
  if (!protocol.startsWith(start.slice(0, protocol.length))) return 'it is not HTTP/1.1';
  const end = start.indexOf('\r\n\r\n');
  if (end < 0) return start.length < MAX_HEAD_BYTES ? undefined : 'its headers have no end';
  const head = start.slice(0, end + 4);
  const length = /^content-length:[ \t]*(\d{1,9})[ \t]*\r$/im.exec(head)?.[1];
  if (length === undefined) return 'it has no Content-Length';
  const size = head.length + Number(length);
  if (size > MAX_ANSWER_BYTES) return `it is larger than ${MAX_ANSWER_BYTES} bytes`;
  if (received.length < size) return undefined;
  const body = host.decode(received.subarray(head.length, size)) ?? 'bytes that are no text';
  const status = head.slice(protocol.length, protocol.length + 3);
  return (status === '200' ? parseAnswer(body) : undefined) ?? `status ${status}, ${body.slice(0, 200)}`;
}
