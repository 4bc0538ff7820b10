/**
 * A seeded run of two agents on one small API: runtimes that add, repeat, delete, restart sandboxes and lose their
 * patience, agents that are killed and started on their journals, and an API server that fails in every way it can.
 *
 * What a runtime knows is the model; at rest the API must have exactly that.
 */
import type { MemoryCall } from '../../../kube/memory.ts';
import type { CniAnswer } from '../../protocol.ts';
import type { SeededRandom } from './random.ts';
import { isWrite, outcomeUnknown, type TestNode, throttled, unreachable, World } from './world.ts';

const NODES = ['node-1', 'node-2'];
const STEPS = 40;

/** One sandbox's interface, as its runtime sees it. */
interface Sandbox {
  readonly node: TestNode;
  readonly container: string;
  readonly pod: string;
  /** What ADD answered; undefined: nobody knows, a DEL is due. */
  addresses: readonly string[] | undefined;
}

export class Simulation {
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #sandboxes = new Map<string, Sandbox>();
  /** DELs that are due: their sandboxes are gone or were never answered. */
  readonly #due = new Set<Sandbox>();
  /** Calls under way, by container. */
  readonly #running = new Map<string, Promise<void>>();
  readonly #history: string[] = [];
  #containers = 0;
  #isFaulty = true;
  /** The first promise that was broken. */
  #broken: { readonly error: unknown } | undefined;

  constructor(seed: number) {
    this.#world = new World(seed);
    this.#random = this.#world.random;
  }

  /** What happened, for a run that fails. */
  get history(): readonly string[] {
    return this.#history;
  }

  /** @throws Error that says which promise was broken */
  async run(): Promise<void> {
    await using world = this.#world;
    const cooldown = this.#random.pick(['0s', '0s', '20s']);
    const allocation = this.#random.pick(['Random', 'Ascending'] as const);
    world.pool('v4', { subnet: '10.0.0.0/28', ranges: ['10.0.0.2-10.0.0.8'], cooldown, allocation });
    if (this.#random.next() < 0.5) {
      world.pool('v6', { subnet: 'fd00::/64', ranges: ['fd00::2-fd00::9'], cooldown, allocation });
    }
    for (const name of NODES) world.node(name);
    for (const node of world.nodes) {
      for (const n of [1, 2, 3, 4]) await world.pod(`${node.name}-pod-${n}`, { node: node.name });
      await node.parts.sync.compare();
      node.work();
    }
    world.before = (call) => this.#before(call);
    world.after = (call) => this.#after(call);
    for (let step = 0; step < STEPS; step += 1) {
      await this.#step();
      await world.pass(this.#random.pick([0, 0, 100, 1_000, 10_000]));
    }
    await this.#comeToRest();
    if (this.#broken !== undefined) throw this.#broken.error;
    this.#check();
  }

  #note(text: string): void {
    this.#history.push(`${this.#world.clock.monotonic()} ${text}`);
  }

  async #step(): Promise<void> {
    const free = [...this.#sandboxes.values()].filter((s) => !this.#running.has(s.container));
    const due = [...this.#due].filter((s) => !this.#running.has(s.container));
    const what = this.#random.next();
    if (what < 0.4 || free.length + due.length === 0) {
      const node = this.#random.pick(this.#world.nodes);
      this.#start(this.#add(this.#newSandbox(node, `${node.name}-pod-${1 + this.#random.below(4)}`)));
    } else if (what < 0.5 && free.length > 0) {
      this.#start(this.#add(this.#random.pick(free)));
    } else if (what < 0.6 && free.length > 0) {
      this.#start(this.#restartSandbox(this.#random.pick(free)));
    } else if (what < 0.85 && free.length > 0) {
      this.#start(this.#del(this.#random.pick(free)));
    } else if (what < 0.93 && due.length > 0) {
      this.#start(this.#del(this.#random.pick(due)));
    } else {
      await this.#restartAgent(this.#random.pick(this.#world.nodes));
    }
  }

  /** A pod has one sandbox at a time: the old one is deleted some time. */
  #newSandbox(node: TestNode, pod: string): Sandbox {
    for (const old of this.#sandboxes.values()) {
      if (old.pod === pod) this.#retire(old);
    }
    this.#containers += 1;
    return { node, pod, container: `c${this.#containers}`, addresses: undefined };
  }

  #retire(sandbox: Sandbox): void {
    this.#sandboxes.delete(sandbox.container);
    this.#due.add(sandbox);
  }

  #start({ container, work }: { container: string; work: Promise<void> }): void {
    const settled = work
      .catch((error: unknown) => {
        this.#broken ??= { error };
      })
      .finally(() => this.#running.delete(container));
    this.#running.set(container, settled);
  }

