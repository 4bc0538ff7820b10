import { defineConfig, type ViteUserConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const everywhere = ['**/node_modules/**', '**/dist/**'];

/** Files of more than a minute, most of which is waiting. One that is begun last is waited for by all others. */
const LONG =
  /e2e\/(restore|faults\/add|overload|rotation|faults\/run|chaos\/chaos|leader|hardening|simulation\/mutations)\.test/;

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isShort = ({ moduleId }: TestSpecification): number => Number(!LONG.test(moduleId));
    return (await super.sort(files)).toSorted((a, b) => isShort(a) - isShort(b));
  }
}

const config: ViteUserConfig = defineConfig({
  test: {
    // A forgotten `.only` would hide every other test.
    allowOnly: process.env['CI'] === undefined,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['**/*.test.ts'],
          // The simulation has no real part: it needs no control plane.
          exclude: [...everywhere, '**/*.api.test.ts', 'e2e/!(simulation)/**', 'e2e/*.test.ts'],
          // Property tests on a busy machine: a hanging test fails, a slow one does not.
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'integration',
          include: ['**/*.api.test.ts', 'e2e/**/*.test.ts'],
          exclude: [...everywhere, 'e2e/simulation/**', 'e2e/kind/**'],
          globalSetup: ['e2e/controlplane/globalsetup.ts'],
          // Each file may run a control plane of its own: on two cores, with what they wait for, three at a time are quickest.
          maxWorkers: 3,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'kind',
          include: ['e2e/kind/*.test.ts'],
          exclude: everywhere,
          // Scenarios of minutes, on nodes that share this machine.
          testTimeout: 1_200_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});

export default config;
