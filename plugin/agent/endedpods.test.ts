import { describe, expect, test } from 'vitest';
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

describe('a static pod without its mirror', () => {
  /** It has an attachment, and its mirror is gone from the watch; `back` makes another one that the watch has not seen. */
  async function withoutMirror(): Promise<{ world: World; node: TestNode; back: () => Promise<void> }> {
    const { world, node } = await start();
    const mirror = { annotations: { [MIRROR_ANNOTATION]: 'hash' } };
    await world.pod('web', mirror);
    await world.finish(node.parts.attachments.add(world.parsed('ADD', { pod: 'web', uid: 'hash' })));
    const gone = podOf(world, 'web');
    await world.direct(() => world.api.delete(pods, { namespace: 'shop', name: 'web' }));
    world.cachedPods.delete('shop/web');
    node.parts.ended.deleted(gone);
    const back = async (): Promise<void> => {
      await world.pod('web', mirror);
      world.cachedPods.delete('shop/web');
    };
    return { world, node, back };
  }

  test('has not ended: the kubelet makes it again', async () => {
    const { world, node } = await withoutMirror();
    await using _ = world;
    node.parts.ended.complete();
    await world.pass(59_000);
    await node.parts.ended.look();
    expect(node.journal.state.attachments.size).toBe(1);
    expect(ended(node)).toEqual([]);
  });

  test('for as long as the operator waits has ended, also where the deletion was not seen', async () => {
    const { world, node } = await withoutMirror();
    await using _ = world;
    node.restart();
    node.parts.ended.complete();
    await world.pass(60_000);
    await world.finish(node.parts.ended.look());
    expect(ended(node)).toEqual(['web']);
  });

  test('has not ended where a live look finds one, and nobody has seen it come back', async () => {
    const { world, node, back } = await withoutMirror();
    await using _ = world;
    await world.pass(60_000);
    await back();
    await world.finish(node.parts.ended.look());
    expect(ended(node)).toEqual([]);
  });
});

test('nothing is written where nothing changes', async () => {
  const { world, node } = await start('web');
  await using _ = world;
  const before = node.journal.state.attachments.get('web/eth0');
  node.parts.ended.complete();
  expect(node.journal.state.attachments.get('web/eth0')).toBe(before);
});
