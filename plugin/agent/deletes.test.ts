import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../kube/clock.ts';
import { deleteEntryName, deletesDir, deleteTempName, MAX_REQUEST_BYTES } from '../protocol.ts';
import { DeleteQueue } from './deletes.ts';
import type { AttachmentId } from './request.ts';
import { type CallShape, type TestNode, World } from './testing/world.ts';

async function start(): Promise<{ world: World; node: TestNode; directory: string }> {
  const world = new World();
  world.pool('v4', { subnet: '10.0.0.0/28', gateway: '10.0.0.1', allocation: 'Ascending' });
  const node = world.node();
  await world.pod('web');
  await node.parts.sync.compare();
  return { world, node, directory: deletesDir(node.directory) };
}

const add = (world: World, node: TestNode, shape: CallShape = {}): Promise<unknown> =>
  world.finish(node.parts.attachments.add(world.parsed('ADD', shape)));

let entries = 0;

/** A DEL as the binary queues it. */
function queue(world: World, directory: string, time: number, shape: CallShape = {}): string {
  entries += 1;
  const name = deleteEntryName(time, entries / 1e6);
  fs.writeFileSync(path.join(directory, name), JSON.stringify(world.request('DEL', shape)));
  return name;
}

describe('draining', () => {
  test('works entries off in the order of their times, and removes each', async () => {
    const { world, node, directory } = await start();
    await using _ = world;
    const done: string[] = [];
    const del = async ({ containerID }: AttachmentId): Promise<void> => void done.push(containerID);
    const { clock, log } = world;
    const deletes = new DeleteQueue({ stateDir: node.directory, clock, log, addedAt: () => undefined, del });
    queue(world, directory, 2_000, { container: 'b' });
    queue(world, directory, 1_000, { container: 'a' });
    queue(world, directory, 3_000, { container: 'c' });
    await deletes.drain();
    expect(done).toEqual(['a', 'b', 'c']);
    expect(fs.readdirSync(directory)).toEqual([]);
  });

  test('an entry leaves when its release is in the journal, also while the API is away', async () => {
    const { world, node, directory } = await start();
    await using _ = world;
    await add(world, node);
    await world.pass(1_000);
    queue(world, directory, world.clock.now());
    world.takeCalls();
    await node.parts.deletes.drain();
    expect(world.takeCalls()).toEqual([]);
    expect(fs.readdirSync(directory)).toEqual([]);
    expect([...node.journal.state.releasing.keys()]).toEqual(['c1/eth0']);
    node.work();
    await world.pass(1_000);
    expect(world.table).toEqual([]);
  });

  test("one that is older than the attachment's present ADD is ignored", async () => {
    const { world, node, directory } = await start();
    await using _ = world;
    await add(world, node);
    queue(world, directory, world.clock.now() - 1);
    await node.parts.deletes.drain();
    expect(fs.readdirSync(directory)).toEqual([]);
    expect(node.journal.state.attachments.size).toBe(1);
  });

  test('one that was called while its ADD was still under way is not', async () => {
    const { world, node, directory } = await start();
    await using _ = world;
    world.before = (call) => (call.verb === 'create' ? world.clock.sleep(5_000) : undefined);
    const adding = node.parts.attachments.add(world.parsed('ADD'));
    await world.pass(1_000);
    queue(world, directory, world.clock.now());
    await world.finish(adding);
    await node.parts.deletes.drain();
    expect(node.journal.state.attachments.size).toBe(0);
    expect(node.journal.state.releasing.size).toBe(1);
  });

  test('one whose configuration today is refused is worked off all the same', async () => {
    const { world, node, directory } = await start();
    await using _ = world;
    await add(world, node);
    await world.pass(10);
    queue(world, directory, world.clock.now(), { ipam: { typo: 1 }, cniVersion: '9.9.9' });
    await node.parts.deletes.drain();
    expect(node.journal.state.releasing.size).toBe(1);
  });

  test.each([
    ['no JSON', '{'],
    ['no request', '{"command":"DEL"}'],
    ['another command', JSON.stringify({ command: 'ADD', env: {}, config: '{}' })],
    ['no attachment', JSON.stringify({ command: 'DEL', env: { CNI_CONTAINERID: '../x' }, config: '{}' })],
  ])('a file that is %s is set aside and logged, and the others are worked off', async (_what, text) => {
    const { world, node, directory } = await start();
    await using _ = world;
    const name = deleteEntryName(1, 0.5);
    fs.writeFileSync(path.join(directory, name), text);
    await add(world, node);
    queue(world, directory, world.clock.now() + 5);
    await node.parts.deletes.drain();
    expect(fs.readdirSync(directory)).toEqual([`${name}.invalid`]);
    expect(world.lines.some((line) => line.level === 'error')).toBe(true);
    expect(node.journal.state.releasing.size).toBe(1);
    await node.parts.deletes.drain();
    expect(fs.readdirSync(directory)).toEqual([`${name}.invalid`]);
  });

  test('a journal that can not be written leaves the entry where it is', async () => {
    const { world, node, directory } = await start();
    await using _ = world;
    await add(world, node);
    const name = queue(world, directory, world.clock.now());
    node.onAppend = () => {
      throw new Error('ENOSPC');
    };
    await expect(node.parts.deletes.drain()).rejects.toThrow('ENOSPC');
    expect(fs.readdirSync(directory)).toEqual([name]);
  });

  test('nothing but a plain file is read, and it keeps no other entry waiting', async () => {
    const { world, node, directory } = await start();
    await using _ = world;
    await add(world, node);
    const foreign = path.join(node.directory, 'foreign');
    fs.writeFileSync(foreign, JSON.stringify(world.request('DEL')));
    const early = (n: number): string => path.join(directory, deleteEntryName(n, 0.5));
    fs.symlinkSync(foreign, early(1));
    fs.mkdirSync(early(2));
    execFileSync('mkfifo', [early(3)]);
    fs.symlinkSync('/dev/zero', early(4));
    fs.writeFileSync(early(5), Buffer.alloc(MAX_REQUEST_BYTES + 1, ' '));
    await world.pass(1_000);
    queue(world, directory, world.clock.now());
    await node.parts.deletes.drain();
    expect([...node.journal.state.releasing.keys()]).toEqual(['c1/eth0']);
    expect(fs.readdirSync(directory).toSorted()).toEqual(
      [1, 2, 3, 4, 5].map((n) => `${path.basename(early(n))}.invalid`),
    );
    expect(fs.readFileSync(foreign, 'utf8')).toBe(JSON.stringify(world.request('DEL')));
  });

  test('what a binary that died left half written is removed when no binary can still be writing it', async () => {
    const { world, node, directory } = await start();
    await using _ = world;
    const file = path.join(directory, deleteTempName(deleteEntryName(1, 0.1)));
    fs.writeFileSync(file, '{');
    const written = new Date(world.clock.now());
    fs.utimesSync(file, written, written);
    await world.pass(30_000);
    await node.parts.deletes.drain();
    expect(fs.existsSync(file)).toBe(true);
    await world.pass(1);
    await node.parts.deletes.drain();
    expect(fs.existsSync(file)).toBe(false);
  });

  test('the marker and whatever else lies there is left alone', async () => {
    const { world, node, directory } = await start();
    await using _ = world;
    fs.writeFileSync(path.join(directory, '.berth-agent'), '');
    fs.writeFileSync(path.join(directory, 'README'), 'x');
    await node.parts.deletes.drain();
    expect(fs.readdirSync(directory)).toEqual(['.berth-agent', 'README']);
  });
});

test('an entry that appears is worked off without anybody asking', async () => {
  const { world, node, directory } = await start();
  await using _ = world;
  const done: string[] = [];
  const deletes = new DeleteQueue({
    stateDir: node.directory,
    clock: systemClock,
    log: world.log,
    addedAt: () => undefined,
    del: async ({ containerID }) => void done.push(containerID),
  });
  const stop = new AbortController();
  const running = deletes.run(stop.signal);
  fs.mkdirSync(directory, { recursive: true });
  queue(world, directory, 1, { container: 'a' });
  await expect.poll(() => done, { timeout: 10_000 }).toEqual(['a']);
  queue(world, directory, 2, { container: 'b' });
  await expect.poll(() => done, { timeout: 10_000 }).toEqual(['a', 'b']);
  stop.abort();
  await running;
});
