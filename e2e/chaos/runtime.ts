/** A node's container runtime: calls the plugin, keeps the ledger, and counts what it is answered. */
import type { Random } from '../../kube/clock.ts';
import { addressesOf, type NodeAgent, podCall, type TestPod } from '../harness/cluster.ts';
import { type CniCall, type CniOutcome, callBinary, callSocket, codeOf, messageOf } from '../harness/cni.ts';
import { artefacts } from '../harness/programs.ts';
import { type Attachment, type AttachmentId, isProtected, type Ledger } from './ledger.ts';
import type { Tally, Way } from './tally.ts';

/** An interface that every pod of a kind gets, and the pools of its network configuration. */
export interface Interface {
  readonly ifname: string;
  readonly pools: readonly string[];
}

/** A sandbox of a pod, with its interfaces in the order in which they are added. */
export interface Sandbox {
  readonly pod: TestPod;
  readonly containerID: string;
  readonly interfaces: readonly Interface[];
}

/** Milliseconds after which a call through the socket is given up as the binary would (its own deadline: 30 s). */
const SOCKET_DEADLINE_MS = 30_000;

export interface RuntimeOptions {
  readonly agent: NodeAgent;
  readonly ledger: Ledger;
  readonly tally: Tally;
  readonly random: Random;
  /** Share of calls that a process of the binary makes, as a runtime does; 0 to 1. */
  readonly binaryShare: number;
  /** Milliseconds that never go back. */
  readonly now: () => number;
}

export class NodeRuntime {
  readonly #options: RuntimeOptions;

  constructor(options: RuntimeOptions) {
    this.#options = options;
  }

  /** ADD of each interface until one fails. @returns whether the sandbox has all of them */
  async setUp(sandbox: Sandbox): Promise<boolean> {
    const { ledger, tally, agent, now } = this.#options;
    for (const { ifname, pools } of sandbox.interfaces) {
      const id = { pod: sandbox.pod, containerID: sandbox.containerID, ifname };
      if (ledger.get(id) !== undefined) continue;
      const from = now();
      const { answer, way } = await this.#call('ADD', id, pools);
      const to = now();
      const code = codeOf(answer);
      const isVain = code !== 0 && ledger.isGone(id.pod.uid);
      tally.add({ node: agent.node, way, from, to, code, message: messageOf(answer), isVain });
      if (answer.exitCode !== 0) return false;
      ledger.added(id, addressesOf(answer));
    }
    return true;
  }

  /** ADD once more of what is live: the same addresses, or "try again". */
  async repeat({ pod, containerID, interfaces }: Sandbox): Promise<void> {
    const { ledger, tally } = this.#options;
    for (const { ifname, pools } of interfaces) {
      const live = ledger.get({ containerID, ifname });
      if (live === undefined) continue;
      const { answer } = await this.#call('ADD', { pod, containerID, ifname }, pools);
      if (!isProtected(live) || codeOf(answer) === 11) continue;
      const got = answer.exitCode === 0 ? addressesOf(answer).join() : answer.stdout;
      if (got !== live.addresses.join())
        tally.wrong.push(`ADD of ${containerID}/${ifname} again: ${got} instead of ${live.addresses.join()}`);
    }
  }

  /** The sandbox is dead: nobody uses its addresses any more, whether or not a DEL comes. */
  ended({ containerID, interfaces }: Sandbox): void {
    for (const { ifname } of interfaces) this.#options.ledger.ended({ containerID, ifname });
  }

  /** One DEL of each interface. @returns whether all succeeded; if not, the runtime tries again */
  async tearDown({ pod, containerID, interfaces }: Sandbox): Promise<boolean> {
    const { tally } = this.#options;
    let isDone = true;
    for (const { ifname, pools } of interfaces.toReversed()) {
      const { answer } = await this.#call('DEL', { pod, containerID, ifname }, pools);
      tally.dels += 1;
      if (answer.exitCode === 0) continue;
      isDone = false;
      if (codeOf(answer) !== 11) tally.wrong.push(`DEL of ${containerID}/${ifname}: ${answer.stdout}`);
    }
    return isDone;
  }

  /** Live attachments of a sandbox. */
  attachments({ containerID, interfaces }: Sandbox): Attachment[] {
    return interfaces.flatMap(({ ifname }) => this.#options.ledger.get({ containerID, ifname }) ?? []);
  }

  async #call(
    command: 'ADD' | 'DEL',
    { pod, containerID, ifname }: AttachmentId,
    pools: readonly string[],
  ): Promise<{ answer: CniOutcome; way: Way }> {
    const { agent, random, binaryShare } = this.#options;
    const call = podCall(command, pod, agent.ipam({ pools }), { containerID, ifname });
    if (random() >= binaryShare) {
      const answer = await throughSocket(agent.socket, call);
      if (answer !== undefined) return { answer, way: 'socket' };
    }
    // Waiting for the next agent, sending the call again and queueing a DEL are the binary's own work.
    return { answer: await callBinary(artefacts.binary, call), way: 'binary' };
  }
}

/** undefined where no agent has answered. */
async function throughSocket(socket: string, call: CniCall): Promise<CniOutcome | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), SOCKET_DEADLINE_MS);
  });
  // Whoever loses the race is not waited for any more; a connection that breaks is no answer.
  const answer = callSocket(socket, call).catch((error: NodeJS.ErrnoException) => {
    if (/^(ECONNREFUSED|ECONNRESET|ENOENT|EPIPE|EAGAIN)$/.test(error.code ?? '')) return undefined;
    throw error;
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
