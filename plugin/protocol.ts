/**
 * What the binary and the agent say to each other, over the socket and through the state directory.
 *
 * Wire: `POST /v1/cni` with a JSON `CniRequest` and a Content-Length; the agent answers 200 with a JSON
 * `CniAnswer` and a Content-Length (the binary understands no chunked body). Everything else, an error
 * included, is inside the answer: any other status means that no CNI answer exists.
 *
 * This file imports nothing, so that the binary stays small.
 */

/** One call of the plugin, as the runtime made it. */
export interface CniRequest {
  /** ADD, DEL, CHECK or GC: the binary answers the other verbs itself. */
  command: string;
  /** The CNI_* variables of the call, and no others. */
  env: Record<string, string>;
  /** Standard input as text. */
  config: string;
}

/** The same value if it is a request, whatever else it has; undefined if it is none. */
export function requestOf(value: unknown): CniRequest | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { command, env, config }: { command?: unknown; env?: unknown; config?: unknown } = value;
  if (typeof command !== 'string' || typeof config !== 'string') return undefined;
  return isTextMap(env) ? { command, env, config } : undefined;
}

function isTextMap(value: unknown): value is Record<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((each) => typeof each === 'string');
}

/** What the binary prints and exits with. */
export interface CniAnswer {
  /** 0 is success; an error is 1 (CNI spec, "Errors": non-zero). */
  exitCode: number;
  /** Printed as it is; empty for a DEL, CHECK or GC that succeeded. */
  stdout: string;
}

/** The answer in the body of a response; undefined if it is none. */
export function parseAnswer(body: string): CniAnswer | undefined {
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (typeof answer !== 'object' || answer === null) return undefined;
  const { exitCode, stdout }: { exitCode?: unknown; stdout?: unknown } = answer;
  if (typeof exitCode !== 'number' || typeof stdout !== 'string') return undefined;
  return Number.isInteger(exitCode) && exitCode >= 0 && exitCode <= 255 ? { exitCode, stdout } : undefined;
}

/** CNI spec versions that Berth speaks, oldest first. */
export const SUPPORTED_VERSIONS: readonly string[] = [
  '0.1.0',
  '0.2.0',
  '0.3.0',
  '0.3.1',
  '0.4.0',
  '1.0.0',
  '1.1.0',
];

/** The newest of `SUPPORTED_VERSIONS`: spoken where no usable version was given. */
export const NEWEST_VERSION = '1.1.0';

/** What a configuration without `cniVersion` means (as libcni reads it). */
export const IMPLIED_VERSION = '0.1.0';

/** The first spec version that has the verb; absent: all have it. */
const SINCE: Readonly<Record<string, string>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' };

/** True if `cniVersion` is one that Berth speaks and that version of the spec has `command`. */
export function versionAllows(cniVersion: string, command: string): boolean {
  const since = SINCE[command] ?? IMPLIED_VERSION;
  return SUPPORTED_VERSIONS.indexOf(cniVersion) >= SUPPORTED_VERSIONS.indexOf(since);
}

/** What is wrong with the `cniVersion` of a configuration for this verb (error code 1); undefined: nothing. */
export function versionProblem(cniVersion: unknown, command: string): string | undefined {
  const given =
    cniVersion === undefined || cniVersion === null || cniVersion === '' ? IMPLIED_VERSION : cniVersion;
  if (typeof given !== 'string' || !SUPPORTED_VERSIONS.includes(given)) {
    return `cniVersion ${JSON.stringify(given)} is not supported; use one of ${SUPPORTED_VERSIONS.join(', ')}`;
  }
  return versionAllows(given, command) ? undefined : `cniVersion "${given}" does not allow ${command}`;
}

/** CNI spec 1.1.0, section 2: the variables that each operation requires besides CNI_COMMAND. */
const REQUIRED: Readonly<Record<string, readonly string[]>> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME'],
  GC: ['CNI_PATH'],
  STATUS: [],
  VERSION: [],
};

/**
 * What is wrong with the CNI_* variables of a call (error code 4); undefined: nothing.
 * The rules for container IDs and interface names are the spec's and libcni's.
 */
