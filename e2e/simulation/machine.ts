/**
 * A node's machine as Berth sees it: the state directory, the agent's process (the real `Agent`), and the binary (the
 * real `answerCall`), which reaches the agent through a socket in memory.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import type { Clock } from '../../kube/clock.ts';
import type { Log } from '../../kube/log.ts';
import { Agent, journalGauges, prepareStateDir } from '../../plugin/agent/agent.ts';
import { JOURNAL_FILE, type Journal, openJournal } from '../../plugin/agent/journal.ts';
import { AgentMetrics } from '../../plugin/agent/metrics.ts';
import type { ServerOptions } from '../../plugin/agent/server.ts';
import { SeededRandom } from '../../plugin/agent/testing/random.ts';
import { answerCall } from '../../plugin/cni/command.ts';
import { type CniAnswer, deletesDir, MARKER_FILE } from '../../plugin/protocol.ts';
import { BinaryHost } from './binary.ts';
import { Link } from './link.ts';
import type { Oracle } from './oracle.ts';
import { SimulatedProcess, type WallClock } from './process.ts';
import type { ApiServer } from './server.ts';

/** tmpfs where there is one: the binary syncs what it queues. */
const SCRATCH: string = fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir();

export interface MachineOptions {
  readonly node: string;
  readonly seed: number;
  readonly time: Clock;
  readonly server: ApiServer;
  readonly oracle: Oracle;
  readonly log: Log;
  readonly note: (text: string) => void;
  /** Bytes from which on the journal is compacted. */
  readonly compactFrom: number;
}

interface Running {
  readonly process: SimulatedProcess;
  readonly journal: Journal;
  readonly stop: AbortController;
  handle: ServerOptions['handle'] | undefined;
  /** Requests that are not yet answered. */
  readonly open: Set<Promise<void>>;
}

export class Machine {
  readonly link: Link;
  readonly wall: WallClock = { offsetMs: 0 };
  readonly directory: string;
  readonly #options: MachineOptions;
  readonly #random: SeededRandom;
  #running: Running | undefined;
  #starts = 0;
  /** The beginning of the record during whose writing the last agent was killed. */
  #torn: Buffer | undefined;

  constructor(options: MachineOptions) {
    this.#options = options;
    this.link = new Link(options.node);
    this.directory = fs.mkdtempSync(path.join(SCRATCH, 'berth-simulation-'));
    this.#random = new SeededRandom(options.seed);
  }

  get node(): string {
    return this.#options.node;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  get isStopping(): boolean {
    return this.#running?.stop.signal.aborted ?? false;
  }

  /** What the running agent's journal says; undefined if none runs. */
  get journal(): Journal | undefined {
    return this.#running?.journal;
  }

  /** True if a DEL can be queued: it must then never fail. */
  get hasMarker(): boolean {
    return fs.existsSync(path.join(deletesDir(this.directory), MARKER_FILE));
  }

  /** Starts the agent on what is in the state directory, unless it runs. */
  start(): void {
    if (this.#running !== undefined) return;
    const { node, time, server, log, oracle, compactFrom } = this.#options;
    this.#starts += 1;
    const name = `agent ${node}#${this.#starts}`;
    const process = new SimulatedProcess(name, time, this.wall, this.#random);
    const { clock, random } = process;
    prepareStateDir(this.directory);
    if (this.#torn !== undefined) fs.appendFileSync(path.join(this.directory, JOURNAL_FILE), this.#torn);
    this.#torn = undefined;
    const opened = openJournal({
      stateDir: this.directory,
      now: clock.now(),
      compactFrom,
      onDamage: (_setAside, reason) => oracle.broken(`the journal of ${node} is damaged: ${reason}`),
      onCompactionFailed: (error) => oracle.broken(`compaction failed: ${String(error)}`),
      write: (fd, data, offset) => this.#write(process, fd, data, offset),
    });
    const journal: Journal = {
      state: opened.state,
      append: (record) => {
        if (!process.isAlive) throw new Error('this process is dead');
        opened.append(record);
      },
      close: () => opened.close(),
    };
    const running: Running = {
      process,
      journal,
      stop: new AbortController(),
      handle: undefined,
      open: new Set(),
    };
    this.#running = running;
    const agent = new Agent({
      node,
      socket: path.join(this.directory, 'agent.sock'),
      stateDir: this.directory,
      api: server.client({ process, link: this.link }),
      journal,
      metrics: new AgentMetrics(journalGauges(journal)),
      clock,
      random,
      log: whileAlive(process, log),
      serve: (options) => {
        running.handle = options.handle;
        return Promise.resolve({
          close: async () => {
            running.handle = undefined;
            await Promise.all(running.open);
          },
        });
      },
      watchDirectory: () => {
        throw new Error('the simulation has no notices: the directory is polled');
      },
    });
    agent.run(running.stop.signal).then(
      () => this.#ended(running),
      (error: unknown) => {
        if (process.isAlive && !running.stop.signal.aborted) oracle.broken(`${name} ended: ${String(error)}`);
        this.#ended(running);
      },
    );
  }

  /** SIGKILL. */
  kill(): void {
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    running.process.kill();
    running.journal.close();
  }

  /** SIGTERM: the agent ends what it has begun. */
  stop(): void {
    this.#running?.stop.abort(new Error('SIGTERM'));
  }

  /** SIGKILL instead of the effect after the next `effects`; in the middle of it, if it is a record of the journal. */
  killAfter(effects: number, tell: () => void): void {
    const running = this.#running;
    running?.process.setFuse(effects, () => {
      tell();
      this.kill();
      throw new Error('killed');
    });
  }

  /** After a power loss the end of the journal may be missing. */
  losePower(bytes: number): void {
    this.kill();
    const file = path.join(this.directory, JOURNAL_FILE);
    const size = fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    if (size > 0) fs.truncateSync(file, Math.max(0, size - bytes));
  }

  /** The disk is another one. */
  wipe(): void {
    this.kill();
    this.#torn = undefined;
    fs.rmSync(this.directory, { recursive: true });
    fs.mkdirSync(this.directory);
  }

  /** One call of the binary. What it has sent, the agent has, also when `isWanted` is false by then. */
  call(env: Readonly<Record<string, string>>, config: object, isWanted: () => boolean): Promise<CniAnswer> {
    const stdin = Buffer.from(JSON.stringify(config));
    const host = new BinaryHost({
      time: this.#options.time,
      wall: this.wall,
      random: this.#random.next,
      agent: () => this.#running,
      isWanted,
    });
    return answerCall(env, stdin, host);
  }

  dispose(): void {
    this.kill();
    fs.rmSync(this.directory, { recursive: true, force: true });
  }

  #ended(running: Running): void {
    if (this.#running !== running) return;
    this.#running = undefined;
    // Whatever it left behind must not go on.
    running.process.kill();
    running.journal.close();
  }

  #write(process: SimulatedProcess, fd: number, data: Buffer, offset: number): number {
    try {
      process.effect();
    } catch (error) {
      this.#torn = data.subarray(0, this.#random.below(data.length));
      throw error;
    }
    return fs.writeSync(fd, data, offset);
  }
}

/** A dead process says nothing. What still runs of it fails at whatever it does. */
function whileAlive(process: SimulatedProcess, log: Log): Log {
  const at =
    (level: keyof Log) =>
    (fields: object, message: string): void => {
      if (process.isAlive) log[level](fields, message);
    };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
