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
 * What JSON leaves in a string although a terminal or an editor obeys it: DEL and C1 controls, line separators, and what
 * turns the reading direction.
 */
const OBEYED = /[\u007f-\u009f\u2028\u2029\p{Bidi_Control}]/gu;

function escaped(line: string): string {
  return line.replace(OBEYED, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/**
 * A log to stdout. Times are RFC 3339 in UTC, levels are words; an `err` or `error` field that is an Error is
 * written with its type, message, stack and cause. Writing is synchronous, so nothing is lost when the process ends.
 * Whatever a text quotes, an entry stays one line of JSON and shows in the order in which it was written.
 */
export function createLog(
  options: LogOptions,
  destination: { write(line: string): void } = pino.destination({ dest: 1, sync: true }),
): Log {
  return pino(
    {
      level: options.level,
      base: { name: options.name },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: pino.stdSerializers.err },
    },
    { write: (line: string) => destination.write(escaped(line)) },
  );
}
