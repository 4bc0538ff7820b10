/** What the binary sees of its machine: virtual time, the real state directory, and a socket in memory. */
import type { Clock } from '../../kube/clock.ts';
import type { ServerOptions } from '../../plugin/agent/server.ts';
import type { Host } from '../../plugin/cni/host.ts';
import { NodeFiles } from '../../plugin/cni/testing/host.ts';
import type { CniRequest } from '../../plugin/protocol.ts';
import type { SimulatedProcess, WallClock } from './process.ts';

/** The agent at the other end of the socket. */
interface Listener {
  readonly process: SimulatedProcess;
  readonly handle: ServerOptions['handle'] | undefined;
  /** Requests that are not yet answered. */
  readonly open: Set<Promise<void>>;
}

export interface BinaryHostOptions {
  readonly time: Clock;
  readonly wall: WallClock;
  readonly random: () => number;
  /** Who listens now; undefined: nobody. */
  readonly agent: () => Listener | undefined;
  /** False when the binary has been killed, with the runtime that waits for it: it never does anything more. */
  readonly isWanted: () => boolean;
}

/** One exchange: what has come back of it, in the order in which it is received. */
interface Connection {
  readonly listener: Listener;
  readonly answer: PromiseWithResolvers<Uint8Array>;
}

export class BinaryHost extends NodeFiles implements Host {
  readonly #options: BinaryHostOptions;
  readonly #connections: Connection[] = [];

  constructor(options: BinaryHostOptions) {
    super();
    this.#options = options;
  }

  now(): number {
    return this.#options.time.now() + this.#options.wall.offsetMs;
  }

  monotonic(): number {
    return this.#options.time.monotonic();
  }

  random(): number {
    return this.#options.random();
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#after(ms, resolve));
  }

  connect(_path: string): number {
    const listener = this.#options.agent();
    if (listener?.handle === undefined) {
      throw Object.assign(new Error('nobody listens'), { code: 'ECONNREFUSED' });
    }
    const answer = Promise.withResolvers<Uint8Array>();
    // It may fail, or be closed, before anybody waits for it.
    answer.promise.catch(() => undefined);
    listener.process.death.then(
      () => answer.resolve(new Uint8Array()),
      () => undefined,
    );
    return this.#connections.push({ listener, answer }) - 1;
  }

  /** What the agent's HTTP server would make of the request. */
  send(descriptor: number, bytes: Uint8Array): boolean {
    const { listener, answer } = this.#connection(descriptor);
    const { process, handle, open } = listener;
    const text = Buffer.from(bytes).toString('utf8');
    // The wire carries what the binary wrote: a CniRequest.
    const request = JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4)) as CniRequest;
    const answered = handle?.(request).then(
      (given) => {
        const body = JSON.stringify(given);
        const head = `HTTP/1.1 200 OK\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
        if (process.isAlive) answer.resolve(Buffer.from(head + body));
      },
      (error: unknown) => answer.reject(new Error('the handler failed', { cause: error })),
    );
    if (answered !== undefined) {
      open.add(answered);
      answered.finally(() => open.delete(answered)).catch(() => undefined);
    }
    return true;
  }

  receive(descriptor: number, ms: number): Promise<Uint8Array | undefined> {
    return new Promise((resolve, reject) => {
      const cancel = this.#after(ms, () => resolve(undefined));
      this.#connection(descriptor)
        .answer.promise.then(resolve, reject)
        .finally(cancel)
        .catch(() => undefined);
    });
  }

  close(_descriptor: number): void {
    // The agent does not see it: what it has been asked for it does.
  }

  #after(ms: number, run: () => void): () => void {
    const { time, isWanted } = this.#options;
    return time.after(ms, () => {
      if (isWanted()) run();
    });
  }

  #connection(descriptor: number): Connection {
    const connection = this.#connections[descriptor];
    if (connection === undefined) throw new Error(`no descriptor ${descriptor}`);
    return connection;
  }
}
