/** What the agent knows of its node, the pods on it and their namespaces: from its watches, else by a read. */
import type { Api, KubeObject } from '../../kube/api.ts';
import { namespaces } from '../../kube/core.ts';
import { isApiError } from '../../kube/errors.ts';
import { ErrorCode } from '../protocol.ts';
import { CniError, messageOf } from './errors.ts';
import type { NamespaceFacts } from './plan.ts';

/** Milliseconds for one read. */
const READ_TIMEOUT_MS = 5_000;

export interface SurroundingsOptions {
  readonly api: Api;
  readonly cachedNode: () => KubeObject | undefined;
  /** undefined where the watch has not shown it (yet). */
  readonly cachedNamespace: (name: string) => KubeObject | undefined;
}

function namespaceFacts({ metadata }: KubeObject): NamespaceFacts {
  return { labels: metadata.labels ?? {}, annotations: metadata.annotations ?? {} };
}

export class Surroundings {
  readonly #options: SurroundingsOptions;

  constructor(options: SurroundingsOptions) {
    this.#options = options;
  }

  nodeLabels(): Readonly<Record<string, string>> {
    return this.#options.cachedNode()?.metadata.labels ?? {};
  }

  /**
   * Reads the API only if the watch has not shown the namespace; undefined if there is none.
   * @throws CniError 11 if the API cannot be asked
   */
  async namespace(name: string): Promise<NamespaceFacts | undefined> {
    const cached = this.#options.cachedNamespace(name);
    if (cached !== undefined) {
      return namespaceFacts(cached);
    }
    try {
      return namespaceFacts(
        await this.#options.api.get(namespaces, { name }, { timeoutMs: READ_TIMEOUT_MS }),
      );
    } catch (error) {
      if (isApiError(error, 'NotFound')) {
        return undefined;
      }
      throw new CniError(
        ErrorCode.tryAgainLater,
        `namespace ${name} can not be looked up: ${messageOf(error)}`,
        'the API server is away or refuses; the runtime will try again',
        error,
      );
    }
  }
}
