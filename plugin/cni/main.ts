/** The binary `berth`: CNI plugin of type "berth". This file is its edge to the process (`runtime/main.c`). */
import { ErrorCode, errorAnswer, MAX_CONFIG_BYTES, SUPPORTED_VERSIONS } from '../protocol.ts';
import { answerCall } from './command.ts';
import type { Host } from './host.ts';

/** What belongs to the process. */
interface Process {
  readonly version: string;
  /** Every variable; bytes that are no UTF-8 are U+FFFD. */
  environment(): Record<string, string>;
  /** Whether stdin is a terminal. */
  interactive(): boolean;
  /** Standard input to its end, at most `limit` bytes of it. */
  readInput(limit: number): Uint8Array;
  print(descriptor: 1 | 2, text: string): void;
  exit(code: number): never;
}
declare const host: Host & Process;

const env = host.environment();
const command = env['CNI_COMMAND'] ?? '';
const terminal = host.interactive();
if (command === '' && terminal) {
  const about = `CNI berth plugin v${host.version}: IP address management, called by CNI main plugins`;
  host.print(2, `${about}\nCNI protocol versions supported: ${SUPPORTED_VERSIONS.join(', ')}\n`);
  host.exit(0);
}
// One byte more than is allowed shows that there is more.
const stdin = command === 'VERSION' && terminal ? new Uint8Array() : host.readInput(MAX_CONFIG_BYTES + 1);
const answer = await answerCall(env, stdin, host).catch((error: unknown) =>
  errorAnswer(undefined, ErrorCode.tryAgainLater, `unexpected: ${String(error)}`),
);
host.print(1, answer.stdout);
host.exit(answer.exitCode);
