/**
 * One HTTP request and its whole answer; where there is none, whether the request had begun to be written.
 *
 * - Settles at the latest after `timeoutMs`, or as soon as `signal` aborts.
 * - A request that was given up before its turn on a connection is never written afterwards.
 * - Does NOT retry, follow redirects or decompress.
 */
import { StringDecoder } from 'node:string_decoder';
import type { Clock } from './clock.ts';
import { asError } from './errors.ts';
import type { AnswerHead, AnswerReceiver, Dispatcher, Flow, HttpRequest } from './http.ts';

export interface HttpAnswer extends AnswerHead {
  readonly body: string;
}

export interface ExchangeLimits {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** Answers with a longer body are given up. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
  /** Asked when the request's turn on a connection has come; what it throws is the rejection, and nothing is written. */
  readonly permit?: (() => void) | undefined;
}

/** No complete answer came. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
  /** False: not one byte of the request was written, so the server cannot have acted on it. */
  readonly written: boolean;

  constructor(message: string, written: boolean, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.written = written;
  }
}

class Exchange implements AnswerReceiver {
  readonly #limits: ExchangeLimits;
  readonly #resolve: (answer: HttpAnswer) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #cancelTimer: () => void;
  #flow: Flow | undefined;
  #settled = false;
  #head: AnswerHead | undefined;
  #bytes = 0;
  /** The body's first piece, which is mostly all of it. */
  #first: Buffer | undefined;
  #decoder: StringDecoder | undefined;
  #body = '';

  constructor(
    limits: ExchangeLimits,
    resolve: (answer: HttpAnswer) => void,
    reject: (reason: unknown) => void,
  ) {
    this.#limits = limits;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#cancelTimer = limits.clock.after(limits.timeoutMs, () =>
      this.#giveUp(new NoAnswer(`no answer within ${limits.timeoutMs} ms`, this.#flow !== undefined)),
    );
    limits.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  readonly #onAbort = (): void => this.#giveUp(this.#limits.signal?.reason);

  /** True the first time: whoever gets it settles the promise. */
  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#cancelTimer();
    this.#limits.signal?.removeEventListener('abort', this.#onAbort);
    return true;
  }

  #giveUp(reason: unknown): void {
    if (!this.#settle()) return;
    this.#reject(reason);
    this.#flow?.abort();
  }

  onTurn(flow: Flow): boolean {
    // Given up while it waited for a connection.
    if (this.#settled) return false;
    try {
      this.#limits.permit?.();
    } catch (error) {
      this.#giveUp(error);
      return false;
    }
    this.#flow = flow;
    return true;
  }

  onHead(head: AnswerHead): void {
    this.#head = head;
  }

  onData(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#limits.maxBytes) {
      this.#giveUp(new NoAnswer(`the answer is longer than ${this.#limits.maxBytes} bytes`, true));
      return;
    }
    if (this.#first === undefined) {
      this.#first = chunk;
      return;
    }
    if (this.#decoder === undefined) {
      this.#decoder = new StringDecoder('utf8');
      this.#body = this.#decoder.write(this.#first);
    }
    // V8 keeps the concatenation as a rope: linear in the size of the answer.
    this.#body += this.#decoder.write(chunk);
  }

  onEnd(): void {
    const head = this.#head;
    if (head === undefined || !this.#settle()) return;
    const body =
      this.#decoder === undefined ? (this.#first?.toString('utf8') ?? '') : this.#body + this.#decoder.end();
    this.#resolve({ ...head, body });
  }

  onError(error: Error): void {
    if (this.#settle()) this.#reject(new NoAnswer(error.message, this.#flow !== undefined, error));
  }
}

/**
 * Sends one request.
 * @throws NoAnswer where no complete answer came; the signal's reason if it aborted.
 */
export function exchange(
  dispatcher: Dispatcher,
  request: HttpRequest,
  limits: ExchangeLimits,
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    if (limits.signal?.aborted === true) {
      reject(limits.signal.reason);
      return;
    }
    const receiver = new Exchange(limits, resolve, reject);
    try {
      dispatcher.dispatch(request, receiver);
    } catch (error) {
      receiver.onError(asError(error));
    }
  });
}
