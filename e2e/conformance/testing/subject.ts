/** The compiled binary on one node of a cluster, called as main plugins and runtimes do. */
import { expect } from 'vitest';
import type { IPReservation } from '../../../crds/types.ts';
import type { Pod } from '../../../kube/core.ts';
import { NEWEST_VERSION } from '../../../plugin/protocol.ts';
import type { Cluster, NodeAgent, TestPod } from '../../harness/cluster.ts';
import {
  type CniCall,
  type CniOutcome,
  cniEnv,
  codeOf,
  messageOf,
  podArgs,
  runPlugin,
} from '../../harness/cni.ts';
import { artefacts } from '../../harness/programs.ts';

/** Name of the network configuration. */
export const NETWORK_NAME = 'conformance';

/** What a call is made of besides verb and pod. A value that is undefined leaves the key out. */
export interface Shape {
  readonly version?: string;
  /** Keys of `ipam` besides the paths of the agent. */
  readonly ipam?: Readonly<Record<string, unknown>>;
  /** Keys of the configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Added to CNI_ARGS. */
  readonly args?: Readonly<Record<string, string>>;
  readonly ifname?: string;
  readonly containerID?: string;
}

/** The environment and the input of a call. */
export interface Call {
  readonly env: Record<string, string>;
  readonly config: Record<string, unknown>;
}

export class Subject {
  readonly cluster: Cluster;
  readonly agent: NodeAgent;
  /** Successful ADDs without their DEL, by attachment. */
  readonly #live = new Map<string, { containerID: string; ifname: string }>();
  #pods = 0;

  constructor(cluster: Cluster, agent: NodeAgent) {
    this.cluster = cluster;
    this.agent = agent;
  }

  /** A new pod of the node. */
  async pod(metadata: Partial<Pod['metadata']> = {}): Promise<TestPod> {
    this.#pods += 1;
    return this.cluster.createPod(this.agent.node, `pod-${this.#pods}`, metadata);
  }

  /** What `call` hands to the binary. */
  prepare(command: CniCall['command'], pod: TestPod, shape: Shape = {}): Call {
    const { version = NEWEST_VERSION, ifname = 'net1', containerID = `c-${pod.uid}` } = shape;
    const config = this.configuration({
      cniVersion: version,
      ipam: this.agent.ipam(shape.ipam),
      ...shape.config,
    });
    const args = { ...podArgs(pod), ...shape.args };
    const env = { ...cniEnv({ command, containerID, ifname, args, config }), ...shape.env };
    const present = Object.entries(env).filter((each): each is [string, string] => each[1] !== undefined);
    return { env: Object.fromEntries(present), config };
  }

  async call(command: CniCall['command'], pod: TestPod, shape: Shape = {}): Promise<CniOutcome> {
    const { env, config } = this.prepare(command, pod, shape);
    const outcome = await runPlugin(artefacts.binary, env, JSON.stringify(config));
    const { CNI_CONTAINERID: containerID = '', CNI_IFNAME: ifname = '' } = env;
    const key = `${containerID}/${ifname}`;
    if (outcome.exitCode === 0 && command === 'ADD') this.#live.set(key, { containerID, ifname });
    if (outcome.exitCode === 0 && command === 'DEL') this.#live.delete(key);
    return outcome;
  }

  /** An ADD of a new pod. */
  async add(shape: Shape = {}): Promise<{ pod: TestPod; outcome: CniOutcome }> {
    const pod = await this.pod();
    return { pod, outcome: await this.call('ADD', pod, shape) };
  }

  /** The reservations of the pod, in the order of their names. */
  async reservationsOf({ uid }: TestPod): Promise<IPReservation[]> {
    const all = [...(await this.cluster.reservations()).values()];
    return all.filter(({ spec }) => spec.owner?.uid === uid);
  }

  /** A configuration that reaches the agent. */
  configuration(more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    return {
      cniVersion: NEWEST_VERSION,
      name: NETWORK_NAME,
      type: 'bridge',
      ipam: this.agent.ipam(),
      ...more,
    };
  }

  /** DEL of everything that was added: no test leaves something to the next. Not through the binary, which takes longer. */
  async giveBack(): Promise<void> {
    const calls = [...this.#live.values()].map(async ({ containerID, ifname }) => {
      const call = { command: 'DEL', containerID, ifname, config: this.configuration() } as const;
      const { exitCode, stdout } = await this.agent.call(call);
      if (exitCode !== 0) throw new Error(`a test's attachment can not be given back: ${stdout}`);
    });
    await Promise.all(calls);
    this.#live.clear();
  }
}

/** A call without an attachment: a verb and a configuration, or any input. */
export function bareCall(
  command: 'GC' | 'STATUS' | 'VERSION',
  config: Readonly<Record<string, unknown>> | string,
  env: Readonly<Record<string, string>> = {},
): Promise<CniOutcome> {
  const stdin = typeof config === 'string' ? config : JSON.stringify(config);
  return runPlugin(artefacts.binary, { CNI_COMMAND: command, ...env }, stdin);
}

/** An answer that is a success without output. */
export const SILENCE: CniOutcome = { exitCode: 0, stdout: '', output: undefined };

/** The call has failed with this code, and with a message that matches. */
export function expectError(outcome: CniOutcome, code: number, text: string | RegExp = /./): void {
  expect([codeOf(outcome), messageOf(outcome)]).toEqual([code, expect.stringMatching(text)]);
}

/** The addresses with prefix of a result in any version's form. @throws Error if it is no result */
export function addressesIn({ exitCode, stdout, output }: CniOutcome): string[] {
  if (exitCode !== 0 || output === undefined) throw new Error(`not the result of an ADD: ${stdout}`);
  // The forms of the CNI spec.
  const { ips, ip4, ip6 } = output as {
    ips?: { address: string }[];
    ip4?: { ip: string };
    ip6?: { ip: string };
  };
  return ips?.map(({ address }) => address) ?? [ip4, ip6].flatMap((each) => each?.ip ?? []);
}
