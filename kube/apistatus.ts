/**
 * Turns an answer of the API server that is not a success into an `ApiError`.
 *
 * - Pure: text and numbers in, an error out.
 * - A write is only called "did not happen" when the server's answer proves it.
 * - Does NOT decide whether to try again; the kind says what a caller can do.
 *
 * Source: Kubernetes API conventions, "Response Status Kind" and "HTTP Status codes".
 */
import { ApiError, type ApiErrorInit, type ApiErrorKind } from './errors.ts';

/** The verbs of RBAC and of the API server's own metrics. */
export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

/** True for verbs that change something: their failures may leave an unknown outcome. */
export function isMutating(verb: Verb): boolean {
  return verb === 'create' || verb === 'update' || verb === 'patch' || verb === 'delete';
}

/** An answer with a status outside 200–299, or the Status object of a watch's ERROR event. */
export interface FailedAnswer {
  readonly verb: Verb;
  /** What was called, for the message: `ipreservations/storage.10.20.1.7`. */
  readonly target: string;
  readonly status: number;
  /** The Retry-After header, in seconds. */
  readonly retryAfter?: string | undefined;
  readonly body: string;
}

/** Milliseconds to wait when the server throttles without saying how long (client-go's default). */
const DEFAULT_RETRY_AFTER_MS = 1000;

const MESSAGE_LIMIT = 1000;

type Cause = NonNullable<ApiErrorInit['causes']>[number];

interface ParsedStatus {
  readonly message: string | undefined;
  readonly reason: string | undefined;
  readonly causes: readonly Cause[];
  readonly retryAfterSeconds: number | undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  // An object that is not null can be read by any key; every value stays unknown.
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function causeOf(value: unknown): Cause {
  const cause = record(value);
  const [field, message, reason] = [text(cause['field']), text(cause['message']), text(cause['reason'])];
  return {
    ...(field === undefined ? {} : { field }),
    ...(message === undefined ? {} : { message }),
    ...(reason === undefined ? {} : { reason }),
  };
}

/** Reads a meta/v1 Status; a body that is none (a proxy's page, plain text) becomes the message. */
function parseStatus(body: string): ParsedStatus {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    // Not JSON: proxies and the server's own "404 page not found" answer in plain text.
    return { message: text(body.trim()), reason: undefined, causes: [], retryAfterSeconds: undefined };
  }
  const status = record(parsed);
  const details = record(status['details']);
  const causes = details['causes'];
  const seconds = details['retryAfterSeconds'];
  return {
    message: text(status['message']),
    reason: text(status['reason']),
    causes: Array.isArray(causes) ? causes.map(causeOf) : [],
    retryAfterSeconds: typeof seconds === 'number' && seconds > 0 ? seconds : undefined,
  };
}

/** True for an answer by which the server, or its priority and fairness, turned the call away at the door. */
export function isTurnedAway({ status, retryAfter }: Pick<FailedAnswer, 'status' | 'retryAfter'>): boolean {
  return status === 429 || (status === 503 && retryAfter !== undefined);
}

function kindOf(answer: FailedAnswer, status: ParsedStatus): ApiErrorKind {
  if (isTurnedAway(answer)) return 'Throttled';
  switch (answer.status) {
    case 400:
      return 'Invalid';
    case 401:
    case 403:
      return 'Forbidden';
    case 404:
      return 'NotFound';
    case 409:
      return status.reason === 'AlreadyExists' ? 'AlreadyExists' : 'Conflict';
    case 410:
      return 'Expired';
    case 422:
      // Only a JSON patch that cannot be applied is refused without naming a field.
      return answer.verb === 'patch' && status.causes.length === 0 ? 'TestFailed' : 'Invalid';
    default:
  }
  if (answer.status >= 500) return isMutating(answer.verb) ? 'OutcomeUnknown' : 'Unreachable';
  return 'Unexpected';
}

function retryAfterMs(answer: FailedAnswer, status: ParsedStatus): number {
  const header = answer.retryAfter === undefined ? Number.NaN : Number(answer.retryAfter);
  if (Number.isFinite(header) && header >= 0) return header * 1000;
  return status.retryAfterSeconds === undefined ? DEFAULT_RETRY_AFTER_MS : status.retryAfterSeconds * 1000;
}

/** One line, bounded: what servers and proxies send ends up in logs and in CNI errors. */
export function oneLine(message: string): string {
  const line = message.replaceAll(/\s+/g, ' ').trim();
  return line.length > MESSAGE_LIMIT ? `${line.slice(0, MESSAGE_LIMIT)}…` : line;
}

/** The error that a failed answer means. */
export function errorOfAnswer(answer: FailedAnswer): ApiError {
  const status = parseStatus(answer.body);
  const kind = kindOf(answer, status);
  const said = status.message === undefined ? '' : `: ${oneLine(status.message)}`;
  const reason = status.reason === undefined ? '' : ` ${status.reason}`;
  return new ApiError(kind, `${answer.verb} ${answer.target}: ${answer.status}${reason}${said}`, {
    status: answer.status,
    causes: status.causes,
    ...(status.reason === undefined ? {} : { reason: status.reason }),
    ...(kind === 'Throttled' ? { retryAfterMs: retryAfterMs(answer, status) } : {}),
  });
}
