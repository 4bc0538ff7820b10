/** Calling the plugin: through the agent's socket as the binary does, or through the binary as a runtime does. */
import { spawn } from 'node:child_process';
import { request } from 'node:http';
import { connect } from 'node:net';
import { CNI_ENDPOINT, type CniAnswer, type CniRequest } from '../../plugin/protocol.ts';

/** A call as a runtime makes it. */
export interface CniCall {
  readonly command: 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION';
  readonly containerID: string;
  readonly ifname: string;
  /** CNI_ARGS. */
  readonly args?: Readonly<Record<string, string>>;
  readonly netns?: string;
  readonly config: Readonly<Record<string, unknown>>;
}

export interface CniOutcome {
  readonly exitCode: number;
  /** stdout, parsed; undefined where it is empty. */
  readonly output: Readonly<Record<string, unknown>> | undefined;
  readonly stdout: string;
}

/** The error code of an answer; 0 for a success. */
export function codeOf(answer: CniOutcome): number {
  return answer.exitCode === 0 ? 0 : Number(answer.output?.['code']);
}

/** The error's `msg`; empty for a success. */
export function messageOf(answer: CniOutcome): string {
  return answer.exitCode === 0 ? '' : String(answer.output?.['msg']);
}

/** The pod as containerd names it in CNI_ARGS. */
export function podArgs(pod: { namespace: string; name: string; uid: string }): Record<string, string> {
  return {
    IgnoreUnknown: '1',
    K8S_POD_NAMESPACE: pod.namespace,
    K8S_POD_NAME: pod.name,
    K8S_POD_UID: pod.uid,
  };
}

export function cniEnv(call: CniCall): Record<string, string> {
  return {
    CNI_COMMAND: call.command,
    CNI_CONTAINERID: call.containerID,
    CNI_IFNAME: call.ifname,
    CNI_NETNS: call.netns ?? '/var/run/netns/none',
    CNI_PATH: '/opt/cni/bin',
    CNI_ARGS: Object.entries(call.args ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(';'),
  };
}

function outcome(exitCode: number, stdout: string): CniOutcome {
  // What a CNI plugin prints is a JSON object or nothing; anything else fails the test here.
  const output = stdout.trim() === '' ? undefined : (JSON.parse(stdout) as Record<string, unknown>);
  return { exitCode, stdout, output };
}

/** One HTTP request over a unix socket. */
export function socketRequest(
  socketPath: string,
  method: string,
  path: string,
  body?: string,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method, path, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
      );
    });
    sent.on('error', reject);
    if (body !== undefined) sent.setHeader('content-length', Buffer.byteLength(body));
    sent.end(body);
  });
}

/** The call through the agent's socket. @throws Error if the agent gives no CNI answer */
export async function callSocket(socketPath: string, call: CniCall): Promise<CniOutcome> {
  const { CNI_COMMAND: _command, ...env } = cniEnv(call);
  const wire: CniRequest = { command: call.command, env, config: JSON.stringify(call.config) };
  const { status, body } = await socketRequest(socketPath, 'POST', CNI_ENDPOINT, JSON.stringify(wire));
  if (status !== 200) throw new Error(`the agent answered ${status}: ${body}`);
  const answer = JSON.parse(body) as CniAnswer; // The wire format is protocol.ts's own.
  return outcome(answer.exitCode, answer.stdout);
}

/** The call through a plugin binary, as a runtime makes it. */
export function callBinary(binary: string, call: CniCall): Promise<CniOutcome> {
  return runPlugin(binary, cniEnv(call), JSON.stringify(call.config));
}

/** Runs a plugin with any environment and any input. @throws Error if it prints something that is no JSON */
export function runPlugin(
  binary: string,
  env: Readonly<Record<string, string>>,
  stdin: string | Uint8Array,
  args: readonly string[] = [],
): Promise<CniOutcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(binary, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.on('error', reject);
    child.on('close', (code) => {
      try {
        resolve(outcome(code ?? -1, Buffer.concat(chunks).toString('utf8')));
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
    // A plugin that refuses the environment may end without reading.
    child.stdin.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') reject(error);
    });
    child.stdin.end(stdin);
  });
}

/** Whether something accepts connections at a unix socket. */
export function accepts(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
