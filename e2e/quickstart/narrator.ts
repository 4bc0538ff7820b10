/**
 * What the quickstart says: numbered steps, a line or two each, and a sign of life when something takes long.
 *
 * - On a terminal the sign of life is one line that is rewritten each second and then goes away; elsewhere a line
 *   every 5 s.
 * - Nothing is said within the first 2 s of a wait.
 */
import type { ProgressOutput } from '../controlplane/progress.ts';

const QUIET_MS = 2_000;
const TERMINAL_EVERY_MS = 1_000;
const PLAIN_EVERY_MS = 5_000;

/** One step that is over. */
export interface StepTime {
  readonly title: string;
  readonly ms: number;
}

/** `4234` as `4.2 s`. */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

export class Narrator {
  readonly #output: ProgressOutput;
  readonly #steps: StepTime[] = [];
  #current: string | undefined;

  constructor(output: ProgressOutput = process.stdout) {
    this.#output = output;
  }

  /** Steps that are over, in their order. */
  get steps(): readonly StepTime[] {
    return this.#steps;
  }

  /** The step that is under way, or has failed: `step 4 (Berth)`. */
  get current(): string | undefined {
    return this.#current;
  }

  line(text = ''): void {
    this.#output.write(`${text}\n`);
  }

  /** Something that was seen to be so. */
  fact(text: string): void {
    this.line(`    ✓ ${text}`);
  }

  /** Something that is left out, or worth knowing. */
  note(text: string): void {
    this.line(`    ! ${text}`);
  }

  /** Output of a command, as it is, under the command. */
  shown(command: string, output: string): void {
    this.line(`    $ ${command}`);
    for (const text of output.trimEnd().split('\n')) this.line(text === '' ? '' : `      ${text}`);
  }

  /**
   * Runs one step under its number.
   * @param title a word or two, for the summary
   * @param explanation what happens and why, in one line
   */
  async step<T>(title: string, explanation: string, body: () => Promise<T>): Promise<T> {
    const start = performance.now();
    this.line();
    this.line(`${String(this.#steps.length + 1).padStart(2)}. ${explanation}`);
    this.#current = `step ${this.#steps.length + 1} (${title})`;
    const result = await body();
    this.#current = undefined;
    this.#steps.push({ title, ms: performance.now() - start });
    return result;
  }

  /** Waits for `promise` and says so if that takes long. @param what the wait in words: "the API server to be ready" */
  async waiting<T>(what: string, promise: Promise<T>): Promise<T> {
    const start = performance.now();
    const terminal = this.#output.isTTY === true;
    let shown = false;
    const show = (): void => {
      const text = `    … waiting for ${what} (${Math.round((performance.now() - start) / 1000)} s)`;
      const width = (this.#output.columns ?? 80) - 1;
      this.#output.write(terminal ? `\r\u001b[K${text.slice(0, width)}` : `${text}\n`);
      shown = true;
    };
    let timer = setTimeout(() => {
      show();
      timer = setInterval(show, terminal ? TERMINAL_EVERY_MS : PLAIN_EVERY_MS);
    }, QUIET_MS);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      if (shown && terminal) this.#output.write('\r\u001b[K');
    }
  }
}
