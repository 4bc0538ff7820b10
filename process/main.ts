/** From a command line to a running program and back to an exit status. */
import process from 'node:process';
import type { Log } from '../kube/log.ts';
import {
  type Flag,
  type Flags,
  type FlagValues,
  type LogLevel,
  type Program,
  parseFlags,
  UsageError,
} from './flags.ts';
import { createLog } from './log.ts';

export interface Running<F extends Flags> {
  readonly values: FlagValues<F>;
  /** Aborts at the first SIGTERM or SIGINT: stop what you do, then return. */
  readonly signal: AbortSignal;
  readonly log: Log;
}

/**
 * Runs `body` as this process and ends the process when it is over.
 *
 * - Exit status 0: `body` returned, or `--help` or `--version` was printed. 1: `body` threw, or an exception or
 *   rejection was left unhandled (all of them are logged). 2: usage error, one line on stderr.
 * - The first SIGTERM or SIGINT aborts the signal; the second ends the process at once with 1.
 */
export async function runProgram<F extends Flags & { readonly 'log-level': Flag<LogLevel> }>(
  program: Program<F>,
  body: (running: Running<F>) => Promise<void>,
): Promise<never> {
  const values = flagsOrExit(program);
  // F has the flag, but the compiler does not reduce FlagValues<F>['log-level'] while F is generic.
  const log = createLog({ level: values['log-level'] as LogLevel, name: program.name });
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (stop.signal.aborted) {
      log.warn({ signal: name }, 'second signal: ending at once');
      process.exit(1);
    }
    log.info({ signal: name }, 'stopping');
    stop.abort(new Error(`stopped by ${name}`));
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      log.error({ error, event }, 'unexpected error: the process ends');
      process.exit(1);
    });
  }
  log.info({ version: program.version, pid: process.pid, node: process.version }, 'starting');
  try {
    await body({ values, signal: stop.signal, log });
  } catch (error) {
    if (!(stop.signal.aborted && error === stop.signal.reason)) {
      log.error({ error }, 'the program failed');
      process.exit(1);
    }
  }
  log.info({}, 'stopped');
  // Without it an idle keep-alive connection would hold the process for seconds.
  process.exit(0);
}

function flagsOrExit<F extends Flags>(program: Program<F>): FlagValues<F> {
  try {
    const parsed = parseFlags(program, process.argv.slice(2), process.env);
    if ('values' in parsed) {
      return parsed.values;
    }
    process.stdout.write(parsed.help);
    process.exit(0);
  } catch (error) {
    if (!(error instanceof UsageError)) {
      throw error;
    }
    process.stderr.write(`${program.name}: ${error.message}\n`);
    process.exit(2);
  }
}
