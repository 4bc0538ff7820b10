import { expect, test } from 'vitest';
import { Simulation } from './testing/simulation.ts';

const SEEDS = 200;

/** Set to one seed to run it alone and see what happened. */
const only = process.env['BERTH_SIMULATION_SEED'];

async function simulate(seed: number): Promise<string | undefined> {
  const simulation = new Simulation(seed);
  try {
    await simulation.run();
    return undefined;
  } catch (error) {
    const story = only === undefined ? '' : `\n${simulation.history.join('\n')}`;
    return `seed ${seed} (BERTH_SIMULATION_SEED=${seed}): ${String(error)}${story}`;
  }
}

test('whatever fails and whoever is killed, at rest reservations are exactly the live attachments', async () => {
  const seeds = only === undefined ? Array.from({ length: SEEDS }, (_, i) => i + 1) : [Number(only)];
  const failures: string[] = [];
  for (const seed of seeds) {
    const failure = await simulate(seed);
    if (failure !== undefined) failures.push(failure);
  }
  expect(failures.slice(0, 5), `${failures.length} of ${seeds.length} seeds`).toEqual([]);
});
