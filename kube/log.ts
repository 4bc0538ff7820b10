/** A structured log, the part of pino's interface that Berth uses. Implementations must not throw. */
export interface Log {
  /** Fields first, then one line that says what happened. An error goes into the field `error`. */
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const nothing = (): void => undefined;

/** Discards everything. */
export const silentLog: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing };
