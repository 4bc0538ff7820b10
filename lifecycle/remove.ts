/**
 * Removes Berth from a cluster.
 *
 * - Without a confirmation it says what is in use, and changes nothing.
 * - The confirmation is the number of addresses in use that the report has said: whoever confirms has read it, and a number
 *   that has changed since is refused.
 * - The order is such that it can end at any step and be run again: agents and operator, files of the nodes, finalizers,
 *   kinds with all their objects, roles and policy.
 */
import { FINALIZER_IN_USE, ipPools } from '../crds/resources.ts';
import type { IPPool } from '../crds/types.ts';
import type { KubeObject, ObjectKey, Resource } from '../kube/api.ts';
import { isApiError } from '../kube/errors.ts';
import { ACCESS, customResourceDefinitions, daemonSets, deployments, podsWithSpec } from './kinds.ts';
import { type Cleaning, cleanNodes, DEFAULT_PATHS, type NodePaths, pathsOf, whenPodsGone } from './nodes.ts';
import { describeUse, whatIsInUse } from './use.ts';

export interface Removal extends Omit<Cleaning, 'image' | 'paths'> {
  /** How many addresses are in use, as the report said; undefined: only look. */
  readonly confirm: number | undefined;
  /** The pod that this runs in: the nodes are cleaned with its image. */
  readonly pod: string;
  /** Where the report goes, line by line. */
  readonly say: (line: string) => void;
}

/** The confirmation does not fit; nothing has been changed. */
export class NotConfirmed extends Error {
  override readonly name = 'NotConfirmed';
}

/**
 * @throws NotConfirmed if another number of addresses is in use than was confirmed; ApiError; Error that says which step
 *   did not end in time
 */
export async function remove(options: Removal): Promise<void> {
  const { api, signal, confirm, say, log, namespace } = options;
  const use = await whatIsInUse(api, signal);
  for (const line of describeUse(use)) say(line);
  if (use.bound > 0) {
    say(
      'Pods with these addresses keep them, but their DEL will fail and they will stay Terminating, as the CNI binary',
    );
    say('is gone: delete them first, or take "ipam": {"type": "berth"} out of their networks.');
  }
  if (confirm === undefined) {
    say(
      `Nothing was changed. To remove Berth with all pools and addresses, confirm the number ${use.bound}:`,
    );
    say(`  kubectl -n ${namespace} create configmap berth-remove --from-literal=confirm=${use.bound}`);
    say(`  kubectl -n ${namespace} delete job berth-remove`);
    say('and apply config/remove again.');
    return;
  }
  if (confirm !== use.bound) {
    throw new NotConfirmed(
      `${confirm} addresses in use were confirmed, but it is ${use.bound}: nothing was changed; to remove Berth all the ` +
        `same, confirm ${use.bound}`,
    );
  }
  const { image, paths } = await installation(options);
  await stopPrograms(options);
  await cleanNodes({ ...options, image, paths });
  for (const pool of (await whatIsInUse(api, signal)).pools) await releasePool(options, pool);
  for (const name of ['ippools.ipam.berth.dev', 'ipreservations.ipam.berth.dev'])
    await removeKind(options, name);
  for (const { resource, names } of ACCESS) {
    for (const name of names) {
      await removeObject(options, resource, resource.namespaced ? { namespace, name } : { name });
    }
  }
  log.info({}, 'Berth is removed; what is left is this Job with its role, and the namespace');
}

async function orUndefined<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (isApiError(error, 'NotFound')) return undefined;
    throw error;
  }
}

async function installation({
  api,
  namespace,
  pod,
  signal,
}: Removal): Promise<{ image: string; paths: NodePaths }> {
  const own = await api.get(podsWithSpec, { namespace, name: pod }, { signal });
  const image = own.spec.containers[0]?.image;
  if (image === undefined) throw new Error(`pod ${namespace}/${pod} has no container`);
  const agent = await orUndefined(api.get(daemonSets, { namespace, name: 'berth-agent' }, { signal }));
  return { image, paths: agent === undefined ? DEFAULT_PATHS : pathsOf(agent) };
}

async function removeObject(
  { api, log, signal }: Removal,
  resource: Resource<KubeObject>,
  key: ObjectKey,
): Promise<void> {
  if ((await orUndefined(api.delete(resource, key, { signal }).then(() => true))) === true) {
    log.info({ kind: resource.kind, ...key }, 'removed');
  }
}

/** Agents first: from then on no address is given. */
async function stopPrograms(options: Removal): Promise<void> {
  const { namespace } = options;
  await removeObject(options, daemonSets, { namespace, name: 'berth-agent' });
  await removeObject(options, deployments, { namespace, name: 'berth-operator' });
  await whenPodsGone(options, 'agent');
  await whenPodsGone(options, 'operator');
}

/** Takes Berth's finalizer off, so that the pool can go; nobody puts it on again. */
async function releasePool({ api, signal }: Removal, { metadata }: IPPool): Promise<void> {
  const { name = '', finalizers = [], resourceVersion = '' } = metadata;
  if (!finalizers.includes(FINALIZER_IN_USE)) return;
  await api.patch(
    ipPools,
    { name },
    [
      { op: 'test', path: '/metadata/resourceVersion', value: resourceVersion },
      {
        op: 'replace',
        path: '/metadata/finalizers',
        value: finalizers.filter((each) => each !== FINALIZER_IN_USE),
      },
    ],
    { signal },
  );
}

const LOOK_EVERY_MS = 500;

/** Removes a kind, and all its objects with it. */
async function removeKind(options: Removal, name: string): Promise<void> {
  const { api, clock, signal, timeoutMs } = options;
  await removeObject(options, customResourceDefinitions, { name });
  const deadline = clock.monotonic() + timeoutMs;
  while ((await orUndefined(api.get(customResourceDefinitions, { name }, { signal }))) !== undefined) {
    if (clock.monotonic() > deadline) {
      throw new Error(
        `the kind ${name} is still there after ${timeoutMs / 1000} s: an object of it has a finalizer that is not Berth's`,
      );
    }
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
}
