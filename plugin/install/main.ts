/** The installer of the CNI binary as a process: an init container of the agent. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import { type Flag, logLevelFlag } from '../../process/flags.ts';
import { runProgram } from '../../process/main.ts';
import { VERSION } from '../../process/version.ts';
import { installBinary } from './install.ts';

const pathFlag = (description: string, standard?: string): Flag<string> => ({
  schema: z.string({ error: 'give an absolute path' }).startsWith('/', { error: 'use an absolute path' }),
  description,
  placeholder: 'path',
  ...(standard !== undefined && { default: standard }),
});

await runProgram(
  {
    name: 'berth-install',
    version: VERSION,
    summary: 'puts the CNI binary where the container runtime looks for plugins',
    flags: {
      // The image has the two side by side.
      source: pathFlag('the binary to install', join(import.meta.dirname, 'berth')),
      'bin-dir': pathFlag('the directory of CNI plugins; it must exist'),
      'log-level': logLevelFlag,
    },
  },
  async ({ values, log }) => {
    const directory = values['bin-dir'];
    const outcome = await installBinary({ source: values.source, directory, unique: randomUUID() });
    log.info({ directory, outcome }, 'the CNI binary is in place');
  },
);
