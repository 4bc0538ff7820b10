/** One input of the fuzzing, as data: what a corpus file holds. */

/** A call of the plugin, well-formed or not. */
export interface CallInput {
  readonly kind: 'call';
  /** The agent's socket, or the compiled binary with environment and standard input. */
  readonly via: 'socket' | 'binary';
  readonly command: string;
  /** CNI_* variables besides CNI_COMMAND. `$POD`, `$UID` and `$ID` stand for a live pod, its UID and a fresh container. */
  readonly env: Readonly<Record<string, string>>;
  /** Standard input. `$SOCKET` and `$STATE` stand for the agent's paths. */
  readonly stdin: string;
  /** Standard input is bytes, one for each character. Only for the binary: the socket has text. */
  readonly bytes?: boolean;
  /** Annotations of the pod when the call is made. Absent: it has none. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Bytes that are written to the agent's socket. */
export interface HttpInput {
  readonly kind: 'http';
  /** One write each, one byte for each character. */
  readonly writes: readonly string[];
  /** What the client does afterwards: waits for an answer, ends its half, or is gone. */
  readonly afterwards: 'wait' | 'end' | 'destroy';
}

export type FuzzInput = CallInput | HttpInput;
