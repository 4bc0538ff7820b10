/** A cluster to throw inputs at: one agent, its memory, and pools of every kind. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ipReservations } from '../../crds/resources.ts';
import type { IPPoolSpec } from '../../crds/types.ts';
import { pods } from '../../kube/core.ts';
import { type Cluster, type NodeAgent, startCluster, type TestPod } from '../harness/cluster.ts';
import { waitFor } from '../harness/wait.ts';

const NODE = 'node-1';

const POOLS: Readonly<Record<string, IPPoolSpec>> = {
  v4: {
    subnet: '10.0.0.0/16',
    gateway: '10.0.0.1',
    default: true,
    cooldown: '0s',
    routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1', mtu: 1400 }],
    dns: { nameservers: ['10.0.0.2'], domain: 'a.example' },
  },
  v6: { subnet: 'fd00::/64', default: true, cooldown: '0s' },
  tiny: { subnet: '10.9.0.0/30', cooldown: '0s' },
  denied: { subnet: '10.8.0.0/16', nodeSelector: { matchLabels: { nobody: 'has-it' } } },
  static: { subnet: '10.7.0.0/16', ranges: [], cooldown: '0s' },
  resting: { subnet: '10.6.0.0/24', cooldown: '1s' },
};

/** Bytes in use after garbage was collected. */
export interface Memory {
  readonly heap: number;
  readonly rss: number;
}

/** Something of an attachment that is still there. */
export interface Leftover {
  readonly where: string;
  readonly containerID: string;
  readonly entry: object;
}

export class FuzzWorld {
  readonly cluster: Cluster;
  readonly agent: NodeAgent;
  readonly subnets: readonly string[] = Object.values(POOLS).map((spec) => spec.subnet);
  readonly #pid: number;
  readonly #pods: TestPod[];

  private constructor(cluster: Cluster, made: TestPod[]) {
    this.cluster = cluster;
    this.agent = cluster.agent(NODE);
    this.#pid = this.agent.program.pid;
    this.#pods = made;
  }

  /** @param callers how many pods there are: each caller has its own */
  static async start(callers: number): Promise<FuzzWorld> {
    const cluster = await startCluster({
      name: 'fuzz',
      nodes: [NODE],
      agentPreload: join(import.meta.dirname, 'heap.ts'),
    });
    for (const [name, spec] of Object.entries(POOLS)) await cluster.createPool(name, spec);
    await cluster.api.create(ipReservations, {
      apiVersion: 'ipam.berth.dev/v1alpha1',
      kind: 'IPReservation',
      metadata: { name: 'default.10.0.0.5' },
      spec: {
        network: 'default',
        address: '10.0.0.5',
        pool: 'v4',
        state: 'Held',
        owner: { kind: 'External' },
      },
    });
    const made: TestPod[] = [];
    for (let i = 0; i < callers; i += 1) made.push(await cluster.createPod(NODE, `fuzz-${i}`));
    return new FuzzWorld(cluster, made);
  }

  pod(caller: number): TestPod {
    const pod = this.#pods[caller];
    if (pod === undefined) throw new Error(`there is no caller ${caller}`);
    return pod;
  }

  /** The pod has these annotations, and no others. */
  async annotate({ namespace, name }: TestPod, annotations: Readonly<Record<string, string>>): Promise<void> {
    const { api } = this.cluster;
    await api.patch(pods, { namespace, name }, [
      { op: 'add', path: '/metadata/annotations', value: annotations },
    ]);
  }

  /** @throws Error if the agent's process has ended, or is another one */
  assertAlive(): void {
    const { program } = this.agent;
    if (program.isRunning && program.pid === this.#pid) return;
    throw new Error(`the agent has crashed:\n${program.log().slice(-4_000)}`);
  }

  /** What the agent has logged as an error: it meets nothing here that should be one. */
  errors(): string[] {
    return this.agent.program
      .log()
      .split('\n')
      .filter((line) => /"level":(?:"(?:error|fatal)"|[56]0)/.test(line));
  }

  async memory(): Promise<Memory> {
    const file = `${this.agent.stateDir}-memory`;
    rmSync(file, { force: true });
    process.kill(this.#pid, 'SIGUSR2');
    let memory: Memory | undefined;
    await waitFor('the agent says how much memory it uses', () => {
      memory = JSON.parse(readFileSync(file, 'utf8')) as Memory; // Written by heap.ts.
      return true;
    });
    if (memory === undefined) throw new Error('no measurement');
    return memory;
  }

  /**
   * What should be nowhere once everything was given back, by the container ID that it names: in the agent's journal live
   * attachments, releases that are not finished and writes in doubt; in the API server Bound reservations.
   */
  async left(): Promise<Leftover[]> {
    // The agent's own format: lists by name, of things that have an owner.
    const journal = JSON.parse(await this.agent.show('/v1/attachments')) as Record<
      string,
      { owner: { containerID: string } }[]
    >;
    const bound = await this.cluster.reservations({ fieldSelector: 'spec.state=Bound' });
    return [
      ...Object.entries(journal).flatMap(([where, list]) =>
        list.map((entry) => ({ where, containerID: entry.owner.containerID, entry })),
      ),
      ...[...bound.values()].map((entry) => ({
        where: 'reservations',
        containerID: entry.spec.owner?.containerID ?? '',
        entry,
      })),
    ];
  }

  stop(): Promise<void> {
    return this.cluster.stop();
  }
}
