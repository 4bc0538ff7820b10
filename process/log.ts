/** The programs' log: one JSON object a line on stdout, written before the call returns. */
import { pino, stdTimeFunctions } from 'pino';
import type { Log } from '../kube/log.ts';
import type { LogLevel } from './flags.ts';

export interface LogOptions {
  readonly level: LogLevel;
  /** The program's name, on every line. */
  readonly name: string;
}

/**
 * A log to stdout. Times are RFC 3339 in UTC, levels are words; an `err` or `error` field that is an Error is
 * written with its type, message, stack and cause. Writing is synchronous, so nothing is lost when the process ends.
 */
export function createLog(options: LogOptions): Log {
  return pino({
    level: options.level,
    base: { name: options.name },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { error: pino.stdSerializers.err },
  });
}
