/**
 * What is done to the cluster: programs and servers are killed and stopped for a while, and etcd is put back to an older state.
 * Three hands work at the same time, one on the agents, one on the operators, one on the servers.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../kube/clock.ts';
import { leases, namespaces } from '../../kube/core.ts';
import { identify, type ProcessId, signalServer } from '../controlplane/child.ts';
import type { Program } from '../harness/programs.ts';
import { waitFor } from '../harness/wait.ts';
import type { Restore } from './oracle.ts';
import { NAMESPACE } from './pods.ts';
import type { Reports } from './reports.ts';
import type { Stage, Supervised } from './stage.ts';
import type { FaultWindows } from './windows.ts';

/** Milliseconds, on average, between the end of a fault of one kind and the beginning of the next. */
export interface Peace {
  readonly agents: number;
  readonly operators: number;
  readonly servers: number;
}

export interface FaultsOptions {
  readonly stage: Stage;
  readonly windows: FaultWindows;
  readonly reports: Reports;
  readonly random: Random;
  readonly peace: Peace;
  /** Milliseconds from the beginning, at which etcd is restored. */
  readonly restoreAt: readonly number[];
  /** Milliseconds from the beginning, at which all agents are killed, one after the other, as an update of them would. */
  readonly rollAt: number;
  /** Milliseconds that a snapshot is old when it is restored. */
  readonly snapshotAgeMs: number;
  /** Milliseconds that never go back. */
  readonly now: () => number;
  readonly log: (line: string) => void;
}

/** A fault and how often it comes, relative to the others of its hand. */
interface Choice {
  readonly weight: number;
  readonly run: () => Promise<void>;
}

const DOWN_MS = { agent: 2_000, server: 3_000 };
const PAUSE_MS = { agent: [1_000, 12_000], operator: [5_000, 25_000], server: [2_000, 8_000] } as const;
const START_TRIES = 4;
/** How far etcd's revision is moved on at every second restore, as etcd's documentation advises. */
const BUMP = 1_000_000_000;

export class Faults {
  readonly #options: FaultsOptions;
  readonly #began: number;
  readonly restores: Restore[] = [];
  #isRestoring = false;
  /** How often each was done. */
  readonly counts: Record<string, number> = {};

  constructor(options: FaultsOptions) {
    this.#options = options;
    this.#began = options.now();
  }

  /** True from before the servers go down for a restore until they serve again. */
  get isRestoring(): boolean {
    return this.#isRestoring;
  }

  /** Works until the signal aborts, and resolves when everything runs again. */
  async run(signal: AbortSignal): Promise<void> {
    const { peace } = this.#options;
    await Promise.all([
      this.#agentsHand(signal),
      this.#hand(peace.operators, this.#onOperators(), signal),
      this.#servers(signal),
    ]);
  }

  async #hand(peaceMs: number, choices: readonly Choice[], signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#peace(peaceMs, signal);
      if (signal.aborted) return;
      await this.#choose(choices).run();
    }
  }

  async #agentsHand(signal: AbortSignal): Promise<void> {
    const { peace, rollAt, now, stage, log } = this.#options;
    const choices = this.#onAgents();
    while (!signal.aborted && now() < this.#began + rollAt) {
      await this.#peace(peace.agents, signal);
      if (!signal.aborted) await this.#choose(choices).run();
    }
    if (signal.aborted) return;
    log('kill -9 of every agent, one after the other');
    for (const [node, agent] of stage.agents) {
      if (!signal.aborted && !agent.isHeld) await this.#killAgent(node, agent);
    }
    await this.#hand(peace.agents, choices, signal);
  }

  /** Restores come at their times, other faults between them and not in the age of a snapshot. */
  async #servers(signal: AbortSignal): Promise<void> {
    const { peace, restoreAt, snapshotAgeMs, now } = this.#options;
    const choices = this.#onServers();
    for (const at of restoreAt) {
      const snapshotAt = this.#began + at - snapshotAgeMs;
      while (!signal.aborted && now() < snapshotAt) {
        await this.#peace(Math.min(peace.servers, Math.max(0, snapshotAt - now())), signal);
        if (!signal.aborted && now() < snapshotAt) await this.#choose(choices).run();
      }
      if (!signal.aborted) await this.#restore(signal);
    }
    await this.#hand(peace.servers, choices, signal);
  }

  /** At least a half of the time that is the average, at most one and a half. */
  async #peace(ms: number, signal: AbortSignal): Promise<void> {
    const { random, now } = this.#options;
    const until = now() + ms * (0.5 + random());
    await this.#waitUntil(until, signal);
  }

  /** Waits for a time of the run's clock, or until the signal aborts. */
  async #waitUntil(until: number, signal: AbortSignal): Promise<void> {
    const { now } = this.#options;
    for (let left = until - now(); left > 0 && !signal.aborted; left = until - now()) {
      await sleep(Math.min(250, left));
    }
  }

  #choose(choices: readonly Choice[]): Choice {
    let left = this.#options.random() * choices.reduce((sum, { weight }) => sum + weight, 0);
    for (const choice of choices) {
      left -= choice.weight;
      if (left < 0) return choice;
    }
    throw new Error('there is no fault to choose from');
  }

  #between([from, to]: readonly [number, number]): number {
    return from + this.#options.random() * (to - from);
  }

  #count(fault: string): void {
    this.counts[fault] = (this.counts[fault] ?? 0) + 1;
  }

  #agents(count: number): [string, Supervised][] {
    const left = [...this.#options.stage.agents].filter(([, agent]) => !agent.isHeld);
    const chosen: [string, Supervised][] = [];
    while (chosen.length < count && left.length > 0) {
      chosen.push(...left.splice(Math.floor(this.#options.random() * left.length), 1));
    }
    return chosen;
  }

  #onAgents(): Choice[] {
    const some = async (
      count: number,
      work: (node: string, agent: Supervised) => Promise<void>,
    ): Promise<void> => {
      await Promise.all(this.#agents(count).map(([node, agent]) => work(node, agent)));
    };
    return [
      { weight: 6, run: () => some(1, (node, agent) => this.#killAgent(node, agent)) },
      { weight: 2, run: () => some(3, (node, agent) => this.#killAgent(node, agent)) },
      { weight: 3, run: () => some(1, (node, agent) => this.#pauseAgent(node, agent)) },
      { weight: 1, run: () => some(2, (node, agent) => this.#pauseAgent(node, agent)) },
    ];
  }

  async #killAgent(node: string, agent: Supervised): Promise<void> {
    const { windows, reports, random, stage } = this.#options;
    this.#count('kill -9 of an agent');
    // As Prometheus would have it but for the moment between the two.
    await reports.scrape(stage.cluster.agent(node));
    const window = windows.open('kill agent', node);
    await agent.hold(async () => {
      await agent.program.kill();
      reports.processEnded(node);
      await sleep(random() * DOWN_MS.agent);
    });
    windows.close(window);
  }

  async #pauseAgent(node: string, agent: Supervised): Promise<void> {
    const { windows } = this.#options;
    this.#count('pause of an agent');
    const window = windows.open('pause agent', node);
    await agent.hold(() => this.#pauseProgram(agent.program, this.#between(PAUSE_MS.agent)));
    windows.close(window);
  }

  #onOperators(): Choice[] {
    const { stage } = this.#options;
    return [
      { weight: 4, run: async () => this.#onOperator(await this.#leader(), 'kill') },
      { weight: 1, run: async () => this.#onOperator(this.#anyOperator(), 'kill') },
      { weight: 2, run: async () => this.#onOperator(await this.#leader(), 'pause') },
      {
        weight: 1,
        run: async () => {
          await Promise.all(stage.operators.map((operator) => this.#onOperator(operator, 'kill')));
        },
      },
    ];
  }

  #anyOperator(): Supervised | undefined {
    const { stage, random } = this.#options;
    return stage.operators[Math.floor(random() * stage.operators.length)];
  }

  /** The operator that holds the lease, by the identity that it has logged; any where that cannot be found out. */
  async #leader(): Promise<Supervised | undefined> {
    const { stage } = this.#options;
    const key = { namespace: 'berth-system', name: 'berth-operator' };
    const lease = await stage.cluster.api
      .get(leases, key, { timeoutMs: 2_000 })
      .catch((error: Error) => error);
    const holder = lease instanceof Error ? undefined : lease.spec?.holderIdentity;
    const leading = stage.operators.find(
      ({ program }) => holder !== undefined && holder !== '' && program.log().includes(holder),
    );
    return leading ?? this.#anyOperator();
  }

  /** No ADD needs an operator: this opens no window. */
  async #onOperator(operator: Supervised | undefined, how: 'kill' | 'pause'): Promise<void> {
    if (operator === undefined || operator.isHeld) return;
    this.#count(how === 'kill' ? 'kill -9 of an operator' : 'pause of an operator');
    await operator.hold(async () => {
      if (how === 'kill') await operator.program.kill();
      else await this.#pauseProgram(operator.program, this.#between(PAUSE_MS.operator));
    });
  }

  async #pauseProgram(program: Program, ms: number): Promise<void> {
    if (program.isRunning) await this.#pause(program.id, ms);
  }

  /** It may have ended by itself meanwhile, as a leader that has lost its lease. */
  async #pause(id: ProcessId, ms: number): Promise<void> {
    signalServer(id, 'SIGSTOP');
    try {
      await sleep(ms);
    } finally {
      signalServer(id, 'SIGCONT');
    }
  }

  #onServers(): Choice[] {
    const { controlPlane } = this.#options.stage.cluster;
    const { random } = this.#options;
    const down = (): Promise<void> => sleep(random() * DOWN_MS.server);
    const apiServer = async (): Promise<void> => {
      await controlPlane.killApiServer();
      await down();
      await this.#startApiServer();
    };
    const etcd = async (): Promise<void> => {
      await controlPlane.killEtcd();
      await down();
      await controlPlane.startEtcd();
    };
    const pause = async (pid: number): Promise<void> => {
      const id = identify(pid);
      if (id !== undefined) await this.#pause(id, this.#between(PAUSE_MS.server));
    };
    return [
      { weight: 3, run: () => this.#onServer('kill -9 of the API server', apiServer) },
      { weight: 3, run: () => this.#onServer('kill -9 of etcd', etcd) },
      {
        weight: 2,
        run: () => this.#onServer('pause of the API server', () => pause(controlPlane.apiServerPid)),
      },
      { weight: 2, run: () => this.#onServer('pause of etcd', () => pause(controlPlane.etcdPid)) },
    ];
  }

  /** It ends again if etcd answers it too slowly while it starts, and is then started by whoever runs it. */
  async #startApiServer(): Promise<void> {
    const { stage, log } = this.#options;
    const { controlPlane } = stage.cluster;
    for (let tries = 1; ; tries += 1) {
      try {
        await controlPlane.startApiServer();
        return;
      } catch (error) {
        if (!(error instanceof Error) || tries === START_TRIES) throw error;
        log(`the API server did not start, trying again: ${error.message.split('\n')[0]}`);
        await controlPlane.killApiServer();
      }
    }
  }

  async #onServer(fault: string, work: () => Promise<void>): Promise<void> {
    const { windows, log, stage } = this.#options;
    this.#count(fault);
    log(fault);
    const window = windows.open(fault);
    await work();
    const { api } = stage.cluster;
    await waitFor(
      'the API server answers again',
      async () => (await api.get(namespaces, { name: NAMESPACE }, { timeoutMs: 2_000 })) !== undefined,
      { timeoutMs: 120_000 },
    );
    windows.close(window);
  }

  async #restore(signal: AbortSignal): Promise<void> {
    const { snapshotAgeMs, stage, now } = this.#options;
    const { controlPlane } = stage.cluster;
    const isBumped = this.restores.length % 2 === 1;
    const snapshotAt = now();
    const snapshot = await controlPlane.snapshot();
    const until = snapshotAt + snapshotAgeMs;
    await this.#waitUntil(until, signal);
    if (signal.aborted) return;
    const from = now();
    this.#isRestoring = true;
    await this.#onServer(`restore of etcd ${isBumped ? 'with' : 'without'} a bumped revision`, () =>
      controlPlane.restore(snapshot, isBumped ? { bumpRevision: BUMP } : {}),
    );
    this.restores.push({ snapshotAt, from, to: now() });
    this.#isRestoring = false;
  }
}
