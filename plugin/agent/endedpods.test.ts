import { expect, test } from 'vitest';
import { MIRROR_ANNOTATION, type Pod, pods } from '../../kube/core.ts';
import { type TestNode, World } from './testing/world.ts';

/** A node on which every pod of the names has an attachment. */
async function start(...names: readonly string[]): Promise<{ world: World; node: TestNode }> {
  const world = new World();
  world.pool('v4', { subnet: '10.0.0.0/29' });
  const node = world.node();
  await node.parts.sync.compare();
  for (const pod of names) {
    await world.pod(pod);
    await world.finish(node.parts.attachments.add(world.parsed('ADD', { pod, container: pod })));
  }
  return { world, node };
}

function podOf(world: World, name: string): Pod {
  const pod = world.api.objects(pods).find(({ metadata }) => metadata.name === name);
  if (pod === undefined) throw new Error(`no pod ${name}`);
  return pod;
}

/** Names of the pods that have ended, as the journal has it. */
const ended = (node: TestNode): string[] =>
  [...node.journal.state.attachments.values()]
    .filter(({ isEnded }) => isEnded === true)
    .map(({ owner }) => owner.name ?? '')
    .toSorted((a, b) => a.localeCompare(b));

test('a pod that a watch says is deleted has ended, and no other; the next process knows it', async () => {
  const { world, node } = await start('web', 'db');
  await using _ = world;
  node.parts.ended.deleted(podOf(world, 'web'));
  expect(ended(node)).toEqual(['web']);
  node.restart();
  expect(ended(node)).toEqual(['web']);
});

test('a pod that a complete list lacks has ended, also where another one has its name', async () => {
  const { world, node } = await start('web', 'db', 'api');
  await using _ = world;
  const db = podOf(world, 'db');
  world.cachedPods.delete('shop/web');
  world.cachedPods.set('shop/db', { ...db, metadata: { ...db.metadata, uid: 'another' } });
  node.parts.ended.complete();
  expect(ended(node)).toEqual(['db', 'web']);
});

test('a static pod has not ended when its mirror is gone: the kubelet makes it again', async () => {
  const { world, node } = await start();
  await using _ = world;
  await world.pod('web');
  const { metadata, ...rest } = podOf(world, 'web');
  const annotations = { [MIRROR_ANNOTATION]: 'hash' };
  world.cachedPods.set('shop/web', { ...rest, metadata: { ...metadata, annotations } });
  await world.finish(node.parts.attachments.add(world.parsed('ADD', { pod: 'web', uid: 'hash' })));
  world.cachedPods.delete('shop/web');
  node.parts.ended.deleted({ ...rest, metadata });
  node.parts.ended.complete();
  expect(node.journal.state.attachments.size).toBe(1);
  expect(ended(node)).toEqual([]);
});

test('nothing is written where nothing changes', async () => {
  const { world, node } = await start('web');
  await using _ = world;
  const before = node.journal.state.attachments.get('web/eth0');
  node.parts.ended.complete();
  expect(node.journal.state.attachments.get('web/eth0')).toBe(before);
});
