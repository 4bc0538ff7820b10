/** What is wrong with a value that the domain was given. */

/**
 * One code per kind of mistake; several places may report the same one.
 * - `InvalidAddress`, `InvalidCidr`, `InvalidRange`, `InvalidDuration`, `InvalidName`: the text does not parse.
 * - `MixedFamilies`: IPv4 meets IPv6 where one family is needed.
 * - `OutOfRange`: a number or an index outside its domain.
 * - `InvalidPool`: a pool's spec cannot be compiled; the message names the field.
 * - `InvalidOwner`: an owner lacks a field that its kind needs.
 * - `InvalidTransition`: the state machine has no such step from this state.
 */
export type IpamErrorCode =
  | 'InvalidAddress'
  | 'InvalidCidr'
  | 'InvalidRange'
  | 'InvalidDuration'
  | 'InvalidName'
  | 'MixedFamilies'
  | 'OutOfRange'
  | 'InvalidPool'
  | 'InvalidOwner'
  | 'InvalidTransition';

/** A refusal. `message` is one line: the value in quotes, what is wrong with it, and what to write instead. */
export class IpamError extends Error {
  override readonly name = 'IpamError';
  readonly code: IpamErrorCode;
  /** The value refused, as it was given. */
  readonly value: string;

  constructor(code: IpamErrorCode, value: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.value = value;
  }
}

/** Longest part of a refused value that a message repeats: values come from outside and may be huge. */
const MAX_QUOTED = 120;

/** The value in double quotes, safe for one line of a log: control characters escaped, shortened if very long. */
export function quote(value: string): string {
  return JSON.stringify(value.length > MAX_QUOTED ? `${value.slice(0, MAX_QUOTED)}…` : value);
}
