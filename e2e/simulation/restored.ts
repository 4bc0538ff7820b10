/**
 * What restores of the API server have taken from live sandboxes. The one allowed exception from "no address twice":
 * until a node's agent notices, others may be given what its sandboxes have.
 */
import type { Sandbox } from './oracle.ts';

/** Milliseconds from a broken connection to the moment when an agent knows of it. */
const NOTICED_AFTER_MS = 1_000;

export class RestoredState {
  readonly #lost = new Map<Sandbox, Set<string>>();
  /** By node: since when its agent knows that the API server may have lost its memory. */
  readonly #noticedAt = new Map<string, number>();
  readonly #reported = new Set<string>();
  /** Addresses of live sandboxes that the API had no longer, and those of them that were given to somebody else. */
  readonly counts: { lost: number; doubled: number } = { lost: 0, doubled: 0 };

  /** A restore begins a new account of who knows. What was reported, and is not mended, needs no second report. */
  begin(): void {
    this.#noticedAt.clear();
  }

  lose(sandbox: Sandbox, address: string): void {
    const addresses = this.#lost.get(sandbox) ?? new Set();
    this.#lost.set(sandbox, addresses.add(address));
    this.counts.lost += 1;
  }

  isLost(sandbox: Sandbox, address: string): boolean {
    return this.#lost.get(sandbox)?.has(address) ?? false;
  }

  /** The API has it as the sandbox's own again: from now on it is as safe as any. */
  mended(sandbox: Sandbox, address: string): void {
    this.#lost.get(sandbox)?.delete(address);
    this.#reported.delete(`${sandbox.container} ${address}`);
  }

  ended(sandbox: Sandbox): void {
    this.#lost.delete(sandbox);
  }

  /** A connection of the node's agent broke, or began anew. @param at milliseconds */
  noticed(node: string, at: number): void {
    if (!this.#noticedAt.has(node)) this.#noticedAt.set(node, at + NOTICED_AFTER_MS);
  }

  /** The agent says that the address is somebody else's now. */
  reported(container: string, address: string): void {
    this.#reported.add(`${container} ${address}`);
  }

  /**
   * True if an ADD that the sandbox's agent was asked for at this time may not be served before all that the sandbox
   * lost is its own again, or reported.
   */
  mustHaveMended(sandbox: Sandbox, calledAt: number): boolean {
    const noticedAt = this.#noticedAt.get(sandbox.pod.node);
    if (noticedAt === undefined || calledAt < noticedAt) return false;
    const lost = [...(this.#lost.get(sandbox) ?? [])];
    return lost.some((address) => !this.#reported.has(`${sandbox.container} ${address}`));
  }
}
