/** What is measured: raw creates, the agent through its socket, and whole processes. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ipReservations } from '../crds/resources.ts';
import type { IPReservation } from '../crds/types.ts';
import type { NodeAgent, TestPod } from '../e2e/harness/cluster.ts';
import { type CniCall, cniEnv, podArgs } from '../e2e/harness/cni.ts';
import type { Address } from '../ipam/address.ts';
import { reservationName } from '../ipam/name.ts';
import { bindNew } from '../ipam/reservation.ts';
import type { Api } from '../kube/api.ts';
import { measure } from './load.ts';
import type { SocketClient } from './socketclient.ts';
import { percentile, type Round } from './stats.ts';

const RAW_POOL = 'raw';
const FIRST_ADDRESS = 0x0b_00_00_00n;

function addressAt(index: number): Address {
  return { family: 4, value: FIRST_ADDRESS + BigInt(index) };
}

function assertSuccess(outcome: { readonly exitCode: number | null; readonly stdout: string }): void {
  if (outcome.exitCode !== 0) throw new Error(`a call failed: ${outcome.stdout}`);
}

/** Between the fields of a call: unlike a tab, the shell does not take two of them for one. */
const SEPARATOR = '\u001f';

/** One after the other, as processes of a small shell. @throws Error with the output of the first that fails */
export function runProcesses(program: string, calls: readonly CniCall[]): Round {
  const lines = calls.map((call) => {
    const env = cniEnv(call);
    const fields = ['CNI_COMMAND', 'CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_ARGS'].map(
      (name) => env[name] ?? '',
    );
    return [...fields, JSON.stringify(call.config)].join(SEPARATOR);
  });
  const { status, stdout, error } = spawnSync('bash', [join(import.meta.dirname, 'launch.bash'), program], {
    input: `${lines.join('\n')}\n`,
    encoding: 'utf8',
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${program}: ${stdout.trimEnd().split('\n').at(-1)}`);
  const times = stdout.trimEnd().split('\n').map(Number);
  const seconds = times.reduce((sum, ms) => sum + ms, 0) / 1000;
  return { rate: times.length / seconds, p50Ms: percentile(times, 0.5), p99Ms: percentile(times, 0.99) };
}

/** Creates of the same object as an ADD's, by the client that the agent has: the limit of what an ADD can reach. */
export class RawCreates {
  readonly #api: Api;
  readonly #pod: TestPod;
  readonly #network: string;
  readonly #now: () => number;
  #used = 0;

  /** @param network of the addresses: they must not be in the way of the agent, or of other raw creates */
  constructor(api: Api, pod: TestPod, network: string, now: () => number) {
    this.#api = api;
    this.#pod = pod;
    this.#network = network;
    this.#now = now;
  }

  run(callers: number, operations: number): Promise<Round> {
    const first = this.#used;
    this.#used += operations;
    return measure(callers, operations, async (index) => {
      await this.#api.create(ipReservations, this.#object(first + index));
    });
  }

  /** Removes what `run` made since the last call. Not measured. */
  async clean(): Promise<void> {
    const { items } = await this.#api.list(ipReservations, {
      fieldSelector: `spec.network=${this.#network}`,
    });
    await measure(16, items.length, async (index) => {
      await this.#api.delete(ipReservations, { name: items[index]?.metadata.name ?? '' });
    });
  }

  #object(index: number): IPReservation {
    const address = addressAt(index);
    const { namespace, name, uid, node } = this.#pod;
    return {
      apiVersion: 'ipam.berth.dev/v1alpha1',
      kind: 'IPReservation',
      metadata: { name: reservationName(this.#network, address) },
      spec: bindNew({
        network: this.#network,
        address,
        pool: RAW_POOL,
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
        now: this.#now(),
      }),
    };
  }
}

/** Attachments of one node's pods, added and deleted again. */
export class AgentCalls {
  readonly #agent: NodeAgent;
  readonly #client: SocketClient;
  readonly #pods: readonly TestPod[];
  #used = 0;

  constructor(agent: NodeAgent, client: SocketClient, pods: readonly TestPod[]) {
    this.#agent = agent;
    this.#client = client;
    this.#pods = pods;
  }

  /** ADDs, then DELs of the same attachments, with as many callers. */
  async run(callers: number, operations: number): Promise<{ add: Round; del: Round }> {
    const add = await this.addOnly(callers, operations);
    return { add, del: await this.delLast(callers, operations) };
  }

  addOnly(callers: number, operations: number): Promise<Round> {
    const first = this.#used;
    this.#used += operations;
    return measure(callers, operations, async (index) => {
      assertSuccess(await this.#client.call(this.#call('ADD', first + index)));
    });
  }

  /** DELs of what was added last. */
  delLast(callers: number, operations: number): Promise<Round> {
    const first = this.#used - operations;
    return measure(callers, operations, async (index) => {
      assertSuccess(await this.#client.call(this.#call('DEL', first + index)));
    });
  }

  /** ADDs through the compiled binary, one after the other; the attachments are deleted again, not measured. */
  async runBinary(binary: string, operations: number): Promise<Round> {
    const first = this.#used;
    this.#used += operations;
    const calls = Array.from({ length: operations }, (_, index) => this.#call('ADD', first + index));
    const round = runProcesses(binary, calls);
    await this.delLast(8, operations);
    return round;
  }

  /** Every attachment is a pod's own interface: a second one of the same name would be a restarted sandbox. */
  #call(command: CniCall['command'], index: number): CniCall {
    const pod = this.#pods[index % this.#pods.length];
    if (pod === undefined) throw new Error('no pods');
    return {
      command,
      containerID: `c-${pod.uid}`,
      ifname: `e${index}`,
      args: podArgs(pod),
      config: {
        cniVersion: '1.1.0',
        name: 'bench',
        type: 'bridge',
        ipam: this.#agent.ipam({ pools: ['bench'] }),
      },
    };
  }
}

/** The reference plugin for one node, with files: the floor for any plugin that is a process. */
export function runHostLocal(binary: string, dataDir: string, first: number, operations: number): Round {
  const config = {
    cniVersion: '1.1.0',
    name: 'bench',
    type: 'bridge',
    ipam: { type: 'host-local', dataDir, ranges: [[{ subnet: '10.99.0.0/16' }]] },
  };
  const calls = Array.from(
    { length: operations },
    (_, index): CniCall => ({ command: 'ADD', containerID: `h${first + index}`, ifname: 'eth0', config }),
  );
  return runProcesses(binary, calls);
}

/** Starting a process that does nothing: what any plugin pays here. */
export function runNothing(operations: number): Round {
  const call: CniCall = { command: 'ADD', containerID: 'none', ifname: 'eth0', config: {} };
  return runProcesses(
    '/bin/true',
    Array.from({ length: operations }, () => call),
  );
}
