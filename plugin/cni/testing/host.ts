/** The host of `answerCall` for tests: Node's files and sockets, and a clock that goes on only when it is told or waited for. */
import { closeSync, fsyncSync, openSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import type { Host } from '../host.ts';

/** What a host does with texts and files, by Node. */
export class NodeFiles {
  encode(text: string): Uint8Array {
    return new TextEncoder().encode(text);
  }

  decode(bytes: Uint8Array): string | undefined {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch (error) {
      if (error instanceof TypeError) return undefined;
      throw error;
    }
  }

  modified(path: string): number | undefined {
    return statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  }

  create(path: string, text: string): void {
    writeFileSync(path, text, { flag: 'wx', mode: 0o600, flush: true });
  }

  rename(from: string, to: string): void {
    renameSync(from, to);
  }

  syncDirectory(path: string): void {
    const descriptor = openSync(path, 'r');
    fsyncSync(descriptor);
    closeSync(descriptor);
  }
}

/** What waits for the clock: a deadline of a connection. */
interface Deadline {
  readonly at: number;
  readonly expire: () => void;
}

interface Connection {
  readonly socket: Socket;
  readonly chunks: AsyncIterator<Buffer, undefined>;
}

/**
 * Pauses end by themselves, and take the clock with them; deadlines wait for it. So a test sees every retry that
 * happens within 30 s, and takes milliseconds.
 */
export class TestHost extends NodeFiles implements Host {
  /** Milliseconds since the test began. */
  elapsed = 0;
  /** Called at the end of every pause, with the time that it is then; the clock stands still meanwhile. */
  onPause: (elapsed: number) => Promise<void> = () => Promise.resolve();
  /** What `random()` answers. */
  die = 0.5;
  readonly started = 1_790_000_000_000;
  readonly #deadlines = new Set<Deadline>();
  readonly #connections: Connection[] = [];

  now(): number {
    return this.started + this.elapsed;
  }

  monotonic(): number {
    return 1000 + this.elapsed;
  }

  random(): number {
    return this.die;
  }

  async pause(ms: number): Promise<void> {
    const end = this.elapsed + ms;
    await setImmediate();
    await this.onPause(end);
    this.advance(Math.max(end - this.elapsed, 0));
  }

  /** Moves the clock on and ends what is too late. */
  advance(ms: number): void {
    this.elapsed += ms;
    for (const deadline of this.#deadlines) {
      if (deadline.at <= this.elapsed) deadline.expire();
    }
  }

  /** Whatever `wait` settles with; undefined after `ms` milliseconds of this clock. */
  async #within<T>(ms: number, wait: Promise<T>): Promise<T | undefined> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const deadline = { at: this.elapsed + ms, expire: () => resolve(undefined) };
    this.#deadlines.add(deadline);
    try {
      return await Promise.race([wait, promise]);
    } finally {
      this.#deadlines.delete(deadline);
    }
  }

  connect(path: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const socket = connect({ path });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        const chunks = socket.iterator() as AsyncIterator<Buffer, undefined>; // No encoding is set: it has buffers.
        resolve(this.#connections.push({ socket, chunks }) - 1);
      });
    });
  }

  async send(descriptor: number, bytes: Uint8Array, ms: number): Promise<boolean> {
    const { promise, resolve, reject } = Promise.withResolvers<true>();
    const { socket } = this.#connection(descriptor);
    socket.write(bytes, (error) => (error instanceof Error ? reject(error) : resolve(true)));
    return (await this.#within(ms, promise)) ?? false;
  }

  async receive(descriptor: number, ms: number): Promise<Uint8Array | undefined> {
    const next = await this.#within(ms, this.#connection(descriptor).chunks.next());
    return next?.done === true ? new Uint8Array() : next?.value;
  }

  close(descriptor: number): void {
    this.#connection(descriptor).socket.destroy();
  }

  #connection(descriptor: number): Connection {
    const connection = this.#connections[descriptor];
    if (connection === undefined) throw new Error(`no descriptor ${descriptor}`);
    return connection;
  }
}