export function environmentProblem(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const { CNI_COMMAND: command = '', CNI_CONTAINERID: containerID = '', CNI_IFNAME: ifname = '' } = env;
  if (command === '') return 'the environment variable CNI_COMMAND is missing';
  const required = Object.hasOwn(REQUIRED, command) ? REQUIRED[command] : undefined;
  if (required === undefined) return `CNI_COMMAND ${JSON.stringify(command)} is unknown`;
  const missing = required.filter((name) => (env[name] ?? '') === '');
  if (missing.length > 0) return `${command} needs the environment variables ${missing.join(', ')}`;
  if (required.includes('CNI_CONTAINERID') && !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(containerID)) {
    return `CNI_CONTAINERID ${JSON.stringify(containerID)} must be letters, digits, "_", "." and "-", and begin with a letter or digit`;
  }
  // U+FFFD: the name was not UTF-8, and two such names would look the same here.
  const forbidden = /[/:\s\u0085\uFFFD]/.test(ifname.toWellFormed()) || ifname === '.' || ifname === '..';
  if (required.includes('CNI_IFNAME') && (forbidden || utf8Length(ifname) > 15)) {
    return `CNI_IFNAME ${JSON.stringify(ifname)} must be 1 to 15 bytes of UTF-8 without "/", ":" and white space, and not "." or ".."`;
  }
  return undefined;
}

function utf8Length(text: string): number {
  if (/^[!-~]*$/.test(text)) return text.length;
  return encodeURIComponent(text.toWellFormed()).replace(/%../g, '-').length;
}

/** Whom a call is about, for messages: `ADD shop/web net1`, or with the container ID where no pod is named. */
export function describeCall(env: Readonly<Record<string, string | undefined>>): string {
  const args = (env['CNI_ARGS'] ?? '').split(';');
  const arg = (key: string): string =>
    args.find((each) => each.startsWith(`${key}=`))?.slice(key.length + 1) ?? '';
  const [namespace, name] = [arg('K8S_POD_NAMESPACE'), arg('K8S_POD_NAME')];
  const pod = name === '' ? env['CNI_CONTAINERID'] : `${namespace}/${name}`;
  return [env['CNI_COMMAND'], pod, env['CNI_IFNAME']].filter((part) => (part ?? '') !== '').join(' ');
}

/** CNI error codes: below 100 the spec's ("Error"), from 101 on Berth's own. */
export const ErrorCode = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  invalidEnvironment: 4,
  decodingFailure: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  /** STATUS only. */
  notAvailable: 50,
  exhausted: 101,
  addressTaken: 102,
  addressNotAllowed: 103,
  poolNotAllowed: 104,
  poolNotFound: 105,
  checkFailed: 106,
} as const;

export const DEFAULT_SOCKET = '/run/berth/agent.sock';
export const DEFAULT_STATE_DIR = '/var/lib/berth';
/** Path of the one HTTP endpoint that the binary uses. */
export const CNI_ENDPOINT = '/v1/cni';

/** Bytes of standard input that the binary accepts. */
export const MAX_CONFIG_BYTES: number = 1024 * 1024;
/** Bytes of a request body: the agent refuses more with 413. */
export const MAX_REQUEST_BYTES: number = 4 * 1024 * 1024;
/** Bytes of an answer, headers included, that the binary accepts. */
export const MAX_ANSWER_BYTES: number = 1024 * 1024;

/** Milliseconds that the agent takes at most for an ADD. */
export const AGENT_DEADLINE_MS = 25_000;
/** Milliseconds that the binary takes at most for anything. */
export const BINARY_DEADLINE_MS = 30_000;

/** Milliseconds that an ADD waits for an agent that is away; any other verb does not wait. */
export const ADD_WAIT_MS = 10_000;
/** Milliseconds that a DEL waits for its answer; the rest of the binary's time is for the queue. */
export const DEL_WAIT_MS = 25_000;

/** Made in the deletes directory after the agent's first sync: here lives an agent. */
export const MARKER_FILE = '.berth-agent';
/** Milliseconds between two touches of the marker. */
export const MARKER_TOUCH_MS = 10_000;
/** Milliseconds after which an untouched marker says that no agent serves this node. */
export const MARKER_MAX_AGE_MS = 60_000;

/**
 * Where a configuration's `ipam` section says that the agent is (DEFAULT_SOCKET and DEFAULT_STATE_DIR where it
 * says nothing); a string says what is wrong with it (error code 7).
 */
