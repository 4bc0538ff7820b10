/** Whose an attachment is: the pod that the runtime names, as the API server knows it, or the node. */
import type { Api, ObjectMeta } from '../../kube/api.ts';
import { hasUid, type Pod, pods } from '../../kube/core.ts';
import { isApiError } from '../../kube/errors.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, messageOf } from './errors.ts';
import type { ParsedRequest } from './request.ts';
import type { AttachmentOwner } from './state.ts';

/** Milliseconds for one read. */
const READ_TIMEOUT_MS = 5_000;

/** What of a pod decides about its addresses. */
export interface PodFacts {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly nodeName: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** It has some, be they ours or others'. */
  readonly hasAnnotations: boolean;
  readonly ownerReferences: NonNullable<ObjectMeta['ownerReferences']>;
  /** It has ended (Succeeded, Failed): its addresses are nobody's, although the object is still there. */
  readonly isTerminal: boolean;
  /** It is being deleted. */
  readonly isTerminating: boolean;
}

export function podFacts(pod: Pod): PodFacts {
  const { metadata, spec, status } = pod;
  return {
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    uid: metadata.uid ?? '',
    nodeName: spec?.nodeName,
    labels: metadata.labels ?? {},
    annotations: metadata.annotations ?? {},
    hasAnnotations: metadata.annotations !== undefined,
    ownerReferences: metadata.ownerReferences ?? [],
    isTerminal: status?.phase === 'Succeeded' || status?.phase === 'Failed',
    isTerminating: metadata.deletionTimestamp !== undefined,
  };
}

/** True if the pod is the one that this UID means, on this node. */
export function podMatches(pod: PodFacts, uid: string, node: string): boolean {
  return hasUid(pod, uid) && pod.nodeName === node;
}

export interface OwnerResolverOptions {
  readonly api: Api;
  readonly node: string;
  /** A pod of the agent's watch of its node; undefined if the watch does not have it (yet). */
  readonly cachedPod: (namespace: string, name: string) => PodFacts | undefined;
}

/** What the API server says of an owner. `unknown`: it has no pod of this UID. */
export type Liveness = 'alive' | 'ended' | 'unknown';

/** An owner, and the pod behind it unless it is the node itself. */
export interface ResolvedOwner {
  readonly owner: AttachmentOwner;
  readonly pod: PodFacts | undefined;
}

export class OwnerResolver {
  readonly #options: OwnerResolverOptions;

  constructor(options: OwnerResolverOptions) {
    this.#options = options;
  }

  /**
   * The owner of a new attachment. Reads the API only if the watch has not shown the pod.
   * @throws CniError 11 if the API does not know the pod, knows another UID, or cannot be asked.
   */
  async resolve(request: ParsedRequest): Promise<ResolvedOwner> {
    const { namespace, name, uid } = request.pod;
    const { node } = this.#options;
    if (name === undefined || namespace === undefined) {
      return this.#nodeOwner(request);
    }
    if (uid !== undefined) {
      const cached = this.#options.cachedPod(namespace, name);
      if (cached !== undefined && podMatches(cached, uid, node)) {
        return this.#podOwner(request, cached, uid);
      }
    }
    const live = await this.livePod(namespace, name);
    if (uid === undefined) {
      return live === undefined || live.nodeName !== node
        ? this.#nodeOwner(request)
        : this.#podOwner(request, live, live.uid);
    }
    if (live === undefined) {
      throw this.#unknown(request, 'the API server does not know the pod');
    }
    if (!podMatches(live, uid, node)) {
      throw this.#unknown(
        request,
        live.nodeName === node
          ? `the API server knows the pod with UID ${live.uid}`
          : `the API server knows the pod on node ${live.nodeName ?? '(none yet)'}`,
      );
    }
    return this.#podOwner(request, live, uid);
  }

  /**
   * The pod as the API server has it now; undefined if it has none.
   * @throws CniError 11 if the API cannot be asked.
   */
  async livePod(namespace: string, name: string): Promise<PodFacts | undefined> {
    try {
      return podFacts(await this.#options.api.get(pods, { namespace, name }, { timeoutMs: READ_TIMEOUT_MS }));
    } catch (error) {
      if (isApiError(error, 'NotFound')) {
        return undefined;
      }
      throw new CniError(
        ErrorCode.tryAgainLater,
        `pod ${namespace}/${name} can not be looked up: ${messageOf(error)}`,
        'the API server is away or refuses; the runtime will try again',
        error,
      );
    }
  }

  /**
   * What a live GET says of the owner: alive only on this node. The node itself is alive: we run on it.
   * @throws CniError 11 if the API cannot be asked.
   */
  async liveness({ kind, namespace, name, uid }: AttachmentOwner): Promise<Liveness> {
    if (kind !== 'Pod' || namespace === undefined || name === undefined) {
      return kind === 'Node' ? 'alive' : 'ended';
    }
    const pod = await this.livePod(namespace, name);
    if (pod === undefined || uid === undefined || !hasUid(pod, uid)) {
      return 'unknown';
    }
    return !pod.isTerminal && podMatches(pod, uid, this.#options.node) ? 'alive' : 'ended';
  }

  #podOwner(request: ParsedRequest, pod: PodFacts, uid: string): ResolvedOwner {
    return {
      pod,
      owner: {
        kind: 'Pod',
        namespace: pod.namespace,
        name: pod.name,
        uid,
        node: this.#options.node,
        containerID: request.id.containerID,
        ifname: request.id.ifname,
        cniNetwork: request.cniNetwork,
      },
    };
  }

  #nodeOwner(request: ParsedRequest): ResolvedOwner {
    return {
      pod: undefined,
      owner: {
        kind: 'Node',
        node: this.#options.node,
        containerID: request.id.containerID,
        ifname: request.id.ifname,
        cniNetwork: request.cniNetwork,
      },
    };
  }

  #unknown(request: ParsedRequest, why: string): CniError {
    const { namespace, name, uid } = request.pod;
    return new CniError(
      ErrorCode.tryAgainLater,
      `pod ${namespace}/${name} with UID ${uid} is not known on node ${this.#options.node}: ${why}`,
      'the pod is new, was re-created or has moved; the runtime will try again',
    );
  }
}
