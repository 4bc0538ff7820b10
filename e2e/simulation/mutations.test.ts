import { expect, test } from 'vitest';
import { search } from './mutate.ts';
import { MUTATIONS } from './mutations.ts';

/** As many as simulation.test.ts runs. */
const SEEDS = 200;

// Most fall within a few seeds. One after the other: each of them uses all processors.
test.each(MUTATIONS)(
  'a planted bug is found: $name',
  async (mutation) => {
    const { output, isFound } = await search(mutation, SEEDS);
    expect(isFound, output).toBe(true);
  },
  300_000,
);
