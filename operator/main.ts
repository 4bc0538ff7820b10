/** The operator as a process: flags, credentials, leader election, endpoints. */
import '../process/leangrowing.ts';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Api } from '../kube/api.ts';
import { connect } from '../kube/client.ts';
import { systemClock, systemRandom } from '../kube/clock.ts';
import { LeaderElector } from '../kube/lease.ts';
import { permitWrites } from '../kube/permit.ts';
import { EventRecorder } from '../kube/recorder.ts';
import { type ProbeOptions, serveProbes } from '../process/httpserver.ts';
import { runProgram } from '../process/main.ts';
import { VERSION } from '../process/version.ts';
import { operatorProgram } from './flags.ts';
import { operatorMetrics } from './metrics.ts';
import { Operator } from './operator.ts';
import { type Report, reportInLog, reportThrough } from './report.ts';

const LEASE_NAME = 'berth-operator';
const DEFAULT_NAMESPACE = 'berth-system';
/** Where Kubernetes tells a pod its namespace. */
const NAMESPACE_FILE = '/var/run/secrets/kubernetes.io/serviceaccount/namespace';

async function ownNamespace(): Promise<string> {
  try {
    return (await readFile(NAMESPACE_FILE, 'utf8')).trim() || DEFAULT_NAMESPACE;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      return DEFAULT_NAMESPACE;
    }
    throw error;
  }
}

await runProgram(operatorProgram, async ({ values, signal, log }) => {
  const api = await connect({ kubeconfig: values.kubeconfig, userAgent: `berth-operator/${VERSION}` });
  const metrics = operatorMetrics();
  const common = { api, clock: systemClock, random: systemRandom, log };
  const identity = `${hostname()}_${randomUUID()}`;
  let operator: Operator | undefined;

  const work = async (through: Api, report: Report, stop: AbortSignal): Promise<void> => {
    operator = new Operator({
      ...common,
      api: through,
      metrics,
      report,
      orphanGraceMs: values['orphan-grace'],
      scanIntervalMs: values['scan-interval'],
      dryRun: values['dry-run'],
    });
    await operator.run(stop);
  };
  const lead = async (through: Api, stop: AbortSignal): Promise<void> => {
    const recorder = new EventRecorder({
      ...common,
      api: through,
      component: operatorProgram.name,
      instance: hostname(),
    });
    metrics.leader.set(1);
    await work(through, reportThrough(recorder), stop);
    await recorder.flush();
    metrics.leader.set(0);
  };

  // One that does not lead has nothing to read: it is ready.
  const checks = { healthz: () => undefined, readyz: () => operator?.why() };
  const serve = (address: (typeof values)['health-address'], more: ProbeOptions = {}) =>
    serveProbes({ address, checks, log, ...more });
  const health = await serve(values['health-address']);
  const exposed = await serve(values['metrics-address'], { registry: metrics.registry });
  log.info({ health: health.address, metrics: exposed.address, dryRun: values['dry-run'] }, 'serving');
  try {
    if (values['dry-run']) {
      // It takes no lease and may run beside a leader.
      log.warn({}, 'dry run: nothing is written, no status of a pool and no lease either');
      await work(api, reportInLog(log), signal);
      return;
    }
    if (!values['leader-elect']) {
      await lead(api, signal);
      return;
    }
    const namespace = values.namespace ?? (await ownNamespace());
    const lease = { namespace, name: LEASE_NAME };
    const elector = new LeaderElector({ ...common, lease, identity, onLost: () => metrics.leader.set(0) });
    const fenced = permitWrites(api, () => elector.assertLeading());
    log.info({ lease, identity }, 'waiting for the lease');
    if ((await elector.run((stop) => lead(fenced, stop), signal)) === 'lost') {
      throw new Error('the lease is lost: ending, so that this process starts anew as a candidate');
    }
  } finally {
    await Promise.all([health.close(), exposed.close()]);
    await api.close();
  }
});
