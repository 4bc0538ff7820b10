/** The edge of `answerCall` for tests: Node's sockets, and a clock that goes on only when it is told or waited for. */
import { connect } from 'node:net';
import type { Edge, Stream, StreamEvents } from '../socket.ts';

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

/**
 * Pauses (timers of at most 50 ms) end by themselves, and take the clock with them; longer timers are deadlines,
 * and wait for it. So a test sees every retry that happens within 30 s, and takes milliseconds.
 */
export class TestEdge implements Edge {
  /** Milliseconds since the test began. */
  elapsed = 0;
  /** Called at the end of every pause, with the time that it is then; the clock stands still meanwhile. */
  onPause: (elapsed: number) => Promise<void> = () => Promise.resolve();
  /** What `random()` answers. */
  die = 0.5;
  readonly started = 1_790_000_000_000;
  readonly #timers = new Set<Timer>();

  now(): number {
    return this.started + this.elapsed;
  }

  monotonic(): number {
    return 1000 + this.elapsed;
  }

  random(): number {
    return this.die;
  }

  after(ms: number, run: () => void): () => void {
    const timer: Timer = { at: this.elapsed + ms, run };
    this.#timers.add(timer);
    if (ms <= 50) setImmediate(() => this.#endPause(timer));
    return () => void this.#timers.delete(timer);
  }

  /** Moves the clock on and runs what is due. */
  advance(ms: number): void {
    this.elapsed += ms;
    for (const timer of this.#timers) {
      if (timer.at <= this.elapsed && this.#timers.delete(timer)) timer.run();
    }
  }

  #endPause(timer: Timer): void {
    if (!this.#timers.has(timer)) return;
    this.onPause(timer.at).then(
      () => this.advance(Math.max(timer.at - this.elapsed, 0)),
      (error: unknown) => {
        throw new Error('onPause failed', { cause: error });
      },
    );
  }

  connect(path: string, events: StreamEvents): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect({ path });
      const stream: Stream = {
        write: (bytes) => {
          socket.write(bytes);
          return bytes.length;
        },
        terminate: () => void socket.destroy(),
      };
      let connected = false;
      socket.on('error', (error) => {
        if (connected) events.error(stream, error);
        else reject(error);
      });
      socket.on('connect', () => {
        socket.on('close', () => events.close(stream));
        connected = true;
        resolve();
        events.open(stream);
      });
      socket.on('data', (chunk: Buffer) => events.data(stream, chunk));
    });
  }
}
