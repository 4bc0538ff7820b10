/**
 * A node's kubelet and container runtime: which pods shall run here, one sandbox for each, and all that runtimes do:
 * they retry, repeat, overtake themselves, forget DELs and restart sandboxes.
 */
import { SeededRandom } from '../../plugin/agent/testing/random.ts';
import { type CniAnswer, ErrorCode } from '../../plugin/protocol.ts';
import type { Sandbox } from './oracle.ts';
import { PodWorker } from './podworker.ts';
import { codeOf, type KubeletOptions, type PodHost, summary } from './runtime.ts';

const CONFIG = { cniVersion: '1.1.0', name: 'storage', type: 'macvlan' } as const;

export class Kubelet implements PodHost {
  readonly options: KubeletOptions;
  readonly random: SeededRandom;
  readonly #workers = new Map<string, PodWorker>();
  /** Grows when the runtime dies: what it waited for is lost. */
  #epoch = 0;
  /** Settles with it. */
  #loss: PromiseWithResolvers<undefined> = Promise.withResolvers();
  isUp = true;

  constructor(options: KubeletOptions) {
    this.options = options;
    this.random = new SeededRandom(options.seed);
  }

  get epoch(): number {
    return this.#epoch;
  }

  get workers(): ReadonlyMap<string, PodWorker> {
    return this.#workers;
  }

  /** Asks the API what shall run here; nothing new while it can not be reached. */
  observe(): void {
    const { machine, podsHere } = this.options;
    if (!this.isUp || machine.link.isAway) return;
    const here = podsHere();
    for (const [uid, { pod, state }] of here) {
      let worker = this.#workers.get(uid);
      if (worker === undefined) {
        worker = new PodWorker(this, pod);
        this.#workers.set(uid, worker);
      }
      worker?.want(state);
    }
    for (const [uid, worker] of this.#workers) {
      if (!here.has(uid)) worker.want('gone');
    }
  }

  forget(uid: string): void {
    this.#workers.delete(uid);
  }

  /** A call of the plugin; undefined if the runtime died meanwhile. */
  async call(command: string, sandbox: Sandbox, config: object = {}): Promise<CniAnswer | undefined> {
    const { machine, note } = this.options;
    const { container, pod } = sandbox;
    const epoch = this.#epoch;
    note(`${machine.node}: ${command} ${container} of pod ${pod.name}`);
    const answering = machine.call(
      {
        CNI_COMMAND: command,
        CNI_CONTAINERID: container,
        CNI_IFNAME: 'net1',
        CNI_NETNS: `/run/netns/${container}`,
        CNI_PATH: '/opt/cni/bin',
        CNI_ARGS: `K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${pod.name};K8S_POD_UID=${pod.uid}`,
      },
      {
        ...CONFIG,
        ipam: { type: 'berth', socket: '/run/berth/agent.sock', stateDir: machine.directory },
        ...config,
      },
      () => epoch === this.#epoch,
    );
    const answer = await Promise.race([answering, this.#loss.promise]);
    if (answer === undefined || epoch !== this.#epoch) {
      note(`${machine.node}: nobody hears the answer of ${command} ${container}`);
      return undefined;
    }
    note(`${machine.node}: ${command} ${container}: ${summary(answer)}`);
    this.#judge(command, answer);
    return answer;
  }

  /** GC with exactly what the runtime has. */
  async gc(): Promise<void> {
    if (!this.isUp) return;
    const valid = [...this.#workers.values()].flatMap((worker) => worker.containers);
    const nobody: Sandbox = {
      container: 'none',
      pod: { name: 'none', uid: 'none', node: this.options.machine.node, isStatic: false },
      state: 'new',
      addresses: [],
      isForgotten: false,
      isUnsure: false,
    };
    await this.call('GC', nobody, {
      'cni.dev/valid-attachments': valid.map((containerID) => ({ containerID, ifname: 'net1' })),
    });
  }

  /** The runtime is killed and comes back: sandboxes stay, calls under way have no caller. */
  restartRuntime(): void {
    this.#lose();
    for (const worker of this.#workers.values()) worker.restarted();
  }

  /** The machine is off: no sandbox lives. */
  powerOff(): void {
    this.isUp = false;
    this.#lose();
    for (const worker of this.#workers.values()) worker.lostPower();
  }

  /** @param isNew the machine is another one under the old name: its runtime knows of nothing */
  powerOn(isNew: boolean): void {
    this.isUp = true;
    if (isNew) {
      for (const worker of this.#workers.values()) worker.discard();
      this.#workers.clear();
    }
    for (const worker of this.#workers.values()) worker.wake();
    this.observe();
  }

  #lose(): void {
    this.#epoch += 1;
    this.#loss.resolve(undefined);
    this.#loss = Promise.withResolvers();
  }

  #judge(command: string, answer: CniAnswer): void {
    const { oracle } = this.options;
    const code = codeOf(answer);
    if (answer.stdout.includes('the agent failed')) oracle.broken(`${command}: ${answer.stdout}`);
    const allowed: readonly number[] =
      command === 'ADD'
        ? [
            0,
            ErrorCode.tryAgainLater,
            ErrorCode.exhausted,
            ErrorCode.addressTaken,
            ErrorCode.poolNotAllowed,
            ErrorCode.poolNotFound,
            ErrorCode.addressNotAllowed,
          ]
        : [0, ErrorCode.tryAgainLater];
    if (command !== 'CHECK' && !allowed.includes(code))
      oracle.broken(`${command} answered ${code}: ${answer.stdout}`);
  }
}
