/** What the agent answers when it cannot do what was asked: the codes of the CNI spec and Berth's own. */
import { ErrorCode } from '../protocol.ts';

/** One of the codes of `protocol.ts`; `docs/errors.md` explains each, and a test holds the two together. */
export type Code = (typeof ErrorCode)[keyof typeof ErrorCode];

/** A refusal that the runtime gets as a CNI error. `message` is one line; `details` may be several. */
export class CniError extends Error {
  override readonly name = 'CniError';
  readonly code: Code;
  readonly details: string;

  constructor(code: Code, message: string, details = '', cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }
}

/** Code 7 for an annotation: what is wrong is the pod's or its namespace's, not the network configuration's. */
export class AnnotationError extends CniError {
  constructor(message: string, details?: string, cause?: unknown) {
    super(ErrorCode.invalidConfig, message, details, cause);
  }
}

/** The codes from the one that is reported first to the one reported last when several failures apply. */
const PRECEDENCE: readonly Code[] = [105, 104, 103, 102, 101, 11];

/**
 * One error for several failures of one ADD: the code that comes first in the contract's order, with the messages of all
 * that have it, and the reasons of all in `details`.
 */
export function combine(failures: readonly [CniError, ...CniError[]]): CniError {
  // A code that is not listed (invalid input) comes before all that are.
  const rank = (error: CniError): number => PRECEDENCE.indexOf(error.code);
  const sorted = failures.toSorted((a, b) => rank(a) - rank(b));
  const first = sorted[0] ?? failures[0];
  if (sorted.length === 1) {
    return first;
  }
  const message = [...new Set(sorted.filter((e) => e.code === first.code).map((e) => e.message))].join('; ');
  const details = sorted.map((e) => (e.details === '' ? e.message : `${e.message}: ${e.details}`));
  return new CniError(first.code, message, details.join('\n'), first.cause);
}

/** A name that a user wrote, for a message: in quotes and escaped unless it is a plain word. */
export function quoted(name: string): string {
  return /^[\w./:-]+$/.test(name) ? name : JSON.stringify(name);
}

/** `error` as one line of text. */
export function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replaceAll(/\s+/g, ' ');
}