  async #call(command: string, sandbox: Sandbox): Promise<CniAnswer | undefined> {
    const { node, container, pod } = sandbox;
    const life = node.parts;
    this.#note(`${command} ${container} ${pod}`);
    const request = this.#world.request(command, { container, pod });
    const died = node.death.then(() => undefined);
    const answer = await Promise.race([life.handler.handle(request), died]);
    this.#note(
      `${command} ${container}: ${answer === undefined ? 'the agent died' : JSON.stringify(answer)}`,
    );
    return answer;
  }

  #add(sandbox: Sandbox): { container: string; work: Promise<void> } {
    const known = sandbox.addresses;
    const work = async (): Promise<void> => {
      const answer = await this.#call('ADD', sandbox);
      if (answer === undefined) {
        this.#retire(sandbox);
      } else if (answer.exitCode !== 0) {
        // Nothing may be left behind by it, so half of the runtimes forget it; the others send a DEL some time.
        if (known !== undefined) throw new Error(`ADD ${sandbox.container} again: ${answer.stdout}`);
        if (this.#random.next() < 0.5) this.#due.add(sandbox);
      } else {
        const { ips } = JSON.parse(answer.stdout) as { ips: { address: string }[] };
        this.#added(
          sandbox,
          known,
          ips.map((ip) => ip.address),
        );
      }
    };
    return { container: sandbox.container, work: work() };
  }

  #added(sandbox: Sandbox, known: readonly string[] | undefined, addresses: readonly string[]): void {
    if (known !== undefined && String(known) !== String(addresses)) {
      throw new Error(`ADD ${sandbox.container} again: ${addresses.join()} instead of ${known.join()}`);
    }
    for (const other of this.#sandboxes.values()) {
      const both = other === sandbox ? undefined : addresses.find((a) => other.addresses?.includes(a));
      if (both !== undefined) throw new Error(`${both} is ${other.container}'s and ${sandbox.container}'s`);
    }
    const bound = this.#bound();
    for (const address of addresses) {
      const has = bound.get(address.split('/')[0] ?? '');
      if (has !== sandbox.container) throw new Error(`${address} of ${sandbox.container} is bound to ${has}`);
    }
    sandbox.addresses = addresses;
    if (!this.#due.has(sandbox)) this.#sandboxes.set(sandbox.container, sandbox);
  }

  #restartSandbox(old: Sandbox): { container: string; work: Promise<void> } {
    return this.#add(this.#newSandbox(old.node, old.pod));
  }

  #del(sandbox: Sandbox): { container: string; work: Promise<void> } {
    this.#retire(sandbox);
    const work = async (): Promise<void> => {
      const answer = await this.#call('DEL', sandbox);
      if (answer === undefined) return;
      if (answer.exitCode !== 0) throw new Error(`DEL ${sandbox.container}: ${answer.stdout}`);
      this.#due.delete(sandbox);
    };
    return { container: sandbox.container, work: work() };
  }

  async #restartAgent(node: TestNode): Promise<void> {
    this.#note(`kill ${node.name}`);
    node.restart();
    const compare = async (): Promise<void> => {
      for (;;) {
        try {
          await node.parts.sync.compare();
          return;
        } catch {
          // As the agent: again until the API answers.
          await this.#world.clock.sleep(1_000);
        }
      }
    };
    await this.#world.finish(compare(), 600_000, 500);
    node.work();
    this.#note(`${node.name} is back`);
  }

  async #comeToRest(): Promise<void> {
    this.#isFaulty = false;
    const { clock } = this.#world;
    while (this.#running.size > 0 || this.#due.size > 0) {
      for (const sandbox of this.#due) {
        if (!this.#running.has(sandbox.container)) this.#start(this.#del(sandbox));
      }
      const all = Promise.all(this.#running.values());
      await this.#world.finish(all, 200_000, 1_000);
    }
    // The last write of unknown outcome may commit after 60 s, and its doubt ends after 75 s and a look.
    await clock.advance(180_000);
  }

  #before(call: MemoryCall): void | Promise<void> {
    if (!this.#isFaulty) return;
    const what = this.#random.next();
    if (what < 0.06) throw unreachable();
    if (what < 0.09) throw throttled(1_000);
    if (isWrite(call)) {
      if (what < 0.13) throw outcomeUnknown();
      if (what < 0.18) {
        this.#note(`late: ${call.verb} ${call.target}`);
        return this.#world.clock.sleep(this.#random.next() * 58_000);
      }
    }
  }

  #after(call: MemoryCall): void | Promise<void> {
    if (!this.#isFaulty) return;
    if (isWrite(call) && this.#random.next() < 0.06) {
      this.#note(`done, and no answer: ${call.verb} ${call.target}`);
      throw outcomeUnknown();
    }
  }

  #bound(): Map<string, string> {
    const bound = this.#world.reservations.filter(({ spec }) => spec.state === 'Bound');
    return new Map(bound.map(({ spec }) => [spec.address, spec.owner?.containerID ?? '']));
  }

  #check(): void {
    const live = [...this.#sandboxes.values()].flatMap((s) =>
      (s.addresses ?? []).map((a) => `${a.split('/')[0]} ${s.container}`),
    );
    const bound = [...this.#bound()].map(([address, container]) => `${address} ${container}`);
    const table = this.#world.nodes.flatMap(({ journal }) =>
      [...journal.state.attachments.values()].flatMap((a) =>
        a.claims.map((c) => `${c.address} ${a.owner.containerID}`),
      ),
    );
    const left = this.#world.nodes.flatMap(({ journal }) => [
      ...journal.state.intents.keys(),
      ...journal.state.releasing.keys(),
    ]);
    for (const [what, found] of [
      ['reservations', bound],
      ['the tables', table],
    ] as const) {
      if (String(found.toSorted()) !== String(live.toSorted())) {
        throw new Error(`${what}: ${found.toSorted().join(', ')}; live: ${live.toSorted().join(', ')}`);
      }
    }
    if (left.length > 0) throw new Error(`still in doubt or releasing at rest: ${left.join(', ')}`);
  }
}
