/** The built agent and operator as child processes: started, killed and started again as an operator of a cluster would. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { isRunning, killServer, type ProcessId, startServer, stopServer } from '../controlplane/child.ts';
import { tail } from '../controlplane/run.ts';
import { waitFor } from './wait.ts';

const root = join(import.meta.dirname, '../..');

/** Where the built artefacts are: dist/, or BERTH_DIST, such as the directory of an unpacked release. */
const dist = resolve(process.env['BERTH_DIST'] ?? join(root, 'dist'));

/** Built artefacts (contract: their names). */
export const artefacts: Readonly<Record<'binary' | 'agent' | 'operator' | 'install', string>> = {
  binary: join(dist, 'berth'),
  agent: join(dist, 'agent.mjs'),
  operator: join(dist, 'operator.mjs'),
  install: join(dist, 'install.mjs'),
};

/** The node that npm placed in node_modules. */
export const nodePath: string = join(root, 'node_modules/.bin/node');

export interface ProgramOptions {
  /** What node runs. */
  readonly script: string;
  /** A module that node loads before it. */
  readonly preload?: string | undefined;
  readonly flags: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** CPU list as `taskset -c` takes it. */
  readonly cpus?: string | undefined;
  /** True: it outlives this process. */
  readonly detached?: boolean | undefined;
  /** Whether the program serves, given its log since the start. */
  readonly isUp: (log: string) => Promise<boolean>;
  /** Put before the program, such as `ip netns exec node-a`. */
  readonly wrapper?: readonly string[] | undefined;
}

/** One program that can be stopped, killed and started again with the same flags. */
export class Program {
  readonly #options: ProgramOptions;
  #id: ProcessId | undefined;
  #logStart = 0;

  constructor(options: ProgramOptions) {
    this.#options = options;
  }

  get pid(): number {
    if (this.#id === undefined) throw new Error(`${this.#options.script} is not running`);
    return this.#id.pid;
  }

  /** Identity of the running process, for whoever must stop it later. */
  get id(): ProcessId {
    if (this.#id === undefined) throw new Error(`${this.#options.script} is not running`);
    return this.#id;
  }

  /** The log since the last start. */
  log(): string {
    return readFileSync(this.#options.logFile, 'utf8').slice(this.#logStart);
  }

  /** Starts it without waiting until it serves. */
  async spawn(): Promise<void> {
    const { script, preload, flags, logFile, cpus, detached, wrapper = [] } = this.#options;
    const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
    const imports = preload === undefined ? [] : ['--import', preload];
    const [command = nodePath, ...rest] = [...wrapper, nodePath, ...imports, script, ...args];
    this.#logStart = sizeOf(logFile);
    this.#id = await startServer({ command, args: rest, logFile, cpus, detached: detached ?? false });
  }

  /** Starts it and waits until it serves. @throws Error with the end of its log if it does not within 60 s */
  async start(): Promise<void> {
    await this.spawn();
    await this.whenUp();
  }

  async whenUp(): Promise<void> {
    const { script, isUp } = this.#options;
    let ended = false;
    await waitFor(
      `${script} serves`,
      async () => {
        ended = !this.isRunning;
        return ended || (await isUp(this.log()));
      },
      { timeoutMs: 60_000, onTimeout: () => tail(this.log()) },
    );
    if (ended) throw new Error(`${script} has ended before it served:\n${tail(this.log())}`);
  }

  /** False once the process has ended, by whatever hand. */
  get isRunning(): boolean {
    return this.#id !== undefined && isRunning(this.#id);
  }

  /** Waits until the process has ended by itself, or by another's hand. */
  async whenEnded(): Promise<void> {
    await waitFor(`${this.#options.script} has ended`, () => !this.isRunning, { everyMs: 10 });
    this.#id = undefined;
  }

  /** SIGTERM, and waits for the end. */
  async stop(): Promise<void> {
    if (this.#id !== undefined) await stopServer(this.#id);
    this.#id = undefined;
  }

  /** SIGKILL, and waits for the end. */
  async kill(): Promise<void> {
    if (this.#id !== undefined) await killServer(this.#id);
    this.#id = undefined;
  }
}

function sizeOf(file: string): number {
  try {
    return readFileSync(file, 'utf8').length;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 0;
    throw error;
  }
}

/** The field of the last log line that has it: programs log the ports that they really use. */
export function loggedField(log: string, message: string, field: string): string | undefined {
  for (const line of log.trimEnd().split('\n').toReversed()) {
    if (!line.startsWith('{')) continue;
    // Written by our own logger, one JSON object a line.
    const entry = JSON.parse(line) as Record<string, unknown>;
    if (entry['msg'] === message) return String(entry[field]);
  }
  return undefined;
}

/** `isUp` of the operator: its readiness endpoint, whose port it has logged, says yes. */
export async function operatorIsUp(log: string): Promise<boolean> {
  const address = loggedField(log, 'serving', 'health');
  if (address === undefined) return false;
  const response = await fetch(`http://${address}/readyz`);
  return response.ok;
}
