/** What is measured: raw creates, and the agent, through its socket or the binary. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ipReservations } from '../crds/resources.ts';
import type { IPReservation } from '../crds/types.ts';
import type { Cluster, NodeAgent, TestPod } from '../e2e/harness/cluster.ts';
import { type CniCall, podArgs } from '../e2e/harness/cni.ts';
import { inParallel } from '../e2e/harness/parallel.ts';
import type { Address } from '../ipam/address.ts';
import { formatCidr, parseCidr } from '../ipam/cidr.ts';
import { reservationName } from '../ipam/name.ts';
import { bindNew } from '../ipam/reservation.ts';
import type { Api } from '../kube/api.ts';
import { measure } from './load.ts';
import { launchAll } from './processes.ts';
import { SocketClient } from './socketclient.ts';
import type { Round } from './stats.ts';

const RAW_SUBNETS = { 4: parseCidr('11.0.0.0/8'), 6: parseCidr('fd00:b::/64') } as const;

function rawAddress(family: Address['family'], index: number): Address {
  return { family, value: RAW_SUBNETS[family].base + 1n + BigInt(index) };
}

function poolOf(network: string, family: Address['family']): string {
  return `${network}-v${family}`;
}

/** @throws Error with the answer of a call that failed */
export function assertSuccess(outcome: { readonly exitCode: number | null; readonly stdout: string }): void {
  if (outcome.exitCode !== 0) throw new Error(`a call failed: ${outcome.stdout}`);
}

/** Removes all reservations of the network. */
export async function removeAll(api: Api, network: string): Promise<void> {
  const { items } = await api.list(ipReservations, { fieldSelector: `spec.network=${network}` });
  await inParallel(16, items, ({ metadata }) => api.delete(ipReservations, { name: metadata.name ?? '' }));
}

/** Creates of the same objects as an ADD's, by the client that the agent has: the limit of what an ADD can reach. */
export class RawCreates {
  readonly #api: Api;
  readonly #pod: TestPod;
  readonly #network: string;
  readonly #families: readonly Address['family'][];
  #used = 0;

  private constructor(api: Api, pod: TestPod, network: string, families: readonly Address['family'][]) {
    this.#api = api;
    this.#pod = pod;
    this.#network = network;
    this.#families = families;
  }

  /**
   * Makes the pools that the objects name: the operator would write an Event for each that names none, and go on with that while
   * others are measured.
   * @param api of the client that creates the objects
   * @param network of the addresses: they must not be in the way of the agent, or of other raw creates
   * @param families of the addresses of one operation, which are created at the same time
   */
  static async in(
    cluster: Cluster,
    api: Api,
    pod: TestPod,
    network: string,
    families: readonly Address['family'][] = [4],
  ): Promise<RawCreates> {
    for (const family of new Set(families)) {
      await cluster.createPool(poolOf(network, family), {
        network,
        subnet: formatCidr(RAW_SUBNETS[family]),
        cooldown: '0s',
      });
    }
    return new RawCreates(api, pod, network, families);
  }

  run(callers: number, operations: number): Promise<Round> {
    const each = this.#families.length;
    const first = this.#used;
    this.#used += operations * each;
    return measure(callers, operations, async (index) => {
      await Promise.all(
        this.#families.map((family, i) =>
          this.#api.create(ipReservations, this.#object(family, first + index * each + i)),
        ),
      );
    });
  }

  /** Removes what `run` made since the last call. Not measured. */
  clean(): Promise<void> {
    return removeAll(this.#api, this.#network);
  }

  #object(family: Address['family'], index: number): IPReservation {
    const address = rawAddress(family, index);
    const { namespace, name, uid, node } = this.#pod;
    return {
      apiVersion: 'ipam.berth.dev/v1alpha1',
      kind: 'IPReservation',
      metadata: { name: reservationName(this.#network, address) },
      spec: bindNew({
        network: this.#network,
        address,
        pool: poolOf(this.#network, family),
        owner: {
          kind: 'Pod',
          namespace,
          name,
          uid,
          node,
          containerID: `c-${uid}`,
          ifname: `e${index}`,
          cniNetwork: 'bench',
        },
        now: Date.now(),
      }),
    };
  }
}

/** What one operation asks for. */
export interface Shape {
  readonly pools: readonly string[];
  /** Attachments of the pod that are added at the same time. */
  readonly interfaces: number;
}

/** What is called: an agent, or what takes its place. */
type Callee = Pick<NodeAgent, 'socket' | 'ipam'>;

/** Attachments of one node's pods, added and deleted again. */
export class AgentCalls {
  readonly #agent: Callee;
  readonly #client: SocketClient;
  readonly #pods: readonly TestPod[];
  readonly #shape: Shape;
  #used = 0;

  /** @param shape defaults to one interface with an address of the pool `bench` */
  constructor(agent: Callee, pods: readonly TestPod[], shape: Shape = { pools: ['bench'], interfaces: 1 }) {
    this.#agent = agent;
    this.#client = new SocketClient(agent.socket);
    this.#pods = pods;
    this.#shape = shape;
  }

  /** ADDs, then DELs of the same attachments, with as many callers. */
  async run(callers: number, operations: number): Promise<{ add: Round; del: Round }> {
    const add = await this.addOnly(callers, operations);
    return { add, del: await this.delLast(callers, operations) };
  }

  addOnly(callers: number, operations: number): Promise<Round> {
    return measure(callers, operations, this.#from('ADD', this.#take(operations)));
  }

  /** DELs of what was added last. */
  delLast(callers: number, operations: number): Promise<Round> {
    return measure(callers, operations, this.#from('DEL', this.#used - operations));
  }

  /** ADDs that begin at so many a second, however long each takes. */
  addAtRate(perSecond: number, operations: number): Promise<Round> {
    const begun = performance.now();
    const add = this.#from('ADD', this.#take(operations));
    return measure(operations, operations, async (index) => {
      await sleep(Math.max(0, begun + (1000 * index) / perSecond - performance.now()));
      await add(index);
    });
  }

  #take(operations: number): number {
    this.#used += operations;
    return this.#used - operations;
  }

  #from(command: CniCall['command'], first: number): (index: number) => Promise<void> {
    const interfaces = Array.from({ length: this.#shape.interfaces }, (_, i) => i);
    return async (index) => {
      await Promise.all(
        interfaces.map(async (i) => {
          assertSuccess(await this.#client.call(this.#call(command, first + index, i)));
        }),
      );
    };
  }

  /** ADDs through the compiled binary; the attachments are deleted again, not measured. */
  async runBinary(binary: string, operations: number, callers = 1): Promise<Round> {
    const first = this.#take(operations);
    const calls = Array.from({ length: operations }, (_, index) => this.#call('ADD', first + index, 0));
    const round = await launchAll(binary, calls, callers);
    await this.delLast(8, operations);
    return round;
  }

  /** Every attachment is a pod's own interface: a second one of the same name would be a restarted sandbox. */
  #call(command: CniCall['command'], index: number, i: number): CniCall {
    const pod = this.#pods[index % this.#pods.length];
    if (pod === undefined) throw new Error('no pods');
    return {
      command,
      containerID: `c-${pod.uid}`,
      ifname: `e${index}.${i}`,
      args: podArgs(pod),
      config: {
        cniVersion: '1.1.0',
        name: 'bench',
        type: 'bridge',
        ipam: this.#agent.ipam({ pools: this.#shape.pools }),
      },
    };
  }
}
