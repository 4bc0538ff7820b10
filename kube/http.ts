/** An HTTP request as this folder sends it, and how whoever sent it hears of the answer. Types only. */

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With the query, percent-encoded. */
  readonly path: string;
  /** Names in lower case. Without `host` and `content-length`. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** The parts of an answer's head that are used here. */
export interface AnswerHead {
  readonly status: number;
  readonly retryAfter: string | undefined;
}

/** What the receiver of an answer may do about its connection; not after its end, when the connection may be another's. */
export interface Flow {
  /** Closes the connection; the receiver hears nothing more. */
  abort(): void;
  pause(): void;
  resume(): void;
}

/** Is called in this order; after `onEnd` or `onError` no more. */
export interface AnswerReceiver {
  /** The request's turn on a connection has come. False: it is not wanted any more, and not one byte is written. */
  onTurn(flow: Flow): boolean;
  onHead(head: AnswerHead): void;
  onData(chunk: Buffer): void;
  onEnd(): void;
  /** There is no complete answer, and none will come. */
  onError(error: Error): void;
}

/** Sends requests, each on a connection of its own as long as it takes. */
export interface Dispatcher {
  dispatch(request: HttpRequest, receiver: AnswerReceiver): void;
}
