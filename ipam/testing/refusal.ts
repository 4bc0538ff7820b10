/** For tests of refusals. */

import { IpamError } from '../errors.ts';

/** The IpamError that `run` throws; fails the test if it returns or throws anything else. */
export function refusal(run: () => unknown): IpamError {
  let result: unknown;
  try {
    result = run();
  } catch (error) {
    if (error instanceof IpamError) return error;
    throw error;
  }
  throw new Error(`expected an IpamError, got ${String(result)}`);
}
