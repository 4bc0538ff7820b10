/**
 * The body of a watch as lines of JSON, pulled by the reader.
 *
 * - Lines are cut from the byte stream without ever looking twice at a byte.
 * - A slow reader holds the server back (the socket is paused), instead of filling memory.
 * - Ends without an error where the server ended the stream properly; a cut connection is `NoAnswer`.
 * - Silence (no byte for `idleTimeoutMs` while the reader waits) is `NoAnswer` too.
 */
import type { Clock } from './clock.ts';
import { type HttpAnswer, NoAnswer } from './exchange.ts';
import type { AnswerHead, AnswerReceiver, Dispatcher, Flow, HttpRequest } from './http.ts';

export interface WatchLimits {
  readonly clock: Clock;
  /** Milliseconds until the response headers must be there. */
  readonly timeoutMs: number;
  readonly idleTimeoutMs?: number | undefined;
  /** A longer line ends the watch. */
  readonly maxLineBytes: number;
  readonly signal?: AbortSignal | undefined;
}

/** Reading stops while this many lines wait. */
const HIGH_WATER = 1000;
const NEWLINE = 0x0a;

/** Cuts a byte stream into lines. Pure; linear in the bytes given. */
export class LineSplitter {
  #parts: Buffer[] = [];
  #bytes = 0;

  /** Bytes of the line that is not complete yet. */
  get pending(): number {
    return this.#bytes;
  }

  /** The lines that `chunk` completes, without their newline; empty lines are left out. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      const line = this.#take(chunk.subarray(start, end));
      if (line !== '') lines.push(line);
      start = end + 1;
    }
    if (start < chunk.length) {
      this.#parts.push(chunk.subarray(start));
      this.#bytes += chunk.length - start;
    }
    return lines;
  }

  #take(last: Buffer): string {
    if (this.#parts.length === 0) return last.toString('utf8');
    const line = Buffer.concat([...this.#parts, last]).toString('utf8');
    this.#parts = [];
    this.#bytes = 0;
    return line;
  }
}

/** A running watch. `start` it, then pull with `next`, and `stop` it in any case. */
export class WatchStream implements AnswerReceiver {
  readonly #limits: WatchLimits;
  readonly #splitter = new LineSplitter();
  readonly #lines: string[] = [];
  #flow: Flow | undefined;
  #head: AnswerHead | undefined;
  #refusal = '';
  #opened: PromiseWithResolvers<HttpAnswer | undefined> | undefined;
  #wake: (() => void) | undefined;
  #ended = false;
  #failure: { readonly reason: unknown } | undefined;
  #cancelTimer: () => void;
  #lastByteAt = 0;
  #paused = false;

  constructor(limits: WatchLimits) {
    this.#limits = limits;
    this.#cancelTimer = limits.clock.after(limits.timeoutMs, () =>
      this.#fail(new NoAnswer(`no answer within ${limits.timeoutMs} ms`, this.#flow !== undefined)),
    );
    limits.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  readonly #onAbort = (): void => this.#fail(this.#limits.signal?.reason);

  /**
   * Sends the request. Resolves with undefined once the stream is open, or with the answer if it is a refusal.
   * @throws NoAnswer, or the signal's reason.
   */
  start(dispatcher: Dispatcher, request: HttpRequest): Promise<HttpAnswer | undefined> {
    const opened = Promise.withResolvers<HttpAnswer | undefined>();
    this.#opened = opened;
    if (this.#limits.signal?.aborted === true) this.#fail(this.#limits.signal.reason);
    if (this.#failure !== undefined) {
      opened.reject(this.#failure.reason);
      return opened.promise;
    }
    try {
      dispatcher.dispatch(request, this);
    } catch (error) {
      this.#fail(new NoAnswer(error instanceof Error ? error.message : String(error), false, error));
    }
    return opened.promise;
  }

  /**
   * The next line; undefined when the server has ended the stream.
   * @throws NoAnswer where the connection was cut or silent; the signal's reason.
   */
  async next(): Promise<string | undefined> {
    for (;;) {
      const line = this.#lines.shift();
      if (line !== undefined) {
        if (this.#paused && this.#lines.length === 0) this.#resume();
        return line;
      }
      if (this.#failure !== undefined) throw this.#failure.reason;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Frees the connection, the timer and the listener. */
  stop(): void {
    this.#fail(new NoAnswer('the watch was stopped', true));
  }

  #resume(): void {
    this.#paused = false;
    this.#lastByteAt = this.#limits.clock.monotonic();
    // Ended, the connection may be another's already.
    if (!this.#ended) this.#flow?.resume();
  }

  #release(): void {
    this.#cancelTimer();
    this.#limits.signal?.removeEventListener('abort', this.#onAbort);
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  #fail(reason: unknown): void {
    if (this.#ended || this.#failure !== undefined) return;
    this.#failure = { reason };
    this.#release();
    this.#opened?.reject(reason);
    this.#notify();
    this.#flow?.abort();
  }

  /** Arms the idle timer for what is left of the silence allowed. */
  #armIdle(): void {
    const idle = this.#limits.idleTimeoutMs;
    if (idle === undefined) return;
    const silent = this.#limits.clock.monotonic() - this.#lastByteAt;
    this.#cancelTimer = this.#limits.clock.after(Math.max(idle - silent, 1), () => {
      // A paused stream is silent because of its reader, not because of the server.
      if (this.#paused) this.#lastByteAt = this.#limits.clock.monotonic();
      if (this.#limits.clock.monotonic() - this.#lastByteAt >= idle) {
        this.#fail(new NoAnswer(`no event and no bookmark for ${idle} ms`, true));
      } else {
        this.#armIdle();
      }
    });
  }

  onTurn(flow: Flow): boolean {
    if (this.#failure !== undefined) return false;
    this.#flow = flow;
    return true;
  }

  onHead(head: AnswerHead): void {
    this.#head = head;
    if (head.status !== 200) return;
    this.#cancelTimer();
    this.#lastByteAt = this.#limits.clock.monotonic();
    this.#armIdle();
    this.#opened?.resolve(undefined);
  }

  onData(chunk: Buffer): void {
    if (this.#failure !== undefined) return;
    this.#lastByteAt = this.#limits.clock.monotonic();
    if (this.#head?.status !== 200) {
      this.#refusal += chunk.toString('utf8');
      if (this.#refusal.length > this.#limits.maxLineBytes) this.stop();
      return;
    }
    this.#lines.push(...this.#splitter.push(chunk));
    if (this.#splitter.pending > this.#limits.maxLineBytes) {
      this.#fail(new NoAnswer(`an event is longer than ${this.#limits.maxLineBytes} bytes`, true));
      return;
    }
    if (this.#lines.length > HIGH_WATER && !this.#paused) {
      this.#paused = true;
      this.#flow?.pause();
    }
    if (this.#lines.length > 0) this.#notify();
  }

  onEnd(): void {
    const head = this.#head;
    if (head === undefined || this.#failure !== undefined) return;
    this.#ended = true;
    this.#release();
    this.#opened?.resolve(head.status === 200 ? undefined : { ...head, body: this.#refusal });
    this.#notify();
  }

  onError(error: Error): void {
    this.#fail(new NoAnswer(error.message, this.#flow !== undefined, error));
  }
}
