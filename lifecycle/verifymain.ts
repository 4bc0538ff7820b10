/** The check of an installation as a process: `helm test`. */
import { connect } from '../kube/client.ts';
import { systemClock } from '../kube/clock.ts';
import { kubeconfigFlag, logLevelFlag } from '../process/flags.ts';
import { runProgram } from '../process/main.ts';
import { VERSION } from '../process/version.ts';
import { namespaceFlag, timeoutFlag } from './flags.ts';
import { verify } from './verify.ts';

await runProgram(
  {
    name: 'berth-verify',
    version: VERSION,
    summary: 'says whether agents and operator work: they are ready, and a new pool becomes Ready',
    flags: {
      namespace: namespaceFlag,
      timeout: timeoutFlag,
      kubeconfig: kubeconfigFlag,
      'log-level': logLevelFlag,
    },
  },
  async ({ values, signal, log }) => {
    const { namespace, timeout: timeoutMs } = values;
    const api = await connect({ kubeconfig: values.kubeconfig, userAgent: `berth-verify/${VERSION}` });
    try {
      await verify({ api, clock: systemClock, log, signal, namespace, timeoutMs });
    } finally {
      await api.close();
    }
  },
);
