/**
 * The API server's own word on who is gone, without which no address is taken back.
 *
 * - One read for each question at most. Where many of one node are asked about, one list of its pods answers all of
 *   them, and one read of a node all that hang on it (docs/adr/0021).
 * - An answer counts only for what had been a candidate for its whole grace when the read began, and not for long: nodes
 *   come back. Pods do not: what is said of a UID (gone, ended, elsewhere) holds for good.
 */
import type { Api } from '../kube/api.ts';
import type { Clock } from '../kube/clock.ts';
import { type Node, nodes, pods, statefulSets } from '../kube/core.ts';
import { isApiError } from '../kube/errors.ts';
import { uidsOf } from './caches.ts';
import {
  type GoneReason,
  type Holder,
  hasOrdinal,
  isHolderThere,
  isOutOfService,
  type Subject,
  whyPodGone,
} from './liveness.ts';

/** Milliseconds for which one read answers. */
const GOOD_FOR_MS = 10_000;
/** From so many candidates of one node on, a list of its pods is cheaper than a read for each. */
export const CROWD = 10;
/** What a field selector takes as it is. */
const NODE_NAME = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;
/** Stands for "not asked": a pod that is Terminating counts as alive while its node is there. */
const SOME_NODE: Node = { metadata: {} };

export interface Question {
  /** What the cache says. */
  readonly seeming: GoneReason;
  /** Monotonic time at which the grace was over. */
  readonly notBefore: number;
  /** Candidates of the same node. */
  readonly crowd: number;
}

interface Shared<T> {
  /** Monotonic time at which the read began. */
  readonly at: number;
  readonly answer: Promise<T>;
}

/** What a list says of each UID on a node: why it is gone, undefined for one that is alive. */
type PodsOfNode = ReadonlyMap<string, GoneReason | undefined>;

export class LiveReads {
  readonly #api: Pick<Api, 'get' | 'list'>;
  readonly #clock: Clock;
  readonly #nodes = new Map<string, Shared<Node | undefined>>();
  readonly #podsOfNodes = new Map<string, Shared<PodsOfNode>>();

  constructor(api: Pick<Api, 'get' | 'list'>, clock: Clock) {
    this.#api = api;
    this.#clock = clock;
  }

  /**
   * Why the owner or holder is gone; undefined if it is not, or not for sure.
   * @throws ApiError of the read
   */
  async whyGone(subject: Subject, question: Question, signal: AbortSignal): Promise<GoneReason | undefined> {
    switch (subject.kind) {
      case 'nobody':
        return undefined;
      case 'node':
        return (await this.#node(subject.node, question, signal)) === undefined
          ? 'OwnerNodeDeleted'
          : undefined;
      case 'holder':
        return (await this.#isHolderThere(subject, signal)) ? undefined : 'HolderGone';
      case 'pod':
        return this.#whyPodGone(subject, question, signal);
    }
  }

  async #whyPodGone(
    subject: Extract<Subject, { kind: 'pod' }>,
    question: Question,
    signal: AbortSignal,
  ): Promise<GoneReason | undefined> {
    const { seeming, crowd } = question;
    if (seeming === 'NodeDeleted' || seeming === 'NodeOutOfService') {
      // The pod was seen Terminating, which no pod ever takes back: the node alone decides.
      const node = await this.#node(subject.node, question, signal);
      if (node === undefined) {
        return 'NodeDeleted';
      }
      return isOutOfService(node) ? 'NodeOutOfService' : undefined;
    }
    if (crowd >= CROWD && NODE_NAME.test(subject.node)) {
      const present = await this.#podsOf(subject.node, question, signal);
      // One that is not there may be on another node: the cache knows which of the two it is.
      const gone: GoneReason = seeming === 'PodElsewhere' ? seeming : 'PodDeleted';
      return present.has(subject.uid) ? present.get(subject.uid) : gone;
    }
    const { namespace, name } = subject;
    const pod = await orAbsent(this.#api.get(pods, { namespace, name }, { signal }));
    return whyPodGone(subject, pod, SOME_NODE);
  }

  async #isHolderThere({ namespace, pod, set }: Holder, signal: AbortSignal): Promise<boolean> {
    if (set === undefined) {
      return isHolderThere(await orAbsent(this.#api.get(pods, { namespace, name: pod }, { signal })));
    }
    const found = await orAbsent(this.#api.get(statefulSets, { namespace, name: set.name }, { signal }));
    return hasOrdinal(found, set.ordinal);
  }

  #node(name: string, question: Question, signal: AbortSignal): Promise<Node | undefined> {
    return this.#shared(this.#nodes, name, question, () =>
      orAbsent(this.#api.get(nodes, { name }, { signal })),
    );
  }

  #podsOf(node: string, question: Question, signal: AbortSignal): Promise<PodsOfNode> {
    return this.#shared(this.#podsOfNodes, node, question, async () => {
      const { items } = await this.#api.list(pods, { fieldSelector: `spec.nodeName=${node}`, signal });
      const verdicts = new Map<string, GoneReason | undefined>();
      for (const pod of items) {
        for (const uid of uidsOf(pod)) {
          // A mirror pod and its follower have one UID: one that is alive is enough.
          if (!verdicts.has(uid) || verdicts.get(uid) !== undefined) {
            verdicts.set(uid, whyPodGone({ uid, node }, pod, SOME_NODE));
          }
        }
      }
      return verdicts;
    });
  }

  async #shared<T>(
    reads: Map<string, Shared<T>>,
    key: string,
    { notBefore }: Question,
    read: () => Promise<T>,
  ): Promise<T> {
    const now = this.#clock.monotonic();
    for (const [other, { at }] of reads) {
      if (now - at > GOOD_FOR_MS) reads.delete(other);
    }
    const known = reads.get(key);
    if (known !== undefined && known.at >= notBefore) {
      return known.answer;
    }
    const shared = { at: now, answer: read() };
    reads.set(key, shared);
    try {
      return await shared.answer;
    } catch (error) {
      // Those who wait for it fail with it; whoever comes next asks again.
      if (reads.get(key) === shared) reads.delete(key);
      throw error;
    }
  }
}

/** The object, or undefined if there is none; any other failure stays one. */
async function orAbsent<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (isApiError(error, 'NotFound')) {
      return undefined;
    }
    throw error;
  }
}
