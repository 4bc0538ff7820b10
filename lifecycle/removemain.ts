/** The removal of Berth as a process: a Job, see `config/remove`. */
import { hostname } from 'node:os';
import * as z from 'zod';
import { connect } from '../kube/client.ts';
import { systemClock } from '../kube/clock.ts';
import { type Flag, kubeconfigFlag, logLevelFlag } from '../process/flags.ts';
import { runProgram } from '../process/main.ts';
import { VERSION } from '../process/version.ts';
import { namespaceFlag, timeoutFlag } from './flags.ts';
import { remove } from './remove.ts';

const confirmFlag: Flag<number | undefined> = {
  schema: z
    .string()
    .regex(/^\d{1,9}$/, { error: 'give the number of addresses in use, as the report says it' })
    .transform(Number)
    .optional(),
  description: 'remove Berth although so many addresses are in use; absent: only say what is in use',
  placeholder: 'number',
};

const podFlag: Flag<string> = {
  schema: z.string().min(1),
  description: 'the pod that this runs in: nodes are cleaned with its image',
  placeholder: 'name',
  env: 'POD_NAME',
  default: hostname(),
};

await runProgram(
  {
    name: 'berth-remove',
    version: VERSION,
    summary: 'says what of Berth is in use and, once that is confirmed, removes all of it',
    flags: {
      confirm: confirmFlag,
      namespace: namespaceFlag,
      pod: podFlag,
      timeout: timeoutFlag,
      kubeconfig: kubeconfigFlag,
      'log-level': logLevelFlag,
    },
  },
  async ({ values, signal, log }) => {
    const { namespace, pod, confirm, timeout: timeoutMs } = values;
    const api = await connect({ kubeconfig: values.kubeconfig, userAgent: `berth-remove/${VERSION}` });
    try {
      const say = (line: string): void => {
        process.stdout.write(`${line}\n`);
      };
      await remove({ api, clock: systemClock, log, signal, namespace, pod, confirm, timeoutMs, say });
    } finally {
      await api.close();
    }
  },
);
