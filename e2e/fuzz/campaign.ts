/**
 * Throws inputs at a running agent and looks at each answer.
 *
 * - Never a crash: the process is the same at the end, and has logged no error.
 * - Never a hang: every call is answered, every connection answered or closed.
 * - Always a valid answer: `validate.ts`.
 * - What is added is given back, so that what agent or API server still has afterwards has no excuse.
 */
import { CNI_ENDPOINT, parseAnswer, SUPPORTED_VERSIONS } from '../../plugin/protocol.ts';
import { runPlugin, socketRequest } from '../harness/cni.ts';
import { inParallel } from '../harness/parallel.ts';
import { artefacts } from '../harness/programs.ts';
import { waitFor } from '../harness/wait.ts';
import type { CallInput, FuzzInput, HttpInput } from './input.ts';
import { exchange } from './rawhttp.ts';
import { complaintsAbout, type Expectation } from './validate.ts';
import type { FuzzWorld, Leftover } from './world.ts';

/** Milliseconds that the binary takes at most, and some for a busy machine. */
const LIMIT_MS = 35_000;
/** Milliseconds until everything must be given back: a write whose outcome is unknown is looked up for 75 s. */
const GIVEN_BACK_WITHIN_MS = 120_000;
/** Codes of an ADD that has come to choosing pools. */
const CHOOSING: ReadonlySet<number> = new Set([101, 102, 103, 104, 105]);

export interface Tally {
  inputs: number;
  calls: number;
  http: number;
  /** ADDs that came to the choice of a pool: they succeeded or failed with 101 to 105. */
  reached: number;
  /** ADDs that succeeded. */
  succeeded: number;
  slowestMs: number;
  /** Answers by code, 0 for a success; of HTTP by status. */
  readonly codes: Map<string, number>;
}

/** An answer that was wrong, or something left behind, and the inputs that it may come of. */
export interface Finding {
  readonly inputs: readonly FuzzInput[];
  readonly complaints: readonly string[];
}

interface Answer {
  readonly exitCode: number;
  readonly stdout: string;
}

export class Campaign {
  readonly tally: Tally = {
    inputs: 0,
    calls: 0,
    http: 0,
    reached: 0,
    succeeded: 0,
    slowestMs: 0,
    codes: new Map(),
  };
  readonly findings: Finding[] = [];
  /** Something was not given back: it would be found after every later batch, too. */
  isLeftBehind = false;
  readonly #world: FuzzWorld;
  readonly #callers: number;
  #containers = 0;
  /** The calls of this batch, by the container that they name. */
  readonly #sent = new Map<string, CallInput[]>();

  constructor(world: FuzzWorld, callers: number) {
    this.#world = world;
    this.#callers = callers;
  }

  /** Sends all of them, some at the same time, and waits until everything is given back. */
  async run(inputs: readonly FuzzInput[]): Promise<void> {
    this.#sent.clear();
    const lanes = Array.from({ length: this.#callers }, (_, lane) =>
      inputs.filter((_input, i) => i % this.#callers === lane),
    );
    await inParallel(this.#callers, lanes, async (lane, caller) => {
      for (const input of lane) await this.#one(input, caller);
    });
    this.#world.assertAlive();
    await this.#nothingLeft();
  }

  async #nothingLeft(): Promise<void> {
    let left: readonly Leftover[] = [];
    try {
      const isNothingLeft = async (): Promise<boolean> => {
        left = await this.#world.left();
        return left.length === 0;
      };
      await waitFor('everything is given back', isNothingLeft, { timeoutMs: GIVEN_BACK_WITHIN_MS });
    } catch (error) {
      if (left.length === 0) throw error;
      this.isLeftBehind = true;
    }
    for (const { where, containerID, entry } of left) {
      const complaints = [`left behind (${where}): ${JSON.stringify(entry)}`];
      this.findings.push({ complaints, inputs: this.#sent.get(containerID) ?? [] });
    }
  }

  async #one(input: FuzzInput, caller: number): Promise<void> {
    const start = performance.now();
    let complaints: string[];
    try {
      complaints = input.kind === 'http' ? await this.#http(input) : await this.#call(input, caller);
    } catch (error) {
      this.#world.assertAlive();
      complaints = [`no answer: ${String(error)}`];
    }
    const took = performance.now() - start;
    if (took > LIMIT_MS) complaints.push(`it took ${Math.round(took)} ms`);
    this.tally.slowestMs = Math.max(this.tally.slowestMs, took);
    this.tally.inputs += 1;
    if (complaints.length > 0) this.findings.push({ inputs: [input], complaints });
  }

  #count(key: string): void {
    this.tally.codes.set(key, (this.tally.codes.get(key) ?? 0) + 1);
  }

