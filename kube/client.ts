/**
 * `Api` over HTTPS to a real API server.
 *
 * - One shared pool of kept-alive HTTP/1.1 connections: a call costs no handshake.
 * - Errors say whether a write can have happened: `Unreachable` before the first byte was written,
 *   `OutcomeUnknown` after it.
 * - Nothing is retried, nothing is cached, and no write is read back.
 * - Does NOT check that answers fit their TypeScript types: the API server's schema does that.
 */
import { isAborted } from './abort.ts';
import { AdaptiveLimit } from './adaptivelimit.ts';
import type {
  Api,
  CallOptions,
  DeleteOptions,
  JsonPatchOperation,
  KubeObject,
  ListOptions,
  ObjectKey,
  ObjectList,
  Resource,
  Table,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from './api.ts';
import { errorOfAnswer, isMutating, oneLine, type Verb } from './apistatus.ts';
import {
  type Call,
  encode,
  encodePatch,
  eventOf,
  failureOf,
  JSON_TYPE,
  listCall,
  objectCall,
  PATCH_TYPE,
} from './calls.ts';
import { type Clock, systemClock } from './clock.ts';
import { Connection, type Session } from './connection.ts';
import type { ApiError } from './errors.ts';
import { NoAnswer } from './exchange.ts';
import type { HttpRequest } from './http.ts';
import { collectionPath, creationPath, targetOf, watchQuery } from './paths.ts';
import { RequestHeaders } from './requestheaders.ts';
import { exchangeInTurn } from './turn.ts';
import { WatchStream } from './watchstream.ts';

/** One finished call, for metrics. A watch counts once, when its headers are there. */
export interface RequestInfo {
  readonly verb: Verb;
  readonly resource: string;
  /** HTTP status, or 'error' where no answer came. */
  readonly code: number | 'error';
  readonly seconds: number;
}

export interface ConnectOptions {
  /** Path of a kubeconfig file. Absent: the pod's service account. */
  readonly kubeconfig?: string | undefined;
  /** Shown in the API server's audit log and metrics: `berth-agent/0.1.0`. */
  readonly userAgent: string;
  /** Called after every call; must not throw. */
  readonly onRequest?: ((request: RequestInfo) => void) | undefined;
  /** Milliseconds until a call is given up. Defaults to 30,000. */
  readonly timeoutMs?: number | undefined;
  /** At most this many calls run at the same time, fewer while the server throttles (adaptivelimit.ts). Watches are not counted. Defaults to 64. */
  readonly connections?: number | undefined;
  /** Defaults to the machine's. */
  readonly clock?: Clock | undefined;
}

/** Twice the biggest list ever measured here (35,000 whole objects: 63 MB) has room four times over. */
const MAX_ANSWER_BYTES = 512 * 1024 * 1024;
/** etcd stores at most 1.5 MiB an object by default. */
const MAX_EVENT_BYTES = 16 * 1024 * 1024;

/**
 * Reads the configuration and the credentials; no request is made.
 * @throws Error that names the kubeconfig and what is wrong with it.
 */
export async function connect(options: ConnectOptions): Promise<RestApi> {
  const clock = options.clock ?? systemClock;
  const { kubeconfig, connections = 64 } = options;
  const connection = new Connection({ kubeconfig, connections, clock });
  await connection.refresh();
  return new RestApi(connection, new AdaptiveLimit({ clock, most: connections }), clock, options);
}

/** See `connect`. */
export class RestApi implements Api {
  readonly #connection: Connection;
  readonly #limit: AdaptiveLimit;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #onRequest: ((request: RequestInfo) => void) | undefined;
  readonly #headers: RequestHeaders;

  constructor(connection: Connection, limit: AdaptiveLimit, clock: Clock, options: ConnectOptions) {
    this.#connection = connection;
    this.#limit = limit;
    this.#clock = clock;
    this.#headers = new RequestHeaders(options.userAgent);
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.#onRequest = options.onRequest;
  }

  /** The namespace of the service account or of the kubeconfig's context. */
  get namespace(): string | undefined {
    return this.#connection.namespace;
  }

  /** Ends every connection; running calls and watches fail. */
  close(): Promise<void> {
    return this.#connection.close();
  }

  async get<T extends KubeObject>(
    resource: Resource<T>,
    key: ObjectKey,
    options: CallOptions = {},
  ): Promise<T> {
    return this.#json(objectCall('get', 'GET', resource, key), options);
  }

  async list<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}): Promise<ObjectList<T>> {
    const list = await this.#json<{ metadata: ObjectList<T>['metadata']; items: T[] | null }>(
      listCall(resource, options, false),
      options,
    );
    return { metadata: list.metadata, items: list.items ?? [] };
  }

  async listTable<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}): Promise<Table> {
    const table = await this.#json<{
      metadata: Table['metadata'];
      columnDefinitions: { name: string }[];
      rows: { cells: unknown[] }[] | null;
    }>(listCall(resource, options, true), options);
    return {
      metadata: table.metadata,
      columns: table.columnDefinitions.map((column) => column.name),
      rows: (table.rows ?? []).map((row) => row.cells),
    };
  }

  async create<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options: CallOptions = {},
  ): Promise<T> {
    const { namespace, name } = object.metadata;
    return this.#json(
      {
        verb: 'create',
        method: 'POST',
        resource,
        path: creationPath(resource, namespace),
        target: targetOf(resource, {
          ...(namespace === undefined ? {} : { namespace }),
          ...(name === undefined ? {} : { name }),
        }),
        contentType: JSON_TYPE,
        body: encode(resource, object),
      },
      options,
    );
  }

  async update<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    const { namespace, name = '' } = object.metadata;
    const key = namespace === undefined ? { name } : { namespace, name };
    return this.#json(
      {
        ...objectCall('update', 'PUT', resource, key, options.subresource),
        contentType: JSON_TYPE,
        body: encode(resource, object),
      },
      options,
    );
  }

  async patch<T extends KubeObject>(
    resource: Resource<T>,
    key: ObjectKey,
    patch: readonly JsonPatchOperation[],
    options: WriteOptions = {},
  ): Promise<T> {
    return this.#json(
      {
        ...objectCall('patch', 'PATCH', resource, key, options.subresource),
        contentType: PATCH_TYPE,
        body: encodePatch(patch),
      },
      options,
    );
  }

  async delete<T extends KubeObject>(
    resource: Resource<T>,
    key: ObjectKey,
    options: DeleteOptions = {},
  ): Promise<void> {
    const call = objectCall('delete', 'DELETE', resource, key);
    const { preconditions } = options;
    const body =
      preconditions === undefined
        ? {}
        : {
            contentType: JSON_TYPE,
            body: JSON.stringify({ apiVersion: 'v1', kind: 'DeleteOptions', preconditions }),
          };
    await this.#send({ ...call, ...body }, options);
  }

  async *watch<T extends KubeObject>(
    resource: Resource<T>,
    options: WatchOptions,
  ): AsyncIterable<WatchEvent<T>> {
    const { namespace, signal, idleTimeoutMs } = options;
    const call: Call = {
      verb: 'watch',
      method: 'GET',
      resource,
      path: collectionPath(resource, namespace) + watchQuery(options),
      target: targetOf(resource, namespace === undefined ? {} : { namespace }),
    };
    const stream = new WatchStream({
      clock: this.#clock,
      timeoutMs: this.#timeoutMs,
      idleTimeoutMs,
      maxLineBytes: MAX_EVENT_BYTES,
      signal,
    });
    try {
      await this.#open(call, stream, signal);
      for (let line = await stream.next(); line !== undefined; line = await stream.next()) {
        yield eventOf<T>(call, line);
      }
    } catch (error) {
      throw failureOf(call, error);
    } finally {
      stream.stop();
    }
  }

  async #open(call: Call, stream: WatchStream, signal: AbortSignal | undefined): Promise<void> {
    const started = this.#clock.monotonic();
    let code: number | 'error' = 'error';
    try {
      const session = await this.#session(this.#timeoutMs, signal);
      const refusal = await stream.start(session.watches, this.#request(call, session));
      code = refusal?.status ?? 200;
      if (refusal !== undefined) throw this.#refused(call, refusal);
    } finally {
      this.#report(call, code, started);
    }
  }

  async #json<R>(call: Call, options: CallOptions): Promise<R> {
    const body = await this.#send(call, options);
    try {
      // The API server's schema vouches for the type; checking again would cost more than the call.
      return JSON.parse(body) as R;
    } catch (error) {
      throw failureOf(
        call,
        new NoAnswer(`the answer is not JSON: ${oneLine(body.slice(0, 200))}`, true, error),
      );
    }
  }

  /** The body of a successful answer. */
  async #send(call: Call, options: CallOptions): Promise<string> {
    const timeoutMs = options.timeoutMs ?? this.#timeoutMs;
    const { signal } = options;
    const started = this.#clock.monotonic();
    let code: number | 'error' = 'error';
    try {
      const session = this.#connection.current ?? (await this.#session(timeoutMs, signal));
      const limits = {
        clock: this.#clock,
        deadline: started + timeoutMs,
        maxBytes: MAX_ANSWER_BYTES,
        signal,
        permit: options.permit,
      };
      const request = this.#request(call, session);
      const answer = await exchangeInTurn(this.#limit, session.calls, request, limits, isMutating(call.verb));
      code = answer.status;
      if (code < 200 || code > 299) throw this.#refused(call, answer);
      return answer.body;
    } catch (error) {
      throw failureOf(call, error);
    } finally {
      this.#report(call, code, started);
    }
  }

  #request(call: Call, session: Session): HttpRequest {
    const { method, body } = call;
    const path = this.#connection.basePath + call.path;
    const headers = this.#headers.of(call, session.headers);
    return body === undefined ? { method, path, headers } : { method, path, headers, body };
  }

  #refused(call: Call, answer: { status: number; retryAfter: string | undefined; body: string }): ApiError {
    if (answer.status === 401) this.#connection.invalidate();
    return errorOfAnswer({ verb: call.verb, target: call.target, ...answer });
  }

  #report(call: Call, code: number | 'error', started: number): void {
    const seconds = (this.#clock.monotonic() - started) / 1000;
    this.#onRequest?.({ verb: call.verb, resource: call.resource.plural, code, seconds });
  }

  /** Fresh credentials, waited for no longer than the call may take: an exec plugin can hang. */
  async #session(timeoutMs: number, signal: AbortSignal | undefined): Promise<Session> {
    if (isAborted(signal)) throw signal?.reason;
    const { current } = this.#connection;
    if (current !== undefined) return current;
    const given = new AbortController();
    const limit = signal === undefined ? given.signal : AbortSignal.any([signal, given.signal]);
    const timeout = this.#clock.sleep(timeoutMs, limit).then((): never => {
      throw new NoAnswer(`no credentials within ${timeoutMs} ms`, false);
    });
    try {
      return await Promise.race([this.#connection.refresh(), timeout]);
    } catch (error) {
      if (error instanceof NoAnswer || isAborted(signal)) throw error;
      const said = error instanceof Error ? error.message : String(error);
      throw new NoAnswer(`cannot get credentials: ${oneLine(said)}`, false, error);
    } finally {
      given.abort();
    }
  }
}
