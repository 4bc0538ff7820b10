/**
 * Network namespaces of one test, for nodes and pods. Everything that is made inside one goes with it; the machine's own
 * network is not touched. Needs root.
 */
import { isPidRunning } from '../controlplane/child.ts';
import { run } from '../controlplane/run.ts';
import { namespacesOf, removeNamespaces } from '../quickstart/network.ts';

const FAMILY = 'berth-test-';

/** What runs have left that were killed before they could clean up. */
async function removeAbandoned(): Promise<void> {
  const names = await namespacesOf(FAMILY);
  await removeNamespaces(
    names.filter((name) => !isPidRunning(Number.parseInt(name.slice(FAMILY.length), 10))),
  );
}

export class Namespaces {
  /** No two runs share it; every name begins with it. */
  readonly prefix: string;
  /** The last made goes first. */
  readonly #made: string[] = [];

  private constructor(prefix: string) {
    this.prefix = prefix;
  }

  /** @param test tells the tests of one process apart */
  static async open(test: string): Promise<Namespaces> {
    await removeAbandoned();
    return new Namespaces(`${FAMILY}${process.pid}-${test}`);
  }

  nameOf(name: string): string {
    return `${this.prefix}-${name}`;
  }

  /** What CNI_NETNS names. */
  pathOf(name: string): string {
    return `/var/run/netns/${this.nameOf(name)}`;
  }

  async add(name: string): Promise<void> {
    await run('ip', ['netns', 'add', this.nameOf(name)]);
    this.#made.unshift(this.nameOf(name));
    await this.ip(name, 'link set lo up');
    // Nobody else has these addresses: the second for detecting duplicates (RFC 4862, 5.4) is spared.
    await this.inside(name, ['sh', '-c', 'echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad']);
  }

  /** As after a restart of the node: whatever was inside is gone. */
  async remove(name: string): Promise<void> {
    await removeNamespaces([this.nameOf(name)]);
    this.#made.splice(this.#made.indexOf(this.nameOf(name)), 1);
  }

  async removeAll(): Promise<void> {
    await removeNamespaces(this.#made.splice(0));
  }

  /** Runs a program in the namespace; resolves with its stdout. @throws RunError */
  inside(name: string, command: readonly string[], env?: NodeJS.ProcessEnv): Promise<string> {
    const options = env === undefined ? {} : { env };
    return run('ip', ['netns', 'exec', this.nameOf(name), ...command], options);
  }

  /** `ip <command>` in the namespace. @throws RunError */
  ip(name: string, command: string): Promise<string> {
    return run('ip', ['-n', this.nameOf(name), ...command.split(' ')]);
  }

  /** Addresses of an interface with their prefix lengths, sorted. */
  async addressesIn(name: string, ifname: string): Promise<string[]> {
    // The format of `ip -json address` (ip-address(8)).
    const links = JSON.parse(await this.ip(name, `-json address show dev ${ifname}`)) as {
      addr_info: { local: string; prefixlen: number; scope: string }[];
    }[];
    const global = links.flatMap((link) => link.addr_info).filter(({ scope }) => scope === 'global');
    return global.map(({ local, prefixlen }) => `${local}/${prefixlen}`).toSorted();
  }

  /** @throws RunError if no answer came within 10 s */
  async ping(from: string, address: string): Promise<void> {
    await this.inside(from, ['ping', '-n', '-c', '1', '-w', '10', address]);
  }
}
