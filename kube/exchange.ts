/**
 * One HTTP request and its whole answer, with the one thing that HTTP clients usually hide:
 * whether the request had begun to be written when it failed.
 *
 * - Settles at the latest after `timeoutMs`, or as soon as `signal` aborts.
 * - A request that was given up before its turn on a connection is never written afterwards.
 * - Does NOT retry, follow redirects or decompress.
 */
import { StringDecoder } from 'node:string_decoder';
import type { Dispatcher } from 'undici';
import type { Clock } from './clock.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** False: the connection is kept whatever the method and the body (undici's `reset`). */
  readonly reset?: boolean;
}

export interface HttpAnswer {
  readonly status: number;
  readonly retryAfter: string | undefined;
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

/** The first value of a header, however the HTTP client represents it. */
export function headerValue(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  name: string,
): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

class Exchange implements Dispatcher.DispatchHandler {
  readonly #limits: ExchangeLimits;
  readonly #resolve: (answer: HttpAnswer) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #cancelTimer: () => void;
  readonly #decoder = new StringDecoder('utf8');
  #controller: Dispatcher.DispatchController | undefined;
  #settled = false;
  #status = 0;
  #retryAfter: string | undefined;
  #bytes = 0;
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
      this.#giveUp(new NoAnswer(`no answer within ${limits.timeoutMs} ms`, this.#controller !== undefined)),
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
    this.#controller?.abort(reason instanceof Error ? reason : new Error('aborted', { cause: reason }));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#settled) {
      // Given up while it waited for a connection: aborting here keeps it from being written.
      controller.abort(new Error('given up before it was sent'));
      return;
    }
    try {
      this.#limits.permit?.();
    } catch (error) {
      this.#giveUp(error);
      controller.abort(new Error('not permitted', { cause: error }));
      return;
    }
    this.#controller = controller;
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    this.#status = status;
    this.#retryAfter = headerValue(headers, 'retry-after');
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#limits.maxBytes) {
      this.#giveUp(new NoAnswer(`the answer is longer than ${this.#limits.maxBytes} bytes`, true));
      return;
    }
    // V8 keeps the concatenation as a rope: linear in the size of the answer.
    this.#body += this.#decoder.write(chunk);
  }

  onResponseEnd(): void {
    if (!this.#settle()) return;
    this.#resolve({
      status: this.#status,
      retryAfter: this.#retryAfter,
      body: this.#body + this.#decoder.end(),
    });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#settle()) {
      this.#reject(new NoAnswer(error.message, this.#controller !== undefined, error));
    }
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
    const handler = new Exchange(limits, resolve, reject);
    try {
      dispatcher.dispatch(request, handler);
    } catch (error) {
      // undici throws for a request that it refuses to queue, and for a pool that is closed.
      handler.onResponseError(
        // The handler does not read the controller of an error.
        undefined as unknown as Dispatcher.DispatchController,
        error instanceof Error ? error : new Error(String(error)),
      );
    }
  });
}
