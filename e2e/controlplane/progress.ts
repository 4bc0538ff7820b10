/**
 * Says on the terminal what a long step is doing.
 *
 * - On a terminal one line is rewritten every second; elsewhere one line per step appears every 15 s.
 * - Every step ends with a line of its own that says how long it took.
 */
import { setInterval } from 'node:timers';

/** One step under way. */
export interface Step {
  /** Replaces the detail that is shown beside the step's name. */
  update(detail: string): void;
  /** Ends the step; `result` is shown with the elapsed time. */
  done(result?: string): void;
  /** Ends the step as failed. */
  failed(reason: string): void;
}

/** Where steps are reported. */
export interface Progress {
  step(name: string): Step;
}

/** The part of a stream that is written to. */
export interface ProgressOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Reports nothing. */
export const silentProgress: Progress = {
  step: () => ({ update: () => undefined, done: () => undefined, failed: () => undefined }),
};

const TERMINAL_EVERY_MS = 1_000;
const PLAIN_EVERY_MS = 15_000;

/** `75,000` as `1 min 15 s`. */
export function formatElapsed(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** Progress on a stream, stderr unless given, so that stdout stays for results. */
export function terminalProgress(output: ProgressOutput = process.stderr): Progress {
  const running = new Map<Step, { name: string; detail: string; since: number }>();
  let timer: NodeJS.Timeout | undefined;
  const describe = (s: { name: string; detail: string; since: number }): string =>
    `${s.name} (${formatElapsed(performance.now() - s.since)})${s.detail === '' ? '' : `: ${s.detail}`}`;
  const clearLine = (): void => {
    if (output.isTTY === true) output.write('\r\u001b[K');
  };
  const show = (): void => {
    const texts = [...running.values()].map(describe);
    if (output.isTTY === true) {
      clearLine();
      output.write(texts.join(' | ').slice(0, (output.columns ?? 80) - 1));
      return;
    }
    for (const text of texts) output.write(`  … ${text}\n`);
  };
  const end = (step: Step, mark: string, text: string): void => {
    const state = running.get(step);
    if (state === undefined) return;
    running.delete(step);
    clearLine();
    output.write(`  ${mark} ${describe({ ...state, detail: text })}\n`);
    if (running.size === 0) clearInterval(timer);
  };
  return {
    step(name) {
      const step: Step = {
        update: (detail) => {
          const state = running.get(step);
          if (state !== undefined) state.detail = detail;
        },
        done: (result = '') => end(step, '✓', result),
        failed: (reason) => end(step, '✗', reason),
      };
      if (running.size === 0) {
        timer = setInterval(show, output.isTTY === true ? TERMINAL_EVERY_MS : PLAIN_EVERY_MS);
        timer.unref();
      }
      running.set(step, { name, detail: '', since: performance.now() });
      if (output.isTTY !== true) output.write(`  … ${name}\n`);
      return step;
    },
  };
}
