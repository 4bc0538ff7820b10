/** The binary `berth`: CNI plugin of type "berth". This file is its edge to process, socket, time and randomness. */
import * as fs from 'node:fs';
import { ErrorCode, errorAnswer, MAX_CONFIG_BYTES, SUPPORTED_VERSIONS } from '../protocol.ts';
import { answerCall } from './command.ts';
import type { Edge, StreamEvents } from './socket.ts';

/** Set by the build: the version of package.json, and the runtime that it compiles in. */
declare const BERTH_VERSION: string;
declare const Bun: { connect(options: { unix: string; socket: StreamEvents }): Promise<unknown> };

/* oxlint-disable berth/clock -- kube/clock.ts is out of this program's reach: this is its only other place */
const edge: Edge = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  random: () => Math.random(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  connect: (unix, socket) => Bun.connect({ unix, socket }),
};
/* oxlint-enable berth/clock */

function read(buffer: Uint8Array): number {
  for (;;) {
    try {
      return fs.readSync(0, buffer);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
      // Somebody made the pipe non-blocking, and nothing has been written yet.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/** Standard input, at most one byte more than is allowed. */
function readInput(): Uint8Array {
  const buffers: Uint8Array[] = [];
  let left = MAX_CONFIG_BYTES + 1;
  for (let count = 1; count > 0 && left > 0; left -= count) {
    const buffer = new Uint8Array(Math.min(left, 64 * 1024));
    count = read(buffer);
    buffers.push(buffer.subarray(0, count));
  }
  return Buffer.concat(buffers);
}

const command = process.env['CNI_COMMAND'] ?? '';
const input = fs.fstatSync(0);
// Major number 1 is /dev/null and its like: no person.
const terminal = input.isCharacterDevice() && input.rdev >> 8 !== 1;
if (command === '' && terminal) {
  const about = `CNI berth plugin v${BERTH_VERSION}: IP address management, called by CNI main plugins`;
  fs.writeFileSync(2, `${about}\nCNI protocol versions supported: ${SUPPORTED_VERSIONS.join(', ')}\n`);
  process.exit(0);
}
const stdin = command === 'VERSION' && terminal ? new Uint8Array() : readInput();
const answer = await answerCall(process.env, stdin, edge).catch((error: unknown) =>
  errorAnswer(undefined, ErrorCode.tryAgainLater, `unexpected: ${String(error)}`),
);
fs.writeFileSync(1, answer.stdout);
process.exit(answer.exitCode);
