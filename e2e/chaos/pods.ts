/**
 * The pods of the run as the API server has them, looked at all the time, for kubelets and users. A list, not a watch:
 * it is right again by itself after whatever happens to the API server, also a restore.
 */
import type { Api } from '../../kube/api.ts';
import { type Pod, pods } from '../../kube/core.ts';
import { isApiError } from '../../kube/errors.ts';

export const NAMESPACE = 'chaos';
/** Label: which of the wanted pods it is. */
export const SLOT_LABEL = 'slot';
/** Keeps the object of a pod that is deleted until its kubelet has ended it, as its grace period does. */
export const KUBELET_FINALIZER = 'chaos.berth.dev/kubelet';
/** Milliseconds for one call; a server that is stopped would hold it for ever. */
export const CALL_MS = 10_000;

/** What the API server had, at some time after `began`. */
export interface PodList {
  readonly began: number;
  /** By UID. */
  readonly pods: ReadonlyMap<string, Pod>;
}

/** @throws ApiError */
export async function listPods(api: Api, now: () => number): Promise<PodList> {
  const began = now();
  const { items } = await api.list(pods, { namespace: NAMESPACE, timeoutMs: CALL_MS });
  return { began, pods: new Map(items.map((pod) => [pod.metadata.uid ?? '', pod])) };
}

/**
 * The call's result; undefined where the API server did not answer, or refused it for what has changed meanwhile.
 * @throws ApiError of a call that can not be right at any time
 */
export async function attempt<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (!isApiError(error) || isApiError(error, 'Invalid', 'Forbidden')) throw error;
    return undefined;
  }
}

/** What a kubelet shall do about a pod: run it, end it, end it and let its object go, or forget it. */
export type Wanted = 'run' | 'end' | 'release' | 'forget';

export function wantedOf(pod: Pod | undefined): Wanted {
  if (pod === undefined) return 'forget';
  if (pod.metadata.deletionTimestamp !== undefined) return 'release';
  const { phase } = pod.status ?? {};
  return phase === 'Succeeded' || phase === 'Failed' ? 'end' : 'run';
}
