/** What can go wrong with an API call, told apart by what the caller can do about it. */

/**
 * - `AlreadyExists`: 409, reason AlreadyExists: the name is taken.
 * - `Conflict`: 409 otherwise: a precondition or resourceVersion did not hold.
 * - `NotFound`: 404.
 * - `TestFailed`: 422 without `details.causes`: a `test` of a JSON patch did not hold.
 * - `Invalid`: 400, or 422 with causes: the object is not acceptable; our bug or the user's.
 * - `Forbidden`: 401 and 403.
 * - `Expired`: 410: the resourceVersion or continue token is too old.
 * - `Throttled`: 429, or 503 with Retry-After: try again after `retryAfterMs`. The write did not happen.
 * - `Unreachable`: no connection, or a read without an answer. The write did not happen.
 * - `OutcomeUnknown`: a write was sent and no trustworthy answer came (time-out, connection lost, 5xx):
 *   it may have happened, and may even happen later.
 * - `Unexpected`: any other answer.
 */
export type ApiErrorKind =
  | 'AlreadyExists'
  | 'Conflict'
  | 'NotFound'
  | 'TestFailed'
  | 'Invalid'
  | 'Forbidden'
  | 'Expired'
  | 'Throttled'
  | 'Unreachable'
  | 'OutcomeUnknown'
  | 'Unexpected';

export interface ApiErrorInit {
  readonly status?: number;
  /** `reason` of the Status object. */
  readonly reason?: string;
  /** `details.causes` of the Status object. */
  readonly causes?: readonly {
    readonly field?: string;
    readonly message?: string;
    readonly reason?: string;
  }[];
  /** Milliseconds; only with Throttled. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** A failed API call. `message` is one line that names the call and what the server said. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly kind: ApiErrorKind;
  readonly status: number | undefined;
  readonly reason: string | undefined;
  readonly causes: readonly {
    readonly field?: string;
    readonly message?: string;
    readonly reason?: string;
  }[];
  readonly retryAfterMs: number | undefined;

  constructor(kind: ApiErrorKind, message: string, init: ApiErrorInit = {}) {
    super(message, init.cause === undefined ? undefined : { cause: init.cause });
    this.kind = kind;
    this.status = init.status;
    this.reason = init.reason;
    this.causes = init.causes ?? [];
    this.retryAfterMs = init.retryAfterMs;
  }
}

/** True for an ApiError of one of the kinds (any kind if none is given). */
export function isApiError(error: unknown, ...kinds: readonly ApiErrorKind[]): error is ApiError {
  return error instanceof ApiError && (kinds.length === 0 || kinds.includes(error.kind));
}

/** Milliseconds for which the API server wants to be left alone; 0 unless the error is Throttled. */
export function retryAfterOf(error: unknown): number {
  return isApiError(error, 'Throttled') ? (error.retryAfterMs ?? 0) : 0;
}

/** What was thrown, as an Error. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
