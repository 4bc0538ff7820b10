/**
 * Cuts what comes over one connection into HTTP/1.1 answers (RFC 9112): heads, pieces of bodies, ends.
 *
 * - Where two readings of the bytes are possible it refuses, so that one answer is never taken for another.
 * - Interim answers (1xx) are passed over, trailers are read and dropped.
 * - Memory is bounded: bodies are passed on as they come, heads are limited.
 * - Does NOT know of requests that have answers without a body in spite of their head (HEAD, CONNECT), nor of any
 *   transfer coding but `chunked`.
 */
import type { AnswerHead } from './http.ts';

/** What an answer consists of, told as it comes. */
export interface AnswerParts {
  onHead(head: AnswerHead): void;
  onData(chunk: Buffer): void;
  /** @param isLast no other answer can follow on this connection */
  onEnd(isLast: boolean): void;
}

/** Bytes of a status line with all header fields; Go's server writes less than a thousand. */
const MAX_HEAD_BYTES = 64 * 1024;
/** Bytes of the line with the size of a chunk; extensions count. */
const MAX_SIZE_LINE_BYTES = 1024;
const NOTHING: Buffer = Buffer.alloc(0);
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: .*)?$/;
/** A name, and a value without what others take for its end (RFC 9110, 5.5). */
const FIELD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*$/;

/**
 * - `head`, `size`, `trailers`: lines are awaited.
 * - `body`, `chunk`: so many bytes are left of it.
 * - `chunkEnd`: the line end after a chunk.
 * - `rest`: everything until the connection closes.
 */
type State = 'head' | 'body' | 'size' | 'chunk' | 'chunkEnd' | 'trailers' | 'rest';

interface Fields {
  readonly head: AnswerHead;
  readonly length: number | undefined;
  readonly isChunked: boolean;
  readonly isLast: boolean;
}

interface Values {
  readonly length: string | undefined;
  readonly coding: string | undefined;
  /** Of all lines, in lower case. */
  readonly connection: string;
  readonly retryAfter: string | undefined;
}

/** Adds one value of a field that must not have two that differ. */
function only(name: string, known: string | undefined, value: string): string {
  if (known !== undefined && known !== value) throw new Error(`two different ${name}: ${known}, ${value}`);
  return value;
}

