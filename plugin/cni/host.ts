/**
 * What the binary needs of the operating system. In production `runtime/main.c` provides it, each function one or two
 * system calls that block; in tests Node does, with a clock of its own. Failures are errors with `code`, as Node's.
 */

/** At once from a call that blocks; later in tests. */
type Awaitable<T> = T | Promise<T>;

export interface Host {
  /** Wall clock, milliseconds since the Unix epoch. */
  now(): number;
  /** Milliseconds that never go back. */
  monotonic(): number;
  /** Uniform in [0, 1). */
  random(): number;
  pause(ms: number): Awaitable<void>;
  /** A descriptor. @throws an error with `code` if nobody accepts on the unix socket `path` */
  connect(path: string): Awaitable<number>;
  /** True when all was taken, false after `ms` milliseconds. */
  send(descriptor: number, bytes: Uint8Array, ms: number): Awaitable<boolean>;
  /** The next bytes; none at the end of the stream; undefined after `ms` milliseconds. */
  receive(descriptor: number, ms: number): Awaitable<Uint8Array | undefined>;
  close(descriptor: number): void;
  /** The text in UTF-8. */
  encode(text: string): Uint8Array;
  /** The text that is `bytes` in UTF-8; undefined if they are no UTF-8. A byte order mark is a character. */
  decode(bytes: Uint8Array): string | undefined;
  /** When the file was modified, in milliseconds since the Unix epoch; undefined if there is none. */
  modified(path: string): number | undefined;
  /** Makes a file that does not exist yet, mode 0600, synced to the disk. */
  create(path: string, text: string): void;
  rename(from: string, to: string): void;
  /** Makes names in the directory as durable as the files. */
  syncDirectory(path: string): void;
}
