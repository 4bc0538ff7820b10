/** The cluster of the run: real servers, an agent for each node, two operators; and the hand that starts what has ended. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { namespaces } from '../../kube/core.ts';
import { type Cluster, startCluster } from '../harness/cluster.ts';
import { artefacts, operatorIsUp, Program } from '../harness/programs.ts';
import { NAMESPACE } from './pods.ts';
import type { Interface } from './runtime.ts';

/** The times of the operator that decide how long something may be left over. */
export interface OperatorTimes {
  /** Seconds. */
  readonly orphanGrace: number;
  /** Seconds. */
  readonly scanInterval: number;
}

const LOOK_EVERY_MS = 250;

/** A program that is started again when it ends, as a kubelet does, unless a fault holds it. */
export class Supervised {
  readonly name: string;
  readonly program: Program;
  /** How often it has ended by itself. */
  ended = 0;
  #isHeld = false;

  constructor(name: string, program: Program) {
    this.name = name;
    this.program = program;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Takes it out of the supervisor's hands while `work` lasts; afterwards it runs and serves. */
  async hold(work: () => Promise<void>): Promise<void> {
    if (this.#isHeld) throw new Error(`${this.name} is in another fault already`);
    this.#isHeld = true;
    try {
      await work();
      await this.#bringUp();
    } finally {
      this.#isHeld = false;
    }
  }

  /** Starts it again whenever it has ended, until the signal aborts. */
  async supervise(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (!this.#isHeld && !this.program.isRunning) {
        this.ended += 1;
        this.#isHeld = true;
        await this.#bringUp();
        this.#isHeld = false;
      }
      await sleep(LOOK_EVERY_MS);
    }
  }

  /** A program may wait long for an API server that is away, or end again for it. */
  async #bringUp(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        if (!this.program.isRunning) await this.program.spawn();
        await this.program.whenUp();
        return;
      } catch (error) {
        if (tries === 5) throw error;
        await sleep(LOOK_EVERY_MS);
      }
    }
  }
}

export interface Stage {
  readonly cluster: Cluster;
  /** By node. */
  readonly agents: ReadonlyMap<string, Supervised>;
  readonly operators: readonly Supervised[];
  stop(): Promise<void>;
}

/**
 * Pools with a few times the addresses that are in use, so that one that is lost is soon somebody else's, and with room for
 * what a restore brings back. `v4` and `v6` have no cooldown, `resting` has one.
 */
async function createPools(cluster: Cluster, slots: number): Promise<void> {
  const common = { network: 'chaos' };
  const last = (room: number): string => `${Math.floor(room / 256)}.${Math.floor(room) % 256}`;
  await cluster.createPool('v4', {
    ...common,
    subnet: '10.1.0.0/16',
    ranges: [`10.1.0.1-10.1.${last(slots * 3.5)}`],
    cooldown: '0s',
  });
  await cluster.createPool('resting', {
    ...common,
    subnet: '10.2.0.0/16',
    ranges: [`10.2.0.1-10.2.${last(slots * 5)}`],
    cooldown: '10s',
  });
  await cluster.createPool('v6', { ...common, subnet: 'fd00:1::/112', cooldown: '0s' });
}

/** Two interfaces for each pod: one without cooldown, every third of both families, and one of the pool that rests. */
export function interfacesOf(slot: number): readonly Interface[] {
  return [
    { ifname: 'net1', pools: slot % 3 === 1 ? ['v4', 'v6'] : ['v4'] },
    { ifname: 'net2', pools: ['resting'] },
  ];
}

/**
 * Starts everything and waits until it serves.
 * @param slots how many pods there will be
 */
export async function startStage(
  nodes: readonly string[],
  slots: number,
  times: OperatorTimes,
  log: (line: string) => void,
): Promise<Stage> {
  const flags = {
    'leader-elect': 'true',
    'orphan-grace': `${times.orphanGrace}s`,
    'scan-interval': `${times.scanInterval}s`,
  };
  const cluster = await startCluster({ name: 'chaos', nodes, operatorFlags: flags, log });
  const second = new Program({
    script: artefacts.operator,
    logFile: join(cluster.directory, 'operator-2.log'),
    flags: {
      ...flags,
      kubeconfig: await cluster.controlPlane.userKubeconfig('berth-operator'),
      'metrics-address': '127.0.0.1:0',
      'health-address': '127.0.0.1:0',
    },
    isUp: operatorIsUp,
  });
  const stop = async (): Promise<void> => {
    await second.stop();
    await cluster.stop();
  };
  try {
    await second.start();
    await cluster.api.create(namespaces, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: NAMESPACE },
    });
    await createPools(cluster, slots);
  } catch (error) {
    await stop();
    throw error;
  }
  const agents = new Map(
    [...cluster.agents].map(([node, { program }]) => [node, new Supervised(`agent of ${node}`, program)]),
  );
  const operators = [new Supervised('operator-1', cluster.operator), new Supervised('operator-2', second)];
  return { cluster, agents, operators, stop };
}
