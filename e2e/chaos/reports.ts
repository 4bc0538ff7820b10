/**
 * What Berth itself says of duplicates: the agents' metric, added up over their lives as Prometheus does, and the Events on
 * pods.
 */
import { ipReservations } from '../../crds/resources.ts';
import type { Api } from '../../kube/api.ts';
import { type Event, events } from '../../kube/core.ts';
import type { NodeAgent } from '../harness/cluster.ts';
import { attempt, CALL_MS, NAMESPACE } from './pods.ts';

/** An Event AddressConflict on a pod. */
export interface ConflictEvent {
  readonly uid: string;
  readonly message: string;
  /** It is on the pod that uses the address without a reservation; false: on the one that has the reservation, or it is over. */
  readonly isWithoutReservation: boolean;
}

/** What an Event AddressConflict says: on the pod without the reservation it names that, on the other one it names the pod. */
export function conflictOf({ involvedObject, message, type, related }: Event): ConflictEvent {
  const isWithoutReservation = type === 'Warning' && related?.kind === ipReservations.kind;
  return { uid: involvedObject.uid ?? '', message, isWithoutReservation };
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
    for (const event of list?.items ?? []) {
      const conflict = conflictOf(event);
      this.#events.set(`${conflict.uid} ${conflict.message}`, conflict);
    }
  }
}
