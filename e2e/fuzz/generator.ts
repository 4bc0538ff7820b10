/**
 * Inputs from a seed: from calls as a runtime makes them to noise.
 */
import fc from 'fast-check';
import { call } from './calls.ts';
import type { FuzzInput } from './input.ts';
import { http, oversized } from './requests.ts';

/** @param binaryShare one of so many calls goes through the compiled binary */
function input(binaryShare: number): fc.Arbitrary<FuzzInput> {
  return fc.oneof(
    { weight: 900, arbitrary: call(binaryShare) },
    { weight: 99, arbitrary: http },
    {
      weight: 1,
      arbitrary: fc.constant<FuzzInput>({ kind: 'http', writes: [oversized], afterwards: 'wait' }),
    },
  );
}

/** Batch number `batch` of a seed: the same whenever it is asked for. */
export function generateBatch(seed: number, batch: number, size: number, binaryShare: number): FuzzInput[] {
  return fc.sample(input(binaryShare), { seed: (Math.imul(seed, 1_000_003) + batch) | 0, numRuns: size });
}
