/** The installer of the CNI binary as a process: an init container of the agent, and the last word on a node. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import type { Log } from '../../kube/log.ts';
import { booleanSchema, type Flag, logLevelFlag } from '../../process/flags.ts';
import { runProgram } from '../../process/main.ts';
import { VERSION } from '../../process/version.ts';
import { installBinary, type Remainder, removeBinary, removeRun, removeState } from './install.ts';

const path: z.ZodType<string> = z
  .string({ error: 'give an absolute path' })
  .startsWith('/', { error: 'use an absolute path' });

const requiredPath = (description: string, standard?: string): Flag<string> => ({
  schema: path,
  description,
  placeholder: 'path',
  ...(standard !== undefined && { default: standard }),
});
const optionalPath = (description: string): Flag<string | undefined> => ({
  schema: path.optional(),
  description,
  placeholder: 'path',
});

function report(log: Log, directory: string, left: Remainder): void {
  if (left.length > 0)
    log.warn({ directory, left }, 'not of Berth, so they stay, and the directory with them');
  else log.info({ directory }, 'the directory is gone');
}

await runProgram(
  {
    name: 'berth-install',
    version: VERSION,
    summary: 'puts the CNI binary where the container runtime looks for plugins, or takes it away',
    flags: {
      // The image has the two side by side.
      source: requiredPath('the binary to install', join(import.meta.dirname, 'berth')),
      'bin-dir': requiredPath('the directory of CNI plugins; it must exist'),
      remove: {
        schema: booleanSchema,
        description: 'take the binary away, and the two directories below where they are given',
        placeholder: 'true|false',
        default: 'false',
        implied: 'true',
      } satisfies Flag<boolean>,
      'state-dir': optionalPath("with --remove: the agent's state directory"),
      'run-dir': optionalPath("with --remove: the directory of the agent's socket"),
      'log-level': logLevelFlag,
    },
  },
  async ({ values, log }) => {
    const { 'bin-dir': directory, 'state-dir': state, 'run-dir': run } = values;
    if (!values.remove) {
      const outcome = await installBinary({ source: values.source, directory, unique: randomUUID() });
      log.info({ directory, outcome }, 'the CNI binary is in place');
      return;
    }
    log.info({ directory, removed: await removeBinary(directory) }, 'the CNI binary is not there any more');
    if (state !== undefined) report(log, state, await removeState(state));
    if (run !== undefined) report(log, run, await removeRun(run));
  },
);
