/** Running a program to its end. */
import { spawn } from 'node:child_process';

/** How `run` runs a program. */
export interface RunOptions {
  readonly cwd?: string;
  /** The whole environment; absent: this process's. */
  readonly env?: NodeJS.ProcessEnv;
  /** Written to stdin; absent: stdin is empty. */
  readonly input?: string;
  /** Called with each line of stderr as it comes. */
  readonly onLine?: (line: string) => void;
}

/** Runs a program and resolves with its stdout; the injectable shape of `run`. */
export type Run = (command: string, args: readonly string[], options?: RunOptions) => Promise<string>;

/** A program that could not be started or ended with another status than 0. */
export class RunError extends Error {
  override readonly name = 'RunError';
  /** Absent where the program never started or was killed. */
  readonly exitCode: number | undefined;
  /** `ENOENT` where there is no such program. */
  readonly code: string | undefined;
  readonly stdout: string;
  readonly stderr: string;

  constructor(
    message: string,
    result: { exitCode?: number | undefined; code?: string | undefined; stdout?: string; stderr?: string },
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = result.exitCode;
    this.code = result.code;
    this.stdout = result.stdout ?? '';
    this.stderr = result.stderr ?? '';
  }
}

/** The last lines of a text, for error messages. */
export function tail(text: string, lines = 15): string {
  return text.trimEnd().split('\n').slice(-lines).join('\n');
}

/**
 * Runs a program to its end and resolves with its stdout.
 * @throws RunError with the last lines of stderr in its message.
 */
export const run: Run = (command, args, options = {}) =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const shown = [command, ...args].join(' ');
    let stdout = '';
    let stderr = '';
    let partial = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      const lines = (partial + text).split('\n');
      partial = lines.pop() ?? '';
      for (const line of lines) options.onLine?.(line);
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      reject(new RunError(`${command}: ${error.message}`, { code: error.code }, error));
    });
    child.on('close', (exitCode, signal) => {
      if (exitCode === 0) {
        resolve(stdout);
        return;
      }
      const how = exitCode === null ? `was ended by ${signal}` : `ended with status ${exitCode}`;
      reject(
        new RunError(`${shown} ${how}: ${tail(stderr === '' ? stdout : stderr)}`, {
          exitCode: exitCode ?? undefined,
          stdout,
          stderr,
        }),
      );
    });
    // A program that ends without reading its input closes the pipe; its exit status says what happened.
    child.stdin.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE')
        reject(new RunError(`${shown}: ${error.message}`, { code: error.code }, error));
    });
    child.stdin.end(options.input ?? '');
  });
