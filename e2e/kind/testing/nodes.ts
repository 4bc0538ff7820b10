/** Acting on the machines behind Node objects. */
import type { Docker } from '../docker.ts';
import { nodeAddresses, stretch } from '../network.ts';

/** Nodes that are containers. */
export class DockerNodes {
  /** All of them, sorted. */
  readonly names: readonly string[];
  readonly #docker: Docker;

  constructor(docker: Docker, names: readonly string[]) {
    this.#docker = docker;
    this.names = names;
  }

  /** Runs a shell line on a node, as root, and gives what it says. */
  shell(node: string, line: string): Promise<string> {
    return this.#docker.shell(node, line);
  }
  /** Restarts the machine, without a word to its pods. */
  async reboot(node: string): Promise<void> {
    await this.#docker.run(['restart', node]);
    // Routes and bridges were lost, and the address may be another one.
    await stretch(this.#docker, await nodeAddresses(this.#docker, this.names));
  }
}
