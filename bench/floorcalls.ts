/** The floor (floor.ts) beside an agent: started, called as the agent is, and stopped. */
import { join } from 'node:path';
import type { Cluster, TestPod } from '../e2e/harness/cluster.ts';
import { accepts } from '../e2e/harness/cni.ts';
import { Program } from '../e2e/harness/programs.ts';
import { PINNED } from './setup.ts';
import type { Round } from './stats.ts';
import { AgentCalls, removeAll } from './subjects.ts';

/** Network and pool of what it creates. */
const NAME = 'floor';

export class FloorCalls {
  readonly #cluster: Cluster;
  readonly #program: Program;
  readonly #calls: AgentCalls;

  private constructor(cluster: Cluster, program: Program, calls: AgentCalls) {
    this.#cluster = cluster;
    this.#program = program;
    this.#calls = calls;
  }

  /**
   * Makes its pool, and starts it on the agents' core.
   * @param place the node whose agent's place it takes
   * @param pods of that node
   */
  static async start(
    cluster: Cluster,
    place: { readonly node: string; readonly kubeconfig: string },
    pods: readonly TestPod[],
  ): Promise<FloorCalls> {
    await cluster.createPool(NAME, { network: NAME, subnet: '12.0.0.0/8', cooldown: '0s' });
    const socket = join(cluster.directory, `${NAME}.sock`);
    const program = new Program({
      script: join(import.meta.dirname, 'floor.ts'),
      flags: { kubeconfig: place.kubeconfig, socket, node: place.node, network: NAME, pool: NAME },
      logFile: join(cluster.directory, `${NAME}.log`),
      cpus: PINNED ? '1' : undefined,
      isUp: () => accepts(socket),
    });
    await program.start();
    return new FloorCalls(
      cluster,
      program,
      new AgentCalls({ socket, ipam: (more) => ({ type: 'berth', socket, ...more }) }, pods),
    );
  }

  get pid(): number {
    return this.#program.pid;
  }

  run(callers: number, operations: number): Promise<Round> {
    return this.#calls.addOnly(callers, operations);
  }

  /** Removes what `run` made. Not measured. */
  clean(): Promise<void> {
    return removeAll(this.#cluster.api, NAME);
  }

  stop(): Promise<void> {
    return this.#program.stop();
  }
}
