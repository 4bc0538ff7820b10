/** Pools that the suite uses. */
import type { IPPoolSpec } from '../../../crds/types.ts';
import type { World } from './world.ts';

/** Pools of the cluster's own network: its defaults. */
export const PRIMARY_POOLS: Readonly<Record<string, IPPoolSpec>> = {
  'stretched-v4': {
    network: 'stretched',
    subnet: '10.64.0.0/16',
    ranges: ['10.64.1.0-10.64.9.255'],
    gateway: '10.64.0.1',
    routes: [{ dst: '0.0.0.0/0' }],
    default: true,
    cooldown: '5s',
  },
  'stretched-v6': {
    network: 'stretched',
    subnet: 'fd00:64::/64',
    ranges: ['fd00:64::1:0-fd00:64::1:ffff'],
    gateway: 'fd00:64::1',
    routes: [{ dst: '::/0' }],
    default: true,
    cooldown: '5s',
  },
};

/** Creates pools, and waits until each is Ready. */
export async function createPools(world: World, pools: Readonly<Record<string, IPPoolSpec>>): Promise<void> {
  await Promise.all(Object.entries(pools).map(([name, spec]) => world.pool(name, spec)));
}