/** Where the name ends. @throws Error that says which line is no field */
function colonOf(line: string): number {
  if (!FIELD.test(line)) throw new Error(`not a header field: ${JSON.stringify(line.slice(0, 80))}`);
  return line.indexOf(':');
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/** Strips less than `trim`, which takes for white space what others do not (RFC 9110, 5.6.3). */
function valueOf(line: string, colon: number): string {
  let start = colon + 1;
  let end = line.length;
  while (start < end && isBlank(line.charCodeAt(start))) start += 1;
  while (end > start && isBlank(line.charCodeAt(end - 1))) end -= 1;
  return line.slice(start, end);
}

/** The values that matter, of the lines after the first. @throws Error that says which line is no field */
function valuesOf(lines: readonly string[]): Values {
  let length: string | undefined;
  let coding: string | undefined;
  let connection = '';
  let retryAfter: string | undefined;
  for (let i = 1; i < lines.length; i += 1) {
    const line = lines[i] ?? '';
    const colon = colonOf(line);
    const name = line.slice(0, colon);
    switch (name.toLowerCase()) {
      case 'content-length':
        length = only(name, length, valueOf(line, colon));
        break;
      case 'transfer-encoding':
        coding = only(name, coding, valueOf(line, colon).toLowerCase());
        break;
      case 'connection':
        connection += `,${line.slice(colon + 1).toLowerCase()}`;
        break;
      case 'retry-after':
        retryAfter ??= valueOf(line, colon);
        break;
    }
  }
  return { length, coding, connection, retryAfter };
}

/** @throws Error that says which line is not HTTP */
function fieldsOf(text: string): Fields {
  const lines = text.split('\r\n');
  const status = STATUS_LINE.exec(lines[0] ?? '');
  if (status === null)
    throw new Error(`not an HTTP answer: ${JSON.stringify((lines[0] ?? '').slice(0, 80))}`);
  const { length, coding, connection, retryAfter } = valuesOf(lines);
  if (length !== undefined && !/^\d{1,15}$/.test(length)) throw new Error(`content-length ${length}`);
  if (coding !== undefined && coding !== 'chunked') throw new Error(`transfer-encoding ${coding}`);
  const options = connection.split(',').map((option) => option.trim());
  const isOld = status[1] === '0';
  const isPersistent = !options.includes('close') && (!isOld || options.includes('keep-alive'));
  return {
    head: { status: Number(status[2]), retryAfter },
    length: length === undefined ? undefined : Number(length),
    isChunked: coding !== undefined,
    // With both, or with a coding in HTTP/1.0, somebody on the way may have understood it otherwise (RFC 9112, 6.1 and 6.3).
    isLast: !isPersistent || (coding !== undefined && (length !== undefined || isOld)),
  };
}

export class AnswerReader {
  readonly #parts: AnswerParts;
  #state: State = 'head';
  /** Bytes of a line, or of a head, that is not whole yet. */
  #pending: Buffer = NOTHING;
  /** Bytes that the body or the chunk still has. */
  #left = 0;
  #isLast = false;
  #isOver = false;

  constructor(parts: AnswerParts) {
    this.#parts = parts;
  }

  /**
   * Takes the next bytes of the connection. What comes after an answer's end in the same piece makes it the last: nobody has
   * asked for it.
   * @throws Error if they are not HTTP; the connection is of no use then
   */
  push(chunk: Buffer): void {
    const bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    this.#pending = NOTHING;
    let at = 0;
    while (at < bytes.length && !this.#isOver) {
      const next = this.#step(bytes, at);
      if (next === undefined) {
        this.#pending = at === 0 ? bytes : bytes.subarray(at);
        return;
      }
      at = next;
    }
  }

  /**
   * The server has said that nothing more comes.
   * @throws Error if an answer is not whole
   */
  close(): void {
    if (this.#isOver) return;
    if (this.#state === 'rest') this.#end(true);
    else if (this.#state !== 'head' || this.#pending.length > 0) throw new Error('the answer breaks off');
    this.#isOver = true;
  }

  /** Where to go on, or undefined if more bytes are needed first. */
  #step(bytes: Buffer, at: number): number | undefined {
    switch (this.#state) {
      case 'head':
        return this.#head(bytes, at);
      case 'body':
      case 'chunk':
        return this.#counted(bytes, at);
      case 'rest':
        this.#parts.onData(at === 0 ? bytes : bytes.subarray(at));
        return bytes.length;
      case 'size':
      case 'chunkEnd':
      case 'trailers':
        return this.#line(bytes, at);
    }
  }

  #head(bytes: Buffer, at: number): number | undefined {
    const end = bytes.indexOf('\r\n\r\n', at, 'latin1');
    if ((end === -1 ? bytes.length : end) - at > MAX_HEAD_BYTES) {
      throw new Error(`the head of the answer is longer than ${MAX_HEAD_BYTES} bytes`);
    }
    if (end === -1) return undefined;
    const { head, length, isChunked, isLast } = fieldsOf(bytes.toString('latin1', at, end));
    const next = end + 4;
    if (head.status === 101) throw new Error('the server switches to another protocol');
    if (head.status < 200) return next;
    this.#isLast = isLast;
    this.#parts.onHead(head);
    if (head.status === 204 || head.status === 304) this.#end(next < bytes.length);
    else if (isChunked) this.#state = 'size';
    else if (length === undefined) this.#state = 'rest';
    else if (length === 0) this.#end(next < bytes.length);
    else {
      this.#state = 'body';
      this.#left = length;
    }
    return next;
  }

  #counted(bytes: Buffer, at: number): number {
    const next = Math.min(bytes.length, at + this.#left);
    this.#left -= next - at;
    const isWhole = this.#left === 0;
    const isBody = this.#state === 'body';
    if (isWhole && !isBody) this.#state = 'chunkEnd';
    this.#parts.onData(at === 0 && next === bytes.length ? bytes : bytes.subarray(at, next));
    if (isWhole && isBody) this.#end(next < bytes.length);
    return next;
  }

  #line(bytes: Buffer, at: number): number | undefined {
    const end = bytes.indexOf('\r\n', at, 'latin1');
    const limit = this.#state === 'trailers' ? MAX_HEAD_BYTES : MAX_SIZE_LINE_BYTES;
    if ((end === -1 ? bytes.length : end) - at > limit) throw new Error('a line of the answer is too long');
    if (end === -1) return undefined;
    const line = bytes.toString('latin1', at, end);
    const next = end + 2;
    if (this.#state === 'trailers') {
      if (line === '') this.#end(next < bytes.length);
      else colonOf(line);
    } else if (this.#state === 'chunkEnd') {
      if (line !== '') throw new Error('a chunk is longer than it says');
      this.#state = 'size';
    } else {
      const size = /^([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?$/.exec(line)?.[1];
      if (size === undefined)
        throw new Error(`not the size of a chunk: ${JSON.stringify(line.slice(0, 80))}`);
      this.#left = Number.parseInt(size, 16);
      this.#state = this.#left === 0 ? 'trailers' : 'chunk';
    }
    return next;
  }

  #end(isLast: boolean): void {
    this.#state = 'head';
    this.#isOver = isLast || this.#isLast;
    this.#parts.onEnd(this.#isOver);
  }
}
