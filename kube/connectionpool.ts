/**
 * Kept-alive HTTP/1.1 connections to one server.
 *
 * - One request at a time on each; requests beyond the limit wait in order.
 * - Of connections at rest the one used last is taken first, so that those too many grow old; an old one is not used again.
 * - A request is written in one piece, and never twice: what a failure means is the caller's to decide.
 * - Connections at rest do not keep the process alive.
 */
import type { Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { AnswerReader } from './answerreader.ts';
import type { Clock } from './clock.ts';
import { Dialer } from './dial.ts';
import { asError } from './errors.ts';
import type { AnswerReceiver, Dispatcher, Flow, HttpRequest } from './http.ts';

export interface PoolOptions {
  readonly origin: URL;
  readonly tls: ConnectionOptions;
  readonly proxy: URL | undefined;
  /** At most so many at the same time; absent: one for each request that runs. */
  readonly connections: number | undefined;
  readonly clock: Clock;
}

/** Below the API server's own idle time-out of 90 s, so that it is never the server who closes first. */
const KEEP_ALIVE_MS = 60_000;
const CONNECT_TIMEOUT_MS = 10_000;

/** What must not be in a header's value, as it would end it (RFC 9110, section 5.5), and in a request's target. */
// oxlint-disable-next-line eslint/no-control-regex -- they are what is looked for
const NOT_IN_VALUE = /[\x00-\x08\x0a-\x1f\x7f]/;
const NOT_IN_PATH = /[^\x21-\x7e]/;
const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;

/** Why a request that is running or waiting fails when everything is closed. */
const closedError = (): Error => new Error('the connections are closed');

class PooledConnection implements Flow {
  readonly #socket: Socket;
  readonly #reader: AnswerReader;
  /** Told when a request has ended, and when the connection has; which of it says `isUsable`. */
  readonly #onFree: (connection: PooledConnection, isUsable: boolean) => void;
  #receiver: AnswerReceiver | undefined;
  #isClosed = false;
  /** Monotonic time since which it is at rest. */
  restingSince = 0;

  constructor(socket: Socket, onFree: (connection: PooledConnection, isUsable: boolean) => void) {
    this.#socket = socket;
    this.#onFree = onFree;
    this.#reader = new AnswerReader({
      onHead: (head) => this.#receiver?.onHead(head),
      onData: (chunk) => this.#receiver?.onData(chunk),
      onEnd: (isLast) => this.#end(isLast),
    });
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('error', (error) => this.fail(error));
    socket.on('close', () => this.fail(new Error('the server closed the connection')));
  }

  /** @returns false if the request is not wanted any more; the connection is as free as before then */
  send({ text, receiver }: Waiting): boolean {
    if (!receiver.onTurn(this)) return false;
    this.#receiver = receiver;
    this.#socket.ref();
    this.#socket.write(text);
    return true;
  }

  rest(now: number): void {
    this.restingSince = now;
    this.#socket.unref();
  }

  /** Without a word to whoever waits for an answer. */
  abort(): void {
    this.#receiver = undefined;
    this.#close();
  }

  fail(error: Error): void {
    const receiver = this.#receiver;
    this.#receiver = undefined;
    this.#close();
    receiver?.onError(error);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  readonly #onData = (chunk: Buffer): void => {
    // What nobody has asked for would be taken for the answer to the next request.
    if (this.#receiver === undefined) this.#close();
    else this.#read(() => this.#reader.push(chunk));
  };

  readonly #onEnd = (): void => {
    this.#read(() => this.#reader.close());
    this.fail(new Error('the server closed the connection'));
  };

  #read(read: () => void): void {
    try {
      read();
    } catch (error) {
      this.fail(asError(error));
    }
  }

  #end(isLast: boolean): void {
    // It was given up by whoever got the last piece of it.
    if (this.#isClosed) return;
    const receiver = this.#receiver;
    this.#receiver = undefined;
    if (isLast) this.#close();
    else {
      // A slow reader may have held back what came after all that it waited for.
      if (this.#socket.isPaused()) this.#socket.resume();
      this.#onFree(this, true);
    }
    receiver?.onEnd();
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.destroy();
    this.#onFree(this, false);
  }
}

interface Waiting {
  readonly text: string;
  readonly receiver: AnswerReceiver;
}

export class ConnectionPool implements Dispatcher {
  readonly #dialer: Dialer;
  readonly #clock: Clock;
  readonly #host: string;
  readonly #most: number;
  /** The one used last is at the end. */
  readonly #resting: PooledConnection[] = [];
  readonly #busy = new Set<PooledConnection>();
  /** Those that are being made, each as what gives it up. */
  readonly #dialling = new Set<() => void>();
  readonly #waiting: Waiting[] = [];
  #isClosed = false;
  readonly #closed = Promise.withResolvers<void>();
  /** As text, of headers that were sent before. */
  readonly #fields = new WeakMap<HttpRequest['headers'], string>();

