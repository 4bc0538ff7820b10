/** Telling `killer.ts` in an agent's process at which step to end it, and reading what it saw. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NodeAgent } from '../harness/cluster.ts';

/** `--import` of an agent that is to be killed at steps. */
export const KILLER: string = join(import.meta.dirname, 'killer.ts');

export class Steps {
  readonly #directory: string;
  #armings = 0;

  constructor(agent: NodeAgent) {
    this.#directory = `${agent.stateDir}-faults`;
    mkdirSync(this.#directory, { recursive: true });
  }

  /** From now on steps are traced, and the process dies at this one; undefined: they are only traced. */
  arm(step: string | undefined): void {
    for (const name of ['trace', 'hit']) rmSync(join(this.#directory, name), { force: true });
    this.#armings += 1;
    writeFileSync(join(this.#directory, 'step'), `${this.#armings}\n${step ?? ''}`);
  }

  disarm(): void {
    rmSync(join(this.#directory, 'step'), { force: true });
  }

  /**
   * Steps reached since the arming, in their order. The end of a doubt, 75 s after the ADD that left it, is none of
   * whatever runs meanwhile.
   */
  trace(): string[] {
    const lines = (this.#read('trace') ?? '').split('\n');
    return lines.filter((line) => line !== '' && !line.startsWith('journal resolved'));
  }

  /** The step at which the process died. */
  hit(): string | undefined {
    return this.#read('hit');
  }

  #read(name: string): string | undefined {
    const path = join(this.#directory, name);
    return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
  }
}

/** The names of steps that are reached `times` times each: `x`, `x #2`, … */
export function repeated(times: number, ...steps: readonly string[]): string[] {
  return steps.flatMap((step) => [step, ...Array.from({ length: times - 1 }, (_, i) => `${step} #${i + 2}`)]);
}

export const around = (record: string): string[] => [`journal ${record}: before`, `journal ${record}: after`];
export const writing = (verb: 'create' | 'patch' | 'delete'): string[] => [
  `${verb}: before`,
  `${verb}: sent`,
  `${verb}: answered`,
];
