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

/** What the binary prints and exits with. */
export interface CniAnswer {
  /** 0 is success; an error is 1 (CNI spec, "Errors": non-zero). */
  exitCode: number;
  /** Printed as it is; empty for a DEL, CHECK or GC that succeeded. */
  stdout: string;
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

/** Made in the deletes directory after the agent's first sync: here lives an agent. */
export const MARKER_FILE = '.berth-agent';
/** Milliseconds between two touches of the marker. */
export const MARKER_TOUCH_MS = 10_000;
/** Milliseconds after which an untouched marker says that no agent serves this node. */
export const MARKER_MAX_AGE_MS = 60_000;

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

const MAX_MSG_CHARACTERS = 1024;
const MAX_DETAILS_CHARACTERS = 16 * 1024;

/**
 * A CNI error (CNI spec, "Error"; the same four fields in every version from 0.1.0 to 1.1.0).
 * Control characters become spaces: in `msg`, which is one line, newlines too. Overlong texts are cut.
 * @param cniVersion the configuration's; undefined, or one that Berth does not speak: the newest is used
 */
export function errorAnswer(
  cniVersion: string | undefined,
  code: number,
  msg: string,
  details?: string,
): CniAnswer {
  const error = {
    cniVersion:
      cniVersion !== undefined && SUPPORTED_VERSIONS.includes(cniVersion) ? cniVersion : NEWEST_VERSION,
    code,
    msg: cut(msg.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ').trim(), MAX_MSG_CHARACTERS),
    ...(details === undefined || details === ''
      ? {}
      : { details: cut(details.replace(/[^\P{Cc}\n]+/gu, ' '), MAX_DETAILS_CHARACTERS) }),
  };
  return { exitCode: 1, stdout: `${JSON.stringify(error)}\n` };
}

function cut(text: string, characters: number): string {
  return text.length <= characters ? text : `${text.slice(0, characters - 1).toWellFormed()}…`;
}
