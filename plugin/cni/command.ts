/** From one call of the plugin to its answer: the binary's half of the contract, without process and terminal. */
import * as p from '../protocol.ts';
import type { Host } from './host.ts';
import { type Failure, post } from './socket.ts';

/** A call on its way to the agent: whom it is about, and when it began (monotonic, and by the wall clock). */
interface Request {
  readonly command: string;
  readonly cniVersion: string;
  readonly socket: string;
  readonly deletes: string;
  readonly text: string;
  readonly body: Uint8Array;
  readonly subject: string;
  readonly start: number;
  readonly called: number;
}

const PAUSE_MS = 50;
const SUCCESS: p.CniAnswer = { exitCode: 0, stdout: '' };
const CURE = "Is the agent's pod running on this node, and what does its log say?";

/**
 * Answers one call within `BINARY_DEADLINE_MS`.
 * @param stdin more than `MAX_CONFIG_BYTES` are refused, so nobody needs to read on
 * @throws an error of the file system that hides the marker from STATUS
 */
export async function answerCall(
  env: Readonly<Record<string, string | undefined>>,
  stdin: Uint8Array,
  host: Host,
): Promise<p.CniAnswer> {
  const [start, called, command] = [host.monotonic(), host.now(), env['CNI_COMMAND'] ?? ''];
  const config = host.decode(stdin);
  const input = command === 'VERSION' && stdin.length === 0 ? {} : parseInput(config, stdin.length);
  const version = typeof input === 'string' ? undefined : input['cniVersion'];
  const given = typeof version === 'string' ? version : undefined;

  const problem = p.environmentProblem(env);
  if (problem !== undefined) return p.errorAnswer(given, p.ErrorCode.invalidEnvironment, problem);
  if (typeof input === 'string') return p.errorAnswer(undefined, p.ErrorCode.decodingFailure, input);
  if (command === 'VERSION') return p.versionAnswer(given);
  const mismatch = p.versionProblem(version, command);
  // In errors, too: a configuration without a version is one of 0.1.0.
  const cniVersion = given || p.IMPLIED_VERSION;
  if (mismatch !== undefined) return p.errorAnswer(cniVersion, p.ErrorCode.incompatibleVersion, mismatch);
  const paths = p.agentPaths(input['ipam']);
  if (typeof paths === 'string') return p.errorAnswer(cniVersion, p.ErrorCode.invalidConfig, paths);
  const deletes = p.deletesDir(paths.stateDir);
  if (command === 'STATUS') return statusAnswer(cniVersion, `${deletes}/${p.MARKER_FILE}`, called, host);

  const cniEnv = Object.entries(env).filter((each): each is [string, string] => each[0].startsWith('CNI_'));
  const message: p.CniRequest = { command, env: Object.fromEntries(cniEnv), config: config ?? '' };
  const text = JSON.stringify(message);
  const body = host.encode(text);
  if (body.length > p.MAX_REQUEST_BYTES) {
    return p.errorAnswer(cniVersion, p.ErrorCode.invalidEnvironment, 'the CNI_* variables are too large');
  }
  const subject = p.describeCall(env);
  const request = { command, cniVersion, ...paths, deletes, subject, text, body, start, called };
  if (command === 'DEL') return answerDel(request, host);
  return answerOf(request, await ask(request, start + p.BINARY_DEADLINE_MS, host));
}

/** The configuration, or what is wrong with it. */
function parseInput(text: string | undefined, bytes: number): Record<string, unknown> | string {
  if (bytes > p.MAX_CONFIG_BYTES) return `the configuration has more than ${p.MAX_CONFIG_BYTES} bytes`;
  if (text === undefined) return 'cannot decode the configuration: it is not UTF-8';
  try {
    const input: unknown = JSON.parse(text);
    const isObject = typeof input === 'object' && input !== null && !Array.isArray(input);
    return isObject ? { ...input } : 'the configuration is no JSON object';
  } catch (error) {
    return `cannot decode the configuration: ${String(error)}`;
  }
}

function statusAnswer(cniVersion: string, marker: string, now: number, host: Host): p.CniAnswer {
  const touched = host.modified(marker);
  if (touched !== undefined && now - touched <= p.MARKER_MAX_AGE_MS) return SUCCESS;
  const since = touched === undefined ? 'yet' : `for ${Math.round((now - touched) / 1000)} s`;
  const msg = `no Berth agent has been ready on this node ${since}`;
  return p.errorAnswer(cniVersion, p.ErrorCode.notAvailable, msg, `Marker file: ${marker}. ${CURE}`);
}

/** Sends the request until somebody answers it, as long as its verb may wait and may be repeated. */
async function ask(request: Request, deadline: number, host: Host): Promise<p.CniAnswer | Failure> {
  const { command, socket, body, start } = request;
  let waitUntil = command === 'ADD' ? start + p.ADD_WAIT_MS : start;
  for (;;) {
    const outcome = await post(socket, body, deadline, host);
    if ('exitCode' in outcome) return outcome;
    const now = host.monotonic();
    // The agent died with the request in its hands. ADD is idempotent, CHECK changes nothing: ask the next agent.
    const again = outcome.kind === 'broken' && (command === 'ADD' || command === 'CHECK');
    if (again) waitUntil = now + p.ADD_WAIT_MS;
    const starting = outcome.kind === 'away' && /^(ENOENT|ECONNREFUSED|EAGAIN)$/.test(outcome.reason);
    if (!(again || (starting && now < waitUntil)) || now + PAUSE_MS >= deadline) return outcome;
    await host.pause(PAUSE_MS);
  }
}

/** A release that the agent did not confirm is queued for the next agent: success means durable. */
async function answerDel(request: Request, host: Host): Promise<p.CniAnswer> {
  const outcome = await ask(request, request.start + p.DEL_WAIT_MS, host);
  const confirmed = 'exitCode' in outcome || outcome.kind === 'garbage';
  // Without the marker this may be another container's file system: gone, with the entry, when it ends.
  if (confirmed || host.modified(`${request.deletes}/${p.MARKER_FILE}`) === undefined)
    return answerOf(request, outcome);
  let failure = '';
  try {
    enqueue(request.deletes, p.deleteEntryName(request.called, host.random()), request.text, host);
  } catch (error) {
    failure = `The release cannot be queued either: ${String(error)}.`;
  }
  const second = await post(request.socket, request.body, request.start + p.BINARY_DEADLINE_MS, host);
  return failure === '' ? SUCCESS : answerOf(request, second, failure);
}

/** Durable when it returns. */
function enqueue(directory: string, name: string, text: string, host: Host): void {
  const temp = `${directory}/${p.deleteTempName(name)}`;
  host.create(temp, text);
  host.rename(temp, `${directory}/${name}`);
  host.syncDirectory(directory);
}

function answerOf(request: Request, outcome: p.CniAnswer | Failure, more = ''): p.CniAnswer {
  if ('exitCode' in outcome) return outcome;
  const state = outcome.kind === 'away' ? 'is away' : 'gave no answer';
  const msg = `${request.subject}: the Berth agent ${state}: ${outcome.reason}`;
  const details = `Socket: ${request.socket}. ${more} ${CURE}`.replace('  ', ' ');
  return p.errorAnswer(request.cniVersion, p.ErrorCode.tryAgainLater, msg, details);
}
