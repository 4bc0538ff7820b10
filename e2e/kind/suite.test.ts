/** The suite on a whole cluster, scenario by scenario; after each of them reservations are pod interfaces, exactly. */
import { afterAll } from 'vitest';
import { scale, workloads } from './testing/controllers.ts';
import { nodeFailures, restarts } from './testing/disturbances.ts';
import { installation, reinstallation } from './testing/installation.ts';
import { primaryNetwork, secondaryNetworks } from './testing/networking.ts';
import { removeNetworks } from './testing/networks.ts';
import { allNotes } from './testing/notes.ts';
import { routedVariant } from './testing/routed.ts';
import { World } from './testing/world.ts';

const world: World = await World.enter();

// A cluster of somebody else has Berth, Multus and its own network already.
if (world.own) installation(world);
if (world.own) primaryNetwork(world);
secondaryNetworks(world);
workloads(world);
scale(world);
restarts(world);
nodeFailures(world);
if (world.own) {
  routedVariant(world);
  reinstallation(world);
}

afterAll(async () => {
  if (!world.own) await removeNetworks(world);
  await world.api.close();
  console.log(['', 'Measured:', ...allNotes().map((note) => `  ${note}`), ''].join('\n'));
});
