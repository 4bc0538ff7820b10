/** For tests of refusals. */
import { CniError } from '../errors.ts';

/** The CniError that `run` throws; fails the test if it returns or throws anything else. */
export function refusal(run: () => unknown): CniError {
  let result: unknown;
  try {
    result = run();
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error(`expected a CniError, got ${JSON.stringify(result)}`);
}

/** The CniError that the promise rejects with; fails the test if it resolves or rejects with anything else. */
export async function rejection(work: Promise<unknown>): Promise<CniError> {
  let result: unknown;
  try {
    result = await work;
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error(`expected a CniError, got ${JSON.stringify(result)}`);
}
