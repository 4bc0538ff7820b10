/**
 * The binary's side of the wire without the process: a connection for each call, as the binary makes one.
 *
 * It is the load generator, so it must cost little itself: one write, one read, no HTTP library.
 */
import { connect } from 'node:net';
import { type CniCall, type CniOutcome, cniEnv } from '../e2e/harness/cni.ts';
import { CNI_ENDPOINT, type CniAnswer } from '../plugin/protocol.ts';

export class SocketClient {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** @throws Error if there is no CNI answer */
  call(call: CniCall): Promise<CniOutcome> {
    const body = JSON.stringify({
      command: call.command,
      env: cniEnv(call),
      config: JSON.stringify(call.config),
    });
    const request = `POST ${CNI_ENDPOINT} HTTP/1.1\r\nhost: agent\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`;
    return new Promise((resolve, reject) => {
      const socket = connect(this.#path);
      let answer = '';
      socket.setEncoding('utf8');
      socket.on('data', (chunk: string) => {
        answer += chunk;
      });
      socket.on('error', reject);
      socket.on('end', () => {
        const at = answer.indexOf('\r\n\r\n');
        if (!answer.startsWith('HTTP/1.1 200') || at === -1) {
          reject(new Error(`no CNI answer: ${answer.slice(0, 200)}`));
          return;
        }
        const { exitCode, stdout } = JSON.parse(answer.slice(at + 4)) as CniAnswer; // protocol.ts's own format
        resolve({ exitCode, stdout, output: undefined });
      });
      // No half-close: an HTTP server takes it for a client that has gone.
      socket.write(request);
    });
  }
}
