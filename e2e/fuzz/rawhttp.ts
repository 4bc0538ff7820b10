/** Writes raw bytes to a unix socket and reads what comes back as HTTP responses, strictly. */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HttpInput } from './input.ts';

/** Milliseconds within which an answer, or the end of the connection, must have come. */
const PATIENCE_MS = 20_000;

export interface RawResponse {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** A body and where it ends; undefined if not all of it is there yet. */
type Body = { readonly text: string; readonly end: number } | undefined;

function lengthAt(bytes: Buffer, at: number, length: string): Body {
  if (!/^\d+$/.test(length)) throw new Error(`not a length: ${length}`);
  const end = at + Number(length);
  return end > bytes.length ? undefined : { text: bytes.toString('utf8', at, end), end };
}

function chunksAt(bytes: Buffer, start: number): Body {
  let text = '';
  for (let at = start; ; ) {
    const line = bytes.indexOf('\r\n', at);
    if (line === -1) return undefined;
    const digits = bytes.toString('latin1', at, line);
    if (!/^[0-9a-f]+$/i.test(digits)) throw new Error(`not the size of a chunk: ${digits}`);
    const size = Number.parseInt(digits, 16);
    const end = line + 2 + size + 2;
    if (end > bytes.length) return undefined;
    if (size === 0) return { text, end };
    text += bytes.toString('utf8', line + 2, line + 2 + size);
    at = end;
  }
}

/** The responses in a stream of bytes, and whether the last one is whole. @throws Error if it is something else */
export function parseResponses(bytes: Buffer): { responses: RawResponse[]; whole: boolean } {
  const responses: RawResponse[] = [];
  let at = 0;
  while (at < bytes.length) {
    const end = bytes.indexOf('\r\n\r\n', at);
    if (end === -1) return { responses, whole: false };
    const [first = '', ...lines] = bytes.toString('latin1', at, end).split('\r\n');
    const status = /^HTTP\/1\.1 ([1-5]\d\d)( [\x20-\x7e]*)?$/.exec(first)?.[1];
    if (status === undefined) throw new Error(`not a status line: ${JSON.stringify(first)}`);
    const headers = new Map(
      lines.map((line): [string, string] => {
        const match = /^([!-9;-~]+):[ \t]*(.*)$/.exec(line);
        if (match === null) throw new Error(`not a header: ${JSON.stringify(line)}`);
        return [(match[1] ?? '').toLowerCase(), match[2] ?? ''];
      }),
    );
    const chunked = headers.get('transfer-encoding') === 'chunked';
    // 1xx and 204 have no body; a refusal of Node's parser has none and closes.
    const body = chunked
      ? chunksAt(bytes, end + 4)
      : lengthAt(bytes, end + 4, headers.get('content-length') ?? '0');
    if (body === undefined) return { responses, whole: false };
    if (!status.startsWith('1')) responses.push({ status: Number(status), headers, body: body.text });
    at = body.end;
  }
  return { responses, whole: true };
}

/** What came back. `closed`: the agent ended the connection. */
export interface Exchange {
  readonly responses: readonly RawResponse[];
  readonly closed: boolean;
}

/**
 * Writes the input, behaves as it says, and waits for an answer or the end.
 * @throws Error if neither comes in time, or if what comes is not HTTP
 */
export async function exchange(socketPath: string, { writes, afterwards }: HttpInput): Promise<Exchange> {
  const socket = connect({ path: socketPath, allowHalfOpen: true });
  const chunks: Buffer[] = [];
  const settled = Promise.withResolvers<'answered' | 'closed'>();
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    try {
      const { responses, whole } = parseResponses(Buffer.concat(chunks));
      if (whole && responses.length > 0) settled.resolve('answered');
    } catch (error) {
      settled.reject(error);
    }
  });
  socket.on('end', () => settled.resolve('closed'));
  socket.on('close', () => settled.resolve('closed'));
  // Who is refused in the middle of his request is cut off while he writes: that is an end, too.
  socket.on('error', () => settled.resolve('closed'));
  try {
    for (const text of writes) {
      if (socket.writable) socket.write(Buffer.from(text, 'latin1'));
      if (writes.length > 1) await sleep(1);
    }
    if (afterwards === 'destroy') return { responses: [], closed: false };
    if (afterwards === 'end' && socket.writable) socket.end();
    const late = sleep(PATIENCE_MS, 'late' as const, { ref: false });
    const how = await Promise.race([settled.promise, late]);
    if (how === 'late') throw new Error(`neither an answer nor an end within ${PATIENCE_MS} ms`);
    return { responses: parseResponses(Buffer.concat(chunks)).responses, closed: how === 'closed' };
  } finally {
    socket.destroy();
  }
}
