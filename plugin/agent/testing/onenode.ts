/** What most tests of the agent's parts begin with: one node, one pool of six addresses, one pod. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { pods } from '../../../kube/core.ts';
import { JOURNAL_FILE } from '../journal.ts';
import { type TestNode, World } from './world.ts';

/** The node has compared once and serves; the first address to be given is 10.0.0.2. */
export async function startOneNode(): Promise<{ world: World; node: TestNode }> {
  const world = new World();
  world.pool('v4', { subnet: '10.0.0.0/29', gateway: '10.0.0.1', allocation: 'Ascending' });
  const node = world.node();
  await world.pod('web');
  await node.parts.sync.compare();
  return { world, node };
}

/** An ADD of the pod. */
export function add(world: World, node: TestNode, container = 'c1', ifname = 'eth0'): Promise<unknown> {
  return world.finish(node.parts.attachments.add(world.parsed('ADD', { container, ifname })));
}

/** Deletes the pod. */
export function endPod(world: World): Promise<void> {
  return world.direct(() => world.api.delete(pods, { namespace: 'shop', name: 'web' }));
}

/** Kills the agent, and starts it without its journal. */
export function forgetJournal(node: TestNode): void {
  node.kill();
  fs.rmSync(path.join(node.directory, JOURNAL_FILE));
  node.start();
}