  constructor({ origin, tls, proxy, connections, clock }: PoolOptions) {
    this.#dialer = new Dialer({ origin, tls, proxy, clock, timeoutMs: CONNECT_TIMEOUT_MS });
    this.#clock = clock;
    this.#host = origin.host;
    this.#most = connections ?? Number.POSITIVE_INFINITY;
  }

  /** @throws Error for a pool that is closed, and for a path or a header that cannot be sent */
  dispatch(request: HttpRequest, receiver: AnswerReceiver): void {
    if (this.#isClosed) throw closedError();
    const text = this.#textOf(request);
    // Before it waits: for each that waits while an old one is closed another would be made. And while one rests nobody else waits.
    const connection = this.#takeResting();
    this.#waiting.push({ text, receiver });
    if (connection === undefined) this.#dialAsNeeded();
    else this.#free(connection);
  }

  /** Takes no new requests. Resolves when those taken before have ended and all connections are closed. */
  close(): Promise<void> {
    this.#isClosed = true;
    for (const connection of this.#resting.splice(0)) connection.abort();
    this.#tellIfEmpty();
    return this.#closed.promise;
  }

  /** Closes all connections at once; what runs or waits fails. */
  destroy(): Promise<void> {
    this.#isClosed = true;
    for (const giveUp of this.#dialling) giveUp();
    this.#dialling.clear();
    for (const { receiver } of this.#waiting.splice(0)) receiver.onError(closedError());
    for (const connection of this.#busy) connection.fail(closedError());
    return this.close();
  }

  #textOf({ method, path, headers, body }: HttpRequest): string {
    if (NOT_IN_PATH.test(path)) throw new Error(`${JSON.stringify(path)} is not the path of a request`);
    let fields = this.#fields.get(headers);
    if (fields === undefined) {
      fields = this.#fieldsOf(headers);
      this.#fields.set(headers, fields);
    }
    const start = `${method} ${path} HTTP/1.1\r\n${fields}`;
    return body === undefined
      ? `${start}\r\n`
      : `${start}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  }

  #fieldsOf(headers: HttpRequest['headers']): string {
    let fields = `host: ${this.#host}\r\n`;
    for (const [name, value] of Object.entries(headers)) {
      if (!NAME.test(name)) throw new Error(`${JSON.stringify(name)} is not the name of a header`);
      // Not the value: it may be a secret.
      if (NOT_IN_VALUE.test(value))
        throw new Error(`the header ${name} has a control character in its value`);
      fields += `${name}: ${value}\r\n`;
    }
    return fields;
  }

  #takeResting(): PooledConnection | undefined {
    const connection = this.#resting.pop();
    if (connection === undefined) return undefined;
    const isOld = ({ restingSince }: PooledConnection): boolean =>
      this.#clock.monotonic() - restingSince > KEEP_ALIVE_MS;
    // The oldest is first: an old one at the end means that all are.
    while (this.#resting[0] !== undefined && isOld(this.#resting[0])) this.#resting.shift()?.abort();
    if (!isOld(connection)) return connection;
    connection.abort();
    return undefined;
  }

  /** Gives the connection to whoever waits, or lets it rest. */
  #free(connection: PooledConnection): void {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      // Before it is sent: it may fail at once.
      this.#busy.add(connection);
      if (connection.send(next)) return;
    }
    this.#busy.delete(connection);
    if (this.#isClosed) {
      connection.abort();
      return;
    }
    connection.rest(this.#clock.monotonic());
    this.#resting.push(connection);
  }

  /** The connection is closed. */
  #forget(connection: PooledConnection): void {
    this.#busy.delete(connection);
    const at = this.#resting.indexOf(connection);
    if (at !== -1) this.#resting.splice(at, 1);
    this.#dialAsNeeded();
    this.#tellIfEmpty();
  }

  /** One for each that waits, as far as the limit allows. */
  #dialAsNeeded(): void {
    while (
      this.#dialling.size < this.#waiting.length &&
      this.#dialling.size + this.#busy.size + this.#resting.length < this.#most
    ) {
      const giveUp = this.#dialer.dial((error, socket) => {
        this.#dialling.delete(giveUp);
        if (error === undefined) {
          this.#free(
            new PooledConnection(socket, (connection, isUsable) =>
              isUsable ? this.#free(connection) : this.#forget(connection),
            ),
          );
          return;
        }
        // Each has had one tried for it; who has waited longest hears of it.
        this.#waiting.shift()?.receiver.onError(error);
        this.#dialAsNeeded();
        this.#tellIfEmpty();
      });
      this.#dialling.add(giveUp);
    }
  }

  #tellIfEmpty(): void {
    const count = this.#busy.size + this.#resting.length + this.#dialling.size + this.#waiting.length;
    if (this.#isClosed && count === 0) this.#closed.resolve();
  }
}
