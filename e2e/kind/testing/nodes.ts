/** Acting on the machines behind Node objects. */
import type { Docker } from '../docker.ts';

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
}
