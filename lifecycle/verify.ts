/**
 * Whether an installation works: agents and an operator are ready, and a pool that is made now becomes Ready, which takes the
 * kinds, the roles and a leading operator. Everything that it makes it removes.
 */
import { CONDITION_READY, ipPools } from '../crds/resources.ts';
import type { IPPool } from '../crds/types.ts';
import type { Api } from '../kube/api.ts';
import type { Clock } from '../kube/clock.ts';
import { isApiError } from '../kube/errors.ts';
import type { Log } from '../kube/log.ts';
import { daemonSets, deployments } from './kinds.ts';

export interface Verification {
  readonly api: Api;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly namespace: string;
  /** Milliseconds for each step. */
  readonly timeoutMs: number;
}

/** In a network of its own, from the addresses for documentation (RFC 5737); nobody is given one of them. */
const POOL = { name: 'berth-verify', network: 'berth-verify', subnet: '192.0.2.0/24' };
const LOOK_EVERY_MS = 500;

/** Waits until `look` finds nothing to complain of. @throws Error with the last complaint */
async function until(
  { clock, log, signal, timeoutMs }: Verification,
  what: string,
  look: () => Promise<string | undefined>,
): Promise<void> {
  const deadline = clock.monotonic() + timeoutMs;
  let said = '';
  for (;;) {
    const complaint = await look();
    if (complaint === undefined) {
      log.info({}, what);
      return;
    }
    if (complaint !== said) log.info({ complaint }, `waiting: ${what}`);
    said = complaint;
    if (clock.monotonic() > deadline)
      throw new Error(`not within ${timeoutMs / 1000} s: ${what}: ${complaint}`);
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
}

/** @throws Error that says which part does not work */
export async function verify(options: Verification): Promise<void> {
  const { api, signal, namespace } = options;
  await until(options, 'every node has an agent that is ready', async () => {
    const { status = {} } = await api.get(daemonSets, { namespace, name: 'berth-agent' }, { signal });
    const { desiredNumberScheduled: all = 0, numberReady: ready = 0 } = status;
    return all > 0 && ready >= all ? undefined : `${ready} of ${all} agents are ready`;
  });
  await until(options, 'an operator is ready', async () => {
    const { status = {} } = await api.get(deployments, { namespace, name: 'berth-operator' }, { signal });
    return (status.readyReplicas ?? 0) > 0 ? undefined : 'no operator is ready';
  });
  const { name } = POOL;
  const pool: IPPool = {
    apiVersion: 'ipam.berth.dev/v1alpha1',
    kind: 'IPPool',
    metadata: { name },
    spec: { network: POOL.network, subnet: POOL.subnet, ranges: [] },
  };
  await until(options, 'a pool can be made', async () => {
    try {
      await api.create(ipPools, pool, { signal });
      return undefined;
    } catch (error) {
      // From a run that was killed.
      if (isApiError(error, 'AlreadyExists')) return undefined;
      // Kinds that were installed a moment ago are not served yet.
      if (isApiError(error, 'NotFound', 'Throttled')) return error.message;
      throw error;
    }
  });
  try {
    await until(options, 'a new pool becomes Ready', async () => {
      const { status } = await api.get(ipPools, { name }, { signal });
      const ready = status?.conditions?.find(({ type }) => type === CONDITION_READY);
      return ready?.status === 'True' ? undefined : (ready?.message ?? 'no operator has looked at it');
    });
  } finally {
    await api.delete(ipPools, { name }, { signal });
  }
  await until(options, 'the pool goes again', async () => {
    try {
      await api.get(ipPools, { name }, { signal });
      return 'its finalizer is still there';
    } catch (error) {
      if (isApiError(error, 'NotFound')) return undefined;
      throw error;
    }
  });
}
