/** The node agent as a process: flags, credentials, endpoints. */
import '../../process/lean.ts';
import * as z from 'zod';
import { connect } from '../../kube/client.ts';
import { systemClock, systemRandom } from '../../kube/clock.ts';
import {
  type Flag,
  type HostPort,
  hostPortSchema,
  kubeconfigFlag,
  logLevelFlag,
} from '../../process/flags.ts';
import { serveProbes } from '../../process/httpserver.ts';
import { runProgram } from '../../process/main.ts';
import { VERSION } from '../../process/version.ts';
import { DEFAULT_SOCKET, DEFAULT_STATE_DIR } from '../protocol.ts';
import { Agent, journalGauges, prepareStateDir } from './agent.ts';
import { openJournal } from './journal.ts';
import { AgentMetrics } from './metrics.ts';
import { lockStateDir } from './statelock.ts';

const pathFlag = (description: string, standard: string): Flag<string> => ({
  schema: z.string().startsWith('/', { error: 'use an absolute path' }),
  description,
  placeholder: 'path',
  default: standard,
});

const nodeNameFlag: Flag<string> = {
  schema: z.string({ error: 'give the name of the Node object of this machine' }).min(1).max(253),
  description: 'the Node object that this agent serves',
  placeholder: 'name',
  env: 'NODE_NAME',
};

const metricsAddressFlag: Flag<HostPort> = {
  schema: hostPortSchema,
  description: 'where /healthz, /readyz and /metrics are answered',
  placeholder: 'host:port',
  default: ':9465',
};

await runProgram(
  {
    name: 'berth-agent',
    version: VERSION,
    summary: "gives this node's pods their addresses",
    flags: {
      'node-name': nodeNameFlag,
      kubeconfig: kubeconfigFlag,
      socket: pathFlag('unix socket that the CNI binary talks to', DEFAULT_SOCKET),
      'state-dir': pathFlag('directory of the journal and of queued DELs', DEFAULT_STATE_DIR),
      'metrics-address': metricsAddressFlag,
      'log-level': logLevelFlag,
    },
  },
  async ({ values, signal, log }) => {
    const clock = systemClock;
    const stateDir = values['state-dir'];
    prepareStateDir(stateDir);
    const lock = await lockStateDir({ stateDir, clock, log }, signal);
    const journal = openJournal({
      stateDir,
      now: clock.now(),
      onDamage: (setAside, reason) =>
        log.error({ setAside, reason }, 'the journal is damaged; it is set aside and a new one begun'),
      onCompactionFailed: (error) => log.warn({ error }, 'the journal can not be compacted; it stays long'),
    });
    const metrics = new AgentMetrics(journalGauges(journal));
    const api = await connect({
      kubeconfig: values.kubeconfig,
      userAgent: `berth-agent/${VERSION}`,
      onRequest: (request) => metrics.apiRequest(request),
    });
    const agent = new Agent({
      node: values['node-name'],
      socket: values.socket,
      stateDir,
      api,
      journal,
      metrics,
      clock,
      random: systemRandom,
      log,
    });
    const probes = await serveProbes({ ...agent.probes, address: values['metrics-address'], log });
    log.info({ address: probes.address }, 'metrics and probes');
    try {
      await agent.run(signal);
    } finally {
      await probes.close();
      await api.close();
      journal.close();
      lock.release();
    }
  },
);
