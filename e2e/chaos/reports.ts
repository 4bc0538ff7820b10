/**
 * What Berth itself says of duplicates: the agents' metric, added up over their lives as Prometheus does, and the Events on
 * pods.
 */
import type { Api } from '../../kube/api.ts';
import { events } from '../../kube/core.ts';
import type { NodeAgent } from '../harness/cluster.ts';
import { attempt, CALL_MS, NAMESPACE } from './pods.ts';

/** An Event AddressConflict on a pod. */
export interface ConflictEvent {
  readonly uid: string;
  readonly message: string;
}

const CONFLICTS = /^berth_address_conflicts_total (\d+)$/m;

export class Reports {
  /** What each agent's present process has counted, and those before it. */
  readonly #counts = new Map<string, { present: number; before: number }>();
  readonly #events = new Map<string, ConflictEvent>();

  /** Conflicts that the agent on this node has counted. */
  conflictsOn(node: string): number {
    const { present = 0, before = 0 } = this.#counts.get(node) ?? {};
    return present + before;
  }

  get conflicts(): number {
    return [...this.#counts.keys()].reduce((sum, node) => sum + this.conflictsOn(node), 0);
  }

  get events(): ConflictEvent[] {
    return [...this.#events.values()];
  }

  /** Reads the agent's metric; not to be called while the agent is stopped. */
  async scrape(agent: NodeAgent): Promise<void> {
    let text: string;
    try {
      text = await agent.show('/metrics');
    } catch (error) {
      // It is being started, or has just been killed: the next look finds it.
      if (error instanceof Error) return;
      throw error;
    }
    const value = Number(CONFLICTS.exec(text)?.[1]);
    if (Number.isNaN(value))
      throw new Error(`the agent on ${agent.node} shows no berth_address_conflicts_total`);
    const before = this.#counts.get(agent.node)?.before ?? 0;
    this.#counts.set(agent.node, { present: value, before });
  }

  /** The process of the agent on this node has ended: the next one counts from 0. */
  processEnded(node: string): void {
    this.#counts.set(node, { present: 0, before: this.conflictsOn(node) });
  }

  /** Reads the Events that are there now; those of before stay known, as a restore takes them away. */
  async readEvents(api: Api): Promise<void> {
    const options = { namespace: NAMESPACE, fieldSelector: 'reason=AddressConflict', timeoutMs: CALL_MS };
    const list = await attempt(api.list(events, options));
    for (const { involvedObject, message = '' } of list?.items ?? []) {
      const uid = involvedObject.uid ?? '';
      this.#events.set(`${uid} ${message}`, { uid, message });
    }
  }
}