export function agentPaths(ipam: unknown): { socket: string; stateDir: string } | string {
  const section: { socket?: unknown; stateDir?: unknown } =
    typeof ipam === 'object' && ipam !== null ? ipam : {};
  const { socket = DEFAULT_SOCKET, stateDir = DEFAULT_STATE_DIR } = section;
  // 107 bytes is what the address of a unix socket holds (unix(7)); with more another file would be meant.
  if (!isPath(socket, 107)) return wrongPath('socket', socket, 107);
  return isPath(stateDir, 1024) ? { socket, stateDir } : wrongPath('stateDir', stateDir, 1024);
}

function isPath(value: unknown, bytes: number): value is string {
  return typeof value === 'string' && /^\/[^\0]*$/.test(value) && utf8Length(value) <= bytes;
}

function wrongPath(key: string, value: unknown, bytes: number): string {
  return `ipam.${key} is ${JSON.stringify(value)}; it must be an absolute path of at most ${bytes} bytes`;
}

/** Where a DEL is kept while the agent is away, and where the marker is. */
export function deletesDir(stateDir: string): string {
  return `${stateDir.replace(/\/+$/, '')}/deletes`;
}

/**
 * Name of a queued DEL: `<time>-<random>.json`, of one length, so that names sort by time.
 * @param time when the DEL was called, in milliseconds since the Unix epoch
 * @param random uniform in [0, 1)
 */
export function deleteEntryName(time: number, random: number): string {
  const unique = Math.floor(random * 2 ** 48).toString(16);
  return `${String(Math.floor(time)).padStart(15, '0')}-${unique.padStart(12, '0')}.json`;
}

/**
 * Name under which an entry is written before it is renamed. A crash may leave one behind: it was never
 * acknowledged, so the agent removes those that are older than the binary's deadline.
 */
export function deleteTempName(entryName: string): string {
  return `.${entryName}.tmp`;
}

/** The time in the name of a queued DEL (milliseconds since the Unix epoch); undefined for any other file. */
export function parseDeleteEntryName(name: string): { time: number } | undefined {
  const match = /^(\d{15})-[0-9a-f]{12}\.json$/.exec(name);
  return match === null ? undefined : { time: Number(match[1]) };
}

/** The answer to VERSION (CNI spec 1.1.0, section 5): in the version asked with, as far as Berth speaks it. */
export function versionAnswer(asked: string | undefined): CniAnswer {
  const cniVersion = asked !== undefined && SUPPORTED_VERSIONS.includes(asked) ? asked : NEWEST_VERSION;
  return {
    exitCode: 0,
    stdout: `${JSON.stringify({ cniVersion, supportedVersions: SUPPORTED_VERSIONS })}\n`,
  };
}

const MAX_MSG_CHARACTERS = 1024;
const MAX_DETAILS_CHARACTERS = 16 * 1024;

/** What may not stay in a text that people read: control characters, line separators, and what turns the reading direction. */
const UNREADABLE = /[\p{Cc}\u2028\u2029\p{Bidi_Control}]+/gu;

/** A message as one line of readable characters, cut where it is overlong. */
export function oneLine(message: string): string {
  return cut(message.replace(UNREADABLE, ' ').trim(), MAX_MSG_CHARACTERS);
}

/**
 * A CNI error (CNI spec, "Error"; the same four fields in every version from 0.1.0 to 1.1.0).
 * Unreadable characters become spaces: in `msg`, which is one line, newlines too. Overlong texts are cut.
 * @param cniVersion the configuration's; undefined, or one that Berth does not speak: the newest is used
 */
export function errorAnswer(
  cniVersion: string | undefined,
  code: number,
  msg: string,
  details = '',
): CniAnswer {
  const lines = details.split('\n').map((line) => line.replace(UNREADABLE, ' '));
  const error = {
    cniVersion:
      cniVersion !== undefined && SUPPORTED_VERSIONS.includes(cniVersion) ? cniVersion : NEWEST_VERSION,
    code,
    msg: oneLine(msg),
    ...(details === '' ? {} : { details: cut(lines.join('\n'), MAX_DETAILS_CHARACTERS) }),
  };
  return { exitCode: 1, stdout: `${JSON.stringify(error)}\n` };
}

function cut(text: string, characters: number): string {
  return text.length <= characters ? text : `${text.slice(0, characters - 1).toWellFormed()}…`;
}
