/** What the agent shows of itself on its socket: `/v1/attachments`, `/v1/pools`, `/v1/config`. */
import { formatCidr } from '../../ipam/cidr.ts';
import type { Route } from '../../process/httpserver.ts';
import type { Journal } from './journal.ts';
import type { PoolTable } from './pools.ts';

export interface ShowOptions {
  readonly journal: Journal;
  readonly pools: PoolTable;
  readonly config: Readonly<Record<string, unknown>>;
}

function json(value: () => unknown): Route {
  return () => ({
    status: 200,
    contentType: 'application/json',
    body: `${JSON.stringify(value(), undefined, 2)}\n`,
  });
}

export function agentRoutes({ journal, pools, config }: ShowOptions): Readonly<Record<string, Route>> {
  return {
    '/v1/attachments': json(() => ({
      attachments: [...journal.state.attachments.values()],
      releasing: [...journal.state.releasing.values()],
      inDoubt: [...journal.state.intents.values()],
    })),
    '/v1/pools': json(() =>
      [...pools.entries.values()].map(({ pool, heldFor, ...entry }) => ({
        ...entry,
        heldFor: Object.fromEntries(heldFor),
        ...(pool !== undefined && {
          subnet: formatCidr(pool.subnet),
          capacity: pool.capacity.toString(),
          cooldownMs: pool.cooldownMs,
          disabled: pool.disabled,
        }),
      })),
    ),
    '/v1/config': json(() => config),
  };
}
