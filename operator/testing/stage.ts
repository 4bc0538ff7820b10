/** A real API server with Berth's kinds and the operator's role, and operators in this process that have no other rights. */
import { join } from 'node:path';
import { type ControlPlane, startControlPlane } from '../../e2e/controlplane/controlplane.ts';
import { connect, type RestApi } from '../../kube/client.ts';
import { systemClock, systemRandom } from '../../kube/clock.ts';
import { type Pod, pods } from '../../kube/core.ts';
import { silentLog } from '../../kube/log.ts';
import { EventRecorder } from '../../kube/recorder.ts';
import { type OperatorMetrics, operatorMetrics } from '../metrics.ts';
import { Operator } from '../operator.ts';
import { type Report, reportThrough } from '../report.ts';

/** The namespace of the tests' pods. */
export const NAMESPACE = 'shop';

export interface RunOptions {
  /** Milliseconds. */
  readonly graceMs: number;
  readonly scanIntervalMs: number;
  readonly dryRun?: boolean | undefined;
  /** Absent: by Events. */
  readonly report?: Report;
}

export interface OperatorRun {
  readonly metrics: OperatorMetrics;
  /** Ends it, and waits for the end. */
  readonly stop: () => Promise<void>;
}

export class OperatorStage {
  readonly plane: ControlPlane;
  /** The administrator's. */
  readonly api: RestApi;
  /** Of the operator, for processes. */
  readonly kubeconfig: string;
  readonly #operatorApi: RestApi;
  readonly #stops: (() => Promise<void>)[] = [];

  private constructor(plane: ControlPlane, api: RestApi, kubeconfig: string, operatorApi: RestApi) {
    this.plane = plane;
    this.api = api;
    this.kubeconfig = kubeconfig;
    this.#operatorApi = operatorApi;
  }

  static async start(options: { readonly name: string; readonly audit?: boolean }): Promise<OperatorStage> {
    const plane = await startControlPlane(options);
    await plane.applyCrds();
    for (const file of ['namespace/namespace.yaml', 'rbac/operator.yaml']) {
      await plane.kubectl(['apply', '-f', join(import.meta.dirname, '../../config', file)]);
    }
    await plane.kubectl(['create', 'namespace', NAMESPACE]);
    const userAgent = 'berth-operator-test';
    const kubeconfig = await plane.userKubeconfig('berth-operator');
    const operatorApi = await connect({ kubeconfig, userAgent });
    const api = await connect({ kubeconfig: plane.kubeconfig, userAgent });
    return new OperatorStage(plane, api, kubeconfig, operatorApi);
  }

  /** Runs an operator until it is stopped, or `endRuns`. */
  run(options: RunOptions): OperatorRun {
    const aborter = new AbortController();
    const metrics = operatorMetrics();
    const common = { api: this.#operatorApi, clock: systemClock, random: systemRandom, log: silentLog };
    const recorder = new EventRecorder({ ...common, component: 'berth-operator' });
    const operator = new Operator({
      ...common,
      metrics,
      report: options.report ?? reportThrough(recorder),
      orphanGraceMs: options.graceMs,
      scanIntervalMs: options.scanIntervalMs,
      dryRun: options.dryRun ?? false,
    });
    const running = operator.run(aborter.signal);
    const stop = async (): Promise<void> => {
      aborter.abort();
      await running;
      await recorder.flush();
    };
    this.#stops.push(stop);
    return { metrics, stop };
  }

  async endRuns(): Promise<void> {
    for (const stop of this.#stops.splice(0)) await stop();
  }

  /** A pod that nothing runs. */
  createPod(name: string, node = 'node-1', metadata: Pod['metadata'] = {}): Promise<Pod> {
    const spec = {
      nodeName: node,
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'a', image: 'a' }],
      // A mirror pod may not have one.
      automountServiceAccountToken: false,
    };
    return this.api.create(pods, { metadata: { ...metadata, name, namespace: NAMESPACE }, spec });
  }

  /** By force; one with a finalizer stays Terminating. */
  async deletePod(name: string): Promise<void> {
    const now = ['--grace-period=0', '--force', '--wait=false'];
    await this.plane.kubectl(['delete', 'pod', '-n', NAMESPACE, name, ...now]);
  }

  async stop(): Promise<void> {
    await this.endRuns();
    await Promise.all([this.api.close(), this.#operatorApi.close()]);
    await this.plane.stop();
  }
}
