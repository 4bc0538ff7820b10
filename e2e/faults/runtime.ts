/** A container runtime and kubelet, as far as CNI sees them: who is attached, and what is done about a failure. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { IPReservation } from '../../crds/types.ts';
import { addressesOf, type Cluster, podCall, type TestPod } from '../harness/cluster.ts';
import { type CniCall, type CniOutcome, callBinary, codeOf } from '../harness/cni.ts';
import { artefacts } from '../harness/programs.ts';
import { waitFor } from '../harness/wait.ts';

/** A sandbox that a runtime has made for a pod; `pools` are what its network configuration names. */
export interface Sandbox {
  readonly pod: TestPod;
  readonly containerID: string;
  readonly pools: readonly string[];
}

/** Milliseconds for which a kubelet is patient here; a real one never gives up. */
const PATIENCE_MS = 60_000;
const PAUSE_MS = 200;

export class Runtime {
  readonly #cluster: Cluster;
  /** Addresses that were answered to an ADD and not given to a DEL since, by container ID. */
  readonly #live = new Map<string, { readonly sandbox: Sandbox; readonly addresses: readonly string[] }>();
  /** Sandboxes that had no DEL yet, whether or not an ADD of theirs was answered. */
  readonly #sandboxes = new Map<string, Sandbox>();
  #made = 0;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  sandbox(pod: TestPod, pools: readonly string[]): Sandbox {
    this.#made += 1;
    const sandbox = { pod, pools, containerID: `sandbox-${this.#made}-${pod.name}` };
    this.#sandboxes.set(sandbox.containerID, sandbox);
    return sandbox;
  }

  call(command: CniCall['command'], { pod, containerID, pools }: Sandbox): CniCall {
    return podCall(command, pod, this.#cluster.agent(pod.node).ipam({ pools }), { containerID });
  }

  /** Takes note of an ADD's success. */
  added(sandbox: Sandbox, answer: CniOutcome): void {
    this.#live.set(sandbox.containerID, { sandbox, addresses: addressesOf(answer) });
  }

  /** One ADD. @returns its answer; a success is noted */
  async add(sandbox: Sandbox): Promise<CniOutcome> {
    const answer = await callBinary(artefacts.binary, this.call('ADD', sandbox));
    if (answer.exitCode === 0) this.added(sandbox, answer);
    return answer;
  }

  /** DEL until it succeeds. The addresses are nobody's from the first one on. */
  async del(sandbox: Sandbox): Promise<void> {
    this.#live.delete(sandbox.containerID);
    const deadline = performance.now() + PATIENCE_MS;
    let answer: CniOutcome;
    do {
      answer = await callBinary(artefacts.binary, this.call('DEL', sandbox));
      if (answer.exitCode === 0) {
        this.#sandboxes.delete(sandbox.containerID);
        return;
      }
      await sleep(PAUSE_MS);
    } while (performance.now() < deadline);
    throw new Error(
      `DEL of ${sandbox.containerID} keeps failing: ${answer.stdout}\n${this.#agentsLog(sandbox.pod.node)}`,
    );
  }

  /** DEL of every sandbox that had none, so that a test that failed half-way fails alone. */
  async delAll(): Promise<void> {
    for (const sandbox of this.#sandboxes.values()) await this.del(sandbox);
  }

  /** What a kubelet does with a pod that shall run: ADD, and after a failure DEL and another sandbox. */
  async run(pod: TestPod, pools: readonly string[]): Promise<Sandbox> {
    const deadline = performance.now() + PATIENCE_MS;
    let answer: CniOutcome;
    do {
      const sandbox = this.sandbox(pod, pools);
      answer = await this.add(sandbox);
      if (answer.exitCode === 0) return sandbox;
      await this.del(sandbox);
      await sleep(PAUSE_MS);
    } while (performance.now() < deadline);
    throw new Error(
      `no sandbox of ${pod.name} comes up: code ${codeOf(answer)}: ${answer.stdout}\n${this.#agentsLog(pod.node)}`,
    );
  }

  /** Forgets a pod that is gone without a DEL. */
  lost(pod: TestPod): void {
    for (const [id, { sandbox }] of this.#live) {
      if (sandbox.pod.uid === pod.uid) this.#live.delete(id);
    }
    for (const [id, sandbox] of this.#sandboxes) {
      if (sandbox.pod.uid === pod.uid) this.#sandboxes.delete(id);
    }
  }

  /** Live attachments as lines, one an address. */
  live(): string[] {
    return [...this.#live.values()]
      .flatMap(({ sandbox, addresses }) =>
        addresses.map((address) => `${address} ${sandbox.pod.uid} ${sandbox.containerID}`),
      )
      .toSorted();
  }

  /**
   * Waits until the Bound reservations are the live attachments exactly, and no reservation of another state has come
   * from a pool without cooldown.
   */
  async whenEqual(timeoutMs = 45_000): Promise<void> {
    let reserved: string[] = [];
    let live: string[] = [];
    await waitFor(
      'the reservations are the live attachments',
      async () => {
        const all = [...(await this.#cluster.reservations()).values()];
        reserved = all
          .filter((r) => r.spec.pool !== RESTING_POOL || r.spec.state === 'Bound')
          .map(lineOf)
          .toSorted();
        live = this.live();
        return reserved.join('\n') === live.join('\n');
      },
      {
        timeoutMs,
        everyMs: 100,
        onTimeout: () =>
          [
            difference(live, reserved),
            ...[...this.#cluster.agents.keys()].map((n) => this.#agentsLog(n)),
          ].join('\n'),
      },
    );
  }

  /** The end of it: what an agent that does not do what it should says itself. */
  #agentsLog(node: string): string {
    const { program } = this.#cluster.agent(node);
    return `the agent of ${node} is ${program.isRunning ? 'running' : 'not running'}, its log ends with\n${program.log().slice(-3_000)}`;
  }
}

/** The one pool whose released addresses rest. */
export const RESTING_POOL = 'resting';

function lineOf({ spec }: IPReservation): string {
  const state = spec.state === 'Bound' ? '' : ` (${spec.state})`;
  return `${spec.address} ${spec.owner?.uid} ${spec.owner?.containerID}${state}`;
}

function difference(live: readonly string[], reserved: readonly string[]): string {
  const only = (some: readonly string[], others: readonly string[]): string[] =>
    some.filter((line) => !others.includes(line));
  return [
    ...only(live, reserved).map((line) => `live, not reserved: ${line}`),
    ...only(reserved, live).map((line) => `reserved, not live: ${line}`),
  ].join('\n');
}
