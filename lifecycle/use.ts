/** What of Berth is still in use, as a person who wants to remove it must know. */
import { ipPools, ipReservations } from '../crds/resources.ts';
import type { IPPool, IPReservation } from '../crds/types.ts';
import type { Api, KubeObject, Resource } from '../kube/api.ts';
import { isApiError } from '../kube/errors.ts';

/** Objects of one page of a list. */
const PAGE = 1_000;
/** Owners that the report names of each pool; the rest is a number. */
const NAMED = 5;

export interface Use {
  readonly pools: readonly IPPool[];
  readonly reservations: readonly IPReservation[];
  /** How many addresses are Bound: something runs with each of them. */
  readonly bound: number;
}

async function all<T extends KubeObject>(api: Api, resource: Resource<T>, signal: AbortSignal): Promise<T[]> {
  const items: T[] = [];
  let next: string | undefined;
  do {
    const page = await api.list(resource, {
      limit: PAGE,
      signal,
      ...(next !== undefined && { continue: next }),
    });
    items.push(...page.items);
    next = page.metadata.continue;
  } while (next !== undefined && next !== '');
  return items;
}

/** Without the kinds there is nothing in use. @throws ApiError */
export async function whatIsInUse(api: Api, signal: AbortSignal): Promise<Use> {
  const there = async <T extends KubeObject>(resource: Resource<T>): Promise<T[]> => {
    try {
      return await all(api, resource, signal);
    } catch (error) {
      if (isApiError(error, 'NotFound')) return [];
      throw error;
    }
  };
  const [pools, reservations] = [await there(ipPools), await there(ipReservations)];
  return { pools, reservations, bound: reservations.filter(({ spec }) => spec.state === 'Bound').length };
}

function ownerOf({ spec: { owner } }: IPReservation): string {
  if (owner?.kind === 'Pod') return `${owner.namespace}/${owner.name}`;
  return owner?.kind === 'Node' ? `node ${owner.node}` : 'outside the cluster';
}

/** The report, line by line: every pool, how many addresses it has in which state, and who has them. */
export function describeUse({ pools, reservations, bound }: Use): string[] {
  const names = new Set([
    ...pools.map(({ metadata }) => metadata.name ?? ''),
    ...reservations.map(({ spec }) => spec.pool),
  ]);
  const lines = [...names].toSorted().map((name) => {
    const of = reservations.filter(({ spec }) => spec.pool === name);
    const count = (state: string): number => of.filter(({ spec }) => spec.state === state).length;
    const owners = [...new Set(of.filter(({ spec }) => spec.state === 'Bound').map(ownerOf))].toSorted();
    const more = owners.length > NAMED ? ` and ${owners.length - NAMED} more` : '';
    const whose = owners.length === 0 ? '' : `: ${owners.slice(0, NAMED).join(', ')}${more}`;
    const counts = `${count('Held')} held, ${count('Released')} released, ${count('Bound')} bound${whose}`;
    return `pool ${name}${pools.some(({ metadata }) => metadata.name === name) ? '' : ' (gone)'}: ${counts}`;
  });
  return [...lines, `${pools.length} pools, ${reservations.length} reservations, ${bound} addresses in use`];
}