  async #http(input: HttpInput): Promise<string[]> {
    this.tally.http += 1;
    const { responses } = await exchange(this.#world.agent.socket, input);
    if (responses.length === 0) this.#count('HTTP closed');
    return responses.flatMap(({ status, headers, body }) => {
      this.#count(`HTTP ${status}`);
      const complaints = status === 500 ? [`HTTP 500: ${body}`] : [];
      const isJson = headers.get('content-type') === 'application/json';
      const answer = status === 200 && isJson ? parseAnswer(body) : undefined;
      if (answer === undefined) return complaints;
      const command = answer.exitCode === 0 ? 'DEL' : 'ADD';
      return [...complaints, ...this.#complaints(answer, { command, cniVersion: undefined })];
    });
  }

  #complaints(answer: Answer, expectation: Omit<Expectation, 'subnets'>): string[] {
    return complaintsAbout(answer.exitCode, answer.stdout, { ...expectation, subnets: this.#world.subnets });
  }

  async #call(input: CallInput, caller: number): Promise<string[]> {
    this.tally.calls += 1;
    const pod = this.#world.pod(caller);
    const { socket, stateDir } = this.#world.agent;
    this.#containers += 1;
    const values: Record<string, string> = {
      $POD: pod.name,
      $UID: pod.uid,
      $ID: `f${this.#containers}`,
      $SOCKET: socket,
      $STATE: stateDir,
    };
    const fill = (text: string): string =>
      text.replace(/\$(?:POD|UID|ID|SOCKET|STATE)/g, (name) => values[name] ?? '');
    const env = Object.fromEntries(Object.entries(input.env).map(([name, value]) => [name, fill(value)]));
    const call = { ...input, env, stdin: input.bytes === true ? input.stdin : fill(input.stdin) };
    const containerID = env['CNI_CONTAINERID'] ?? '';
    this.#sent.set(containerID, [...(this.#sent.get(containerID) ?? []), input]);
    if (input.annotations !== undefined) await this.#world.annotate(pod, input.annotations);
    try {
      return await this.#answered(call);
    } finally {
      if (input.annotations !== undefined) await this.#world.annotate(pod, {});
    }
  }

  async #answered(call: CallInput): Promise<string[]> {
    const { command } = call;
    const answer = await this.#send(call);
    const complaints = this.#complaints(answer, { command, cniVersion: versionOf(call) });
    const code = answer.exitCode === 0 ? 0 : codeOf(answer.stdout);
    this.#count(`${command === 'ADD' || command === 'DEL' ? command : 'other'} ${code}`);
    if (command !== 'ADD') return complaints;
    if (code === 0 || CHOOSING.has(code)) this.tally.reached += 1;
    if (code !== 0) return complaints;
    this.tally.succeeded += 1;
    if (this.tally.succeeded % 8 === 0) {
      const again = await this.#send(call);
      if (again.stdout !== answer.stdout) complaints.push(`the same ADD again: ${again.stdout}`);
    }
    const gone = await this.#send({ ...call, command: 'DEL' });
    if (gone.exitCode !== 0 || gone.stdout !== '') complaints.push(`its DEL: ${gone.stdout}`);
    return complaints;
  }

  async #send({ via, command, env, stdin, bytes }: CallInput): Promise<Answer> {
    if (via === 'binary') {
      const input = bytes === true ? Buffer.from(stdin, 'latin1') : stdin;
      const { exitCode, stdout } = await runPlugin(artefacts.binary, { ...env, CNI_COMMAND: command }, input);
      return { exitCode, stdout };
    }
    const body = JSON.stringify({ command, env: { ...env, CNI_COMMAND: command }, config: stdin });
    const reply = await socketRequest(this.#world.agent.socket, 'POST', CNI_ENDPOINT, body);
    const answer = reply.status === 200 ? parseAnswer(reply.body) : undefined;
    if (answer === undefined) throw new Error(`HTTP ${reply.status}: ${reply.body.slice(0, 300)}`);
    return answer;
  }
}

function codeOf(stdout: string): number {
  try {
    // What is no error object is complained about elsewhere.
    return Number((JSON.parse(stdout) as { code?: unknown } | null)?.code);
  } catch {
    return Number.NaN;
  }
}

/** The version that an answer must have; undefined where the configuration does not say a usable one. */
function versionOf({ stdin, bytes }: CallInput): string | undefined {
  if (bytes === true) return undefined;
  try {
    const json: unknown = JSON.parse(stdin);
    if (typeof json !== 'object' || json === null || Array.isArray(json)) return undefined;
    const version: unknown = 'cniVersion' in json ? json.cniVersion : undefined;
    if (version === undefined || version === null || version === '') return '0.1.0';
    return typeof version === 'string' && SUPPORTED_VERSIONS.includes(version) ? version : undefined;
  } catch {
    return undefined;
  }
}

/** The tally in one line. */
export function line(tally: Tally): string {
  const share = (count: number): string => `${((100 * count) / Math.max(1, tally.inputs)).toFixed(1)} %`;
  return `${tally.inputs} inputs (${tally.calls} calls, ${tally.http} HTTP): ${share(tally.reached)} reach the choice of a pool, ${share(tally.succeeded)} succeed, slowest ${Math.round(tally.slowestMs)} ms`;
}
