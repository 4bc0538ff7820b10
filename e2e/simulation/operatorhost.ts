/** An operator's process: the real `Operator`, leading without an election. */
import type { Clock } from '../../kube/clock.ts';
import type { Log } from '../../kube/log.ts';
import { operatorMetrics } from '../../operator/metrics.ts';
import { Operator } from '../../operator/operator.ts';
import { SeededRandom } from '../../plugin/agent/testing/random.ts';
import { Link } from './link.ts';
import { ORPHAN_GRACE_MS, type Oracle } from './oracle.ts';
import { SimulatedProcess, type WallClock } from './process.ts';
import type { ApiServer } from './server.ts';

/** The operator's default. */
export const SCAN_INTERVAL_MS = 300_000;

export interface OperatorHostOptions {
  readonly name: string;
  readonly seed: number;
  readonly time: Clock;
  readonly server: ApiServer;
  readonly oracle: Oracle;
  readonly log: Log;
}

export class OperatorHost {
  readonly link: Link;
  readonly wall: WallClock = { offsetMs: 0 };
  readonly #options: OperatorHostOptions;
  readonly #random: SeededRandom;
  #process: SimulatedProcess | undefined;
  #starts = 0;

  constructor(options: OperatorHostOptions) {
    this.#options = options;
    this.link = new Link(options.name);
    this.#random = new SeededRandom(options.seed);
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  start(): void {
    if (this.#process !== undefined) return;
    const { name, time, server, oracle, log } = this.#options;
    this.#starts += 1;
    const process = new SimulatedProcess(`${name}#${this.#starts}`, time, this.wall, this.#random);
    this.#process = process;
    const operator = new Operator({
      api: server.client({ process, link: this.link }),
      clock: process.clock,
      random: process.random,
      log,
      metrics: operatorMetrics(),
      report: () => undefined,
      orphanGraceMs: ORPHAN_GRACE_MS,
      scanIntervalMs: SCAN_INTERVAL_MS,
      dryRun: false,
    });
    operator.run(new AbortController().signal).catch((error: unknown) => {
      if (process.isAlive) oracle.broken(`${process.name} ended: ${String(error)}`);
    });
  }

  /** SIGKILL. */
  kill(): void {
    this.#process?.kill();
    this.#process = undefined;
  }

  /** SIGSTOP. */
  pause(): void {
    this.#process?.pause();
  }

  /** SIGCONT: it goes on from where it was, with what it knew then. */
  resume(): void {
    this.#process?.resume();
  }

  /** SIGKILL instead of the API call after the next `effects`. */
  killAfter(effects: number, tell: () => void): void {
    this.#process?.setFuse(effects, () => {
      tell();
      this.kill();
      throw new Error('killed');
    });
  }
}
