import { describe, expect, it } from 'vitest';
import { type Widget, widgetKind, widgets } from './apicontract.ts';
import { nodes } from './core.ts';
import { ApiError } from './errors.ts';
import { type Handler, Informer, type InformerOptions } from './informer.ts';
import { MemoryApi, type MemoryCall } from './memory.ts';
import { FakeClock, settle } from './testing/fakeclock.ts';
import { failOnLeakedTimers } from './testing/leaks.ts';
import { type RecordingLog, recordingLog } from './testing/recordinglog.ts';

failOnLeakedTimers();

interface World {
  readonly clock: FakeClock;
  readonly api: MemoryApi;
  readonly log: RecordingLog;
  readonly informer: Informer<Widget>;
  /** What the handler heard: `add a`, `update a 1>2`, `delete a`. */
  readonly heard: string[];
  /** Every call that the API saw. */
  readonly calls: string[];
  stop(): Promise<void>;
}

const widget = (name: string, size = 1, group = 'g'): Widget => ({
  metadata: { name },
  spec: { group, size },
});
const sizeOf = (object: Widget | undefined): number | undefined => object?.spec.size;

function recorder(heard: string[]): Handler<Widget> {
  return {
    onAdd: ({ metadata }, initial) => heard.push(`${initial ? 'initial' : 'add'} ${metadata.name}`),
    onUpdate: (old, object) => heard.push(`update ${object.metadata.name} ${sizeOf(old)}>${sizeOf(object)}`),
    onDelete: ({ metadata }, unknown) => heard.push(`delete ${metadata.name}${unknown ? ' unseen' : ''}`),
  };
}

function prepare(options: Partial<InformerOptions<Widget>> = {}, random = 0): World & { start(): void } {
  const clock = new FakeClock();
  const api = new MemoryApi({ resources: [widgetKind], clock });
  const log = recordingLog();
  const [heard, calls]: [string[], string[]] = [[], []];
  api.hooks = { before: ({ verb }) => void calls.push(verb) };
  const informer = new Informer({ api, resource: widgets, clock, random: () => random, log, ...options });
  informer.addHandler(recorder(heard));
  const stopped = new AbortController();
  let running: Promise<void> = Promise.resolve();
  return {
    clock,
    api,
    log,
    informer,
    heard,
    calls,
    start: () => {
      running = informer.run(stopped.signal);
    },
    stop: () => {
      stopped.abort(new Error('stop'));
      return running;
    },
  };
}

/** A world whose informer has synced with what `names` made. */
async function synced(
  names: readonly string[],
  options: Partial<InformerOptions<Widget>> = {},
): Promise<World> {
  const world = prepare(options);
  for (const name of names) await world.api.create(widgets, widget(name));
  world.start();
  await world.informer.whenSynced();
  await settle();
  world.heard.length = 0;
  world.calls.length = 0;
  return world;
}

/** Fails the calls of one verb until the returned function is called. */
function breakVerb(api: MemoryApi, verb: MemoryCall['verb'], error: ApiError): () => void {
  const old = api.hooks;
  api.hooks = {
    ...old,
    before: async (call) => {
      await old.before?.(call);
      if (call.verb === verb) throw error;
    },
  };
  return () => {
    api.hooks = old;
  };
}

const unreachable = new ApiError('Unreachable', 'connection refused');

describe('list and watch', () => {
  it('hears of what is there, then of each change, in order', async () => {
    const world = prepare();
    await world.api.create(widgets, widget('a'));
    world.start();
    await world.informer.whenSynced();
    expect(world.heard).toEqual(['initial a']);
    await settle();
    const b = await world.api.create(widgets, widget('b'));
    await world.api.update(widgets, { ...b, spec: { ...b.spec, size: 2 } });
    await world.api.delete(widgets, { name: 'a' });
    await settle();
    expect(world.heard).toEqual(['initial a', 'add b', 'update b 1>2', 'delete a']);
    expect(world.informer.store.keys()).toEqual(['b']);
    expect(sizeOf(world.informer.store.get('b'))).toBe(2);
    await world.stop();
  });

  it('loses no event between the list and the watch', async () => {
    const world = prepare();
    await world.api.create(widgets, widget('a'));
    world.api.hooks = {
      after: async ({ verb }) => {
        // The list has been answered; the watch has not begun.
        if (verb === 'list') await world.api.create(widgets, widget('between'));
      },
    };
    world.start();
    await world.informer.whenSynced();
    world.api.hooks = {};
    await settle();
    expect(world.heard).toEqual(['initial a', 'add between']);
    await world.stop();
  });

  it('changes the store before it calls handlers', async () => {
    const world = await synced([]);
    const seen: (number | undefined)[] = [];
    world.informer.addHandler({
      onAdd: () => void seen.push(sizeOf(world.informer.store.get('a'))),
      onDelete: () => void seen.push(sizeOf(world.informer.store.get('a'))),
    });
    await world.api.create(widgets, widget('a', 7));
    await world.api.delete(widgets, { name: 'a' });
    await settle();
    expect(seen).toEqual([7, undefined]);
    await world.stop();
  });

  it('reads in pages', async () => {
    const world = prepare({ pageSize: 2 });
    for (const name of ['a', 'b', 'c', 'd', 'e']) await world.api.create(widgets, widget(name));
    world.calls.length = 0;
    world.start();
    await world.informer.whenSynced();
    expect(world.informer.store.size).toBe(5);
    expect(world.calls.filter((verb) => verb === 'list')).toHaveLength(3);
    await world.stop();
  });

  it('reads everything in one answer when a page has expired', async () => {
    const world = prepare({ pageSize: 2 });
    for (const name of ['a', 'b', 'c', 'd', 'e']) await world.api.create(widgets, widget(name));
    let lists = 0;
    world.api.hooks = {
      before: ({ verb }) => {
        if (verb !== 'list') return;
        lists += 1;
        if (lists === 2) world.api.compact();
      },
    };
    world.start();
    await world.informer.whenSynced();
    expect(world.heard).toEqual(['a', 'b', 'c', 'd', 'e'].map((name) => `initial ${name}`));
    expect(lists).toBe(3);
    await world.stop();
  });

  it('follows a selection only', async () => {
    const world = await synced(['a'], { fieldSelector: 'spec.group=mine' });
    expect(world.informer.store.size).toBe(0);
    const b = await world.api.create(widgets, widget('b', 1, 'mine'));
    await settle();
    await world.api.update(widgets, { ...b, spec: { ...b.spec, group: 'other' } });
    await settle();
    expect(world.heard).toEqual(['add b', 'delete b']);
    await world.stop();
  });
});

describe('a watch that ends', () => {
  it("at the server's time-out goes on at once from the last bookmark", async () => {
    const reconnects: number[] = [];
    const world = await synced(['a'], { onReconnect: () => void reconnects.push(world.clock.monotonic()) });
    // 300 s: the shortest time-out asked for; bookmarks every minute keep the idle time-out away.
    for (let i = 0; i < 5; i += 1) {
      await world.clock.advance(60_000);
      world.api.bookmark();
    }
    await settle();
    expect(reconnects).toEqual([300_000]);
    expect(world.calls).toEqual(['watch']);
    await world.stop();
  });

  it('by an error is taken up after a backoff, from the last version, and no event is lost', async () => {
    const world = await synced(['a', 'z']);
    world.api.failWatches();
    await settle();
    await world.api.create(widgets, widget('b'));
    await world.api.delete(widgets, { name: 'a' });
    expect(world.heard).toEqual([]);
    await world.clock.advance(800);
    expect(world.heard).toEqual(['add b', 'delete a']);
    await world.stop();
  });

  it('by an error is begun anew with a list if the newest object has been deleted meanwhile', async () => {
    const world = await synced(['a', 'z']);
    world.api.failWatches();
    await settle();
    await world.api.create(widgets, widget('b'));
    await world.api.delete(widgets, { name: 'z' });
    await world.clock.advance(800);
    expect(world.heard).toEqual(['delete z unseen', 'update a 1>1', 'add b']);
    await world.stop();
  });

  it('at once without an event counts as a failure', async () => {
    const world = await synced(['a']);
    world.api.endWatches();
    await settle();
    expect(world.log.lines.map(({ message }) => message)).toEqual(['list or watch failed, trying again']);
    expect(world.api.watches).toBe(0);
    await world.clock.advance(800);
    expect(world.api.watches).toBe(1);
    await world.stop();
  });

  it('calls onReconnect before each watch but the first', async () => {
    let reconnects = 0;
    const world = await synced([], { onReconnect: () => (reconnects += 1) });
    expect(reconnects).toBe(0);
    world.api.failWatches();
    await world.clock.advance(800);
    expect(reconnects).toBe(1);
    await world.stop();
  });
});

describe('onInterrupt', () => {
  it('is called when a watch or a list fails, and not when the server ends a watch in good order', async () => {
    let interrupts = 0;
    const world = await synced(['a'], { onInterrupt: () => (interrupts += 1) });
    for (let i = 0; i < 5; i += 1) {
      await world.clock.advance(60_000);
      world.api.bookmark();
    }
    await settle();
    expect(interrupts).toBe(0);
    world.api.failWatches();
    await settle();
    expect(interrupts).toBe(1);
    await world.stop();
  });
});

describe('410 Expired', () => {
  it('leads to a new list, which replaces everything', async () => {
    const world = await synced(['a', 'b']);
    world.api.failWatches();
    await settle();
    await world.api.delete(widgets, { name: 'a' });
    const b = await world.api.get(widgets, { name: 'b' });
    await world.api.update(widgets, { ...b, spec: { ...b.spec, size: 2 } });
    await world.api.create(widgets, widget('c'));
    world.api.compact();
    // The first try finds out that the version has expired, the second lists.
    await world.clock.advance(800);
    await world.clock.advance(1600);
    expect(world.heard).toEqual(['delete a unseen', 'update b 1>2', 'add c']);
    await world.stop();
  });

  it('tells of an object that was deleted and created again unseen as a deletion and an addition', async () => {
    const world = await synced(['a']);
    world.api.failWatches();
    await settle();
    await world.api.delete(widgets, { name: 'a' });
    await world.api.create(widgets, widget('a', 2));
    world.api.compact();
    await world.clock.advance(800);
    await world.clock.advance(1600);
    expect(world.heard).toEqual(['delete a unseen', 'add a']);
    await world.stop();
  });
});

describe('silence', () => {
  it('of 90 s (no event, no bookmark) leads to a new list', async () => {
    const world = await synced(['a']);
    // From now on nothing is heard on any watch, as on one from the future.
    world.api.holdWatches();
    await world.api.delete(widgets, { name: 'a' });
    world.calls.length = 0;
    await world.clock.advance(89_999);
    expect(world.calls).toEqual([]);
    await world.clock.advance(1);
    await world.clock.advance(800);
    expect(world.heard).toEqual(['delete a unseen']);
    await world.stop();
  });

  it('is broken by a bookmark', async () => {
    const world = await synced(['a']);
    await world.clock.advance(60_000);
    world.api.bookmark();
    await world.clock.advance(60_000);
    expect(world.calls).toEqual([]);
    await world.stop();
  });
});

describe('an etcd that was restored', () => {
  it('is noticed when the watch breaks, and listed again', async () => {
    const world = await synced(['a']);
    const snapshot = world.api.snapshot();
    await world.api.create(widgets, widget('b'));
    await world.api.create(widgets, widget('c'));
    await settle();
    world.heard.length = 0;
    world.api.restore(snapshot);
    await settle();
    const lost = await world.api.create(widgets, widget('d'));
    // The version of the new object is one that the informer has seen already.
    expect(lost.metadata.resourceVersion).toBe(String(Number(snapshot.version) + 1));
    await world.clock.advance(800);
    expect(world.heard).toEqual(['delete b unseen', 'delete c unseen', 'update a 1>1', 'add d']);
    await world.stop();
  });

  it('is noticed by the newest change that is lost, when others have written past the version seen', async () => {
    const world = await synced(['a']);
    const snapshot = world.api.snapshot();
    await world.api.create(widgets, widget('b'));
    await settle();
    world.heard.length = 0;
    world.api.restore(snapshot);
    for (const name of ['c', 'd', 'e']) await world.api.create(widgets, widget(name));
    await world.clock.advance(800);
    expect(world.heard).toEqual(['delete b unseen', 'update a 1>1', 'add c', 'add d', 'add e']);
    await world.stop();
  });

  it('is noticed by the newest object that is back', async () => {
    const world = await synced(['a', 'b']);
    const snapshot = world.api.snapshot();
    await world.api.delete(widgets, { name: 'a' });
    await settle();
    world.heard.length = 0;
    world.api.restore(snapshot);
    for (const name of ['c', 'd']) await world.api.create(widgets, widget(name));
    await world.clock.advance(800);
    expect(world.heard).toEqual(['add a', 'update b 1>1', 'add c', 'add d']);
    await world.stop();
  });

  it('is noticed by an object where nothing was at a version that was seen', async () => {
    const world = await synced([]);
    const snapshot = world.api.snapshot();
    for (const name of ['x', 'y', 'z']) await world.api.create(nodes, { metadata: { name } });
    world.api.bookmark();
    await settle();
    world.api.restore(snapshot);
    await world.api.create(widgets, widget('a'));
    for (const name of ['x', 'y', 'z']) await world.api.create(nodes, { metadata: { name } });
    await world.clock.advance(800);
    expect(world.heard).toEqual(['add a']);
    await world.stop();
  });

  it('is noticed by another object under the name of what was deleted last, at a version that was seen without it', async () => {
    const world = await synced(['a', 'b']);
    await world.api.delete(widgets, { name: 'a' });
    const snapshot = world.api.snapshot();
    // Of other kinds: all that is seen of it is a bookmark.
    for (const name of ['x', 'y', 'z']) await world.api.create(nodes, { metadata: { name } });
    world.api.bookmark();
    await settle();
    world.heard.length = 0;
    world.api.restore(snapshot);
    await world.api.create(widgets, widget('a'));
    for (const name of ['x', 'y', 'z']) await world.api.create(nodes, { metadata: { name } });
    await world.clock.advance(800);
    expect(world.heard).toEqual(['add a', 'update b 1>1']);
    await world.stop();
  });

  it('is healed by the list that follows the next watch, where nothing shows it: versions that were seen are given to others', async () => {
    const world = await synced(['a', 'b']);
    const snapshot = world.api.snapshot();
    for (const name of ['x', 'y', 'z']) await world.api.create(nodes, { metadata: { name } });
    world.api.bookmark();
    await settle();
    world.api.restore(snapshot);
    // The newest change is that of b, and it is there.
    await world.api.delete(widgets, { name: 'a' });
    for (const name of ['x', 'y', 'z']) await world.api.create(nodes, { metadata: { name } });
    await world.clock.advance(800);
    expect(world.heard).toEqual([]);
    for (let minute = 0; minute < 5; minute += 1) {
      world.api.bookmark();
      await world.clock.advance(60_000);
    }
    expect(world.heard).toEqual(['delete a unseen', 'update b 1>1']);
    world.calls.length = 0;
    for (let minute = 0; minute < 5; minute += 1) {
      world.api.bookmark();
      await world.clock.advance(60_000);
    }
    expect(world.calls).toEqual(['watch']);
    await world.stop();
  });
});

describe('failures', () => {
  it('are waited out from 0.8 s doubling to 30 s', async () => {
    const world = prepare();
    const repair = breakVerb(world.api, 'list', unreachable);
    world.start();
    await world.clock.advance(120_000);
    const delays = world.log.lines.map(({ fields }) => ('delayMs' in fields ? fields.delayMs : undefined));
    expect(delays.slice(0, 8)).toEqual([800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    expect(world.informer.hasSynced).toBe(false);
    repair();
    await world.clock.advance(30_000);
    expect(world.informer.hasSynced).toBe(true);
    await world.stop();
  });

  it('are waited out with jitter: up to twice as long', async () => {
    const world = prepare({}, 0.5);
    breakVerb(world.api, 'list', unreachable);
    world.start();
    await settle();
    expect(world.log.lines[0]?.fields).toMatchObject({ delayMs: 1200 });
    await world.stop();
  });

  it('start from the beginning again after a watch that heard something', async () => {
    const world = await synced(['a']);
    for (let i = 0; i < 3; i += 1) {
      world.api.failWatches();
      await world.clock.advance(10_000);
      world.api.bookmark();
      await settle();
    }
    const delays = world.log.lines.map(({ fields }) => ('delayMs' in fields ? fields.delayMs : undefined));
    expect(delays).toEqual([800, 800, 800]);
    await world.stop();
  });

  it('of a throttling server last at least as long as it asks for', async () => {
    const world = prepare();
    breakVerb(world.api, 'list', new ApiError('Throttled', 'busy', { retryAfterMs: 7000 }));
    world.start();
    await settle();
    expect(world.log.lines[0]?.fields).toMatchObject({ delayMs: 7800 });
    await world.stop();
  });

  it('never end the informer, whatever they are', async () => {
    const world = prepare();
    const repair = breakVerb(world.api, 'list', new ApiError('Forbidden', 'no'));
    world.start();
    await world.clock.advance(5000);
    repair();
    await world.clock.advance(30_000);
    expect(world.informer.hasSynced).toBe(true);
    await world.stop();
  });
});

describe('handlers', () => {
  it('that throw are logged and do not stop delivery', async () => {
    const world = prepare();
    const second: string[] = [];
    const bad = new Informer({
      api: world.api,
      resource: widgets,
      clock: world.clock,
      random: () => 0,
      log: world.log,
    });
    bad.addHandler({
      onAdd: () => {
        throw new Error('broken handler');
      },
    });
    bad.addHandler(recorder(second));
    await world.api.create(widgets, widget('a'));
    const stop = new AbortController();
    const running = bad.run(stop.signal);
    await bad.whenSynced();
    await settle();
    await world.api.create(widgets, widget('b'));
    await settle();
    expect(second).toEqual(['initial a', 'add b']);
    expect(world.log.lines.map(({ level, message }) => `${level} ${message}`)).toEqual([
      'error a handler failed',
      'error a handler failed',
    ]);
    stop.abort();
    await running;
  });

  it('added late hear of everything that is there', async () => {
    const world = await synced(['a', 'b']);
    const late: string[] = [];
    world.informer.addHandler(recorder(late));
    expect(late).toEqual(['initial a', 'initial b']);
    await world.api.create(widgets, widget('c'));
    await settle();
    expect(late.at(-1)).toBe('add c');
    await world.stop();
  });
});

describe('transform', () => {
  it('trims each page of a list before the next one is asked for: the whole is never in memory', async () => {
    const seen: string[] = [];
    const world = prepare({
      pageSize: 2,
      transform: (object) => {
        seen.push(object.metadata.name ?? '');
        return object;
      },
    });
    for (const name of ['a', 'b', 'c']) await world.api.create(widgets, widget(name));
    world.api.hooks = { before: ({ verb }) => void (verb === 'list' && seen.push('list')) };
    world.start();
    await world.informer.whenSynced();
    expect(seen).toEqual(['list', 'a', 'b', 'list', 'c']);
    await world.stop();
  });

  it('trims objects before they are stored, from lists and watches', async () => {
    const transform = (object: Widget): Widget => ({
      metadata: object.metadata,
      spec: { group: 'x', size: object.spec.size },
    });
    const world = await synced(['a'], { transform });
    await world.api.create(widgets, widget('b'));
    await settle();
    expect(world.informer.store.list().map(({ spec }) => spec.group)).toEqual(['x', 'x']);
    await world.stop();
  });

  it('that throws is logged, and the object stored as it came', async () => {
    const transform = (): Widget => {
      throw new Error('broken transform');
    };
    const world = await synced(['a'], { transform });
    expect(world.informer.store.get('a')?.spec.group).toBe('g');
    expect(world.log.lines[0]).toMatchObject({ level: 'error', fields: { key: 'a' } });
    await world.stop();
  });
});

describe('indexers', () => {
  it('find objects by what they hold, and follow changes', async () => {
    const world = await synced([], { indexers: { group: ({ spec }) => [spec.group] } });
    const a = await world.api.create(widgets, widget('a', 1, 'x'));
    await world.api.create(widgets, widget('b', 1, 'x'));
    await settle();
    expect(world.informer.store.byIndex('group', 'x')).toHaveLength(2);
    await world.api.update(widgets, { ...a, spec: { ...a.spec, group: 'y' } });
    await settle();
    expect(world.informer.store.byIndex('group', 'y').map(({ metadata }) => metadata.name)).toEqual(['a']);
    expect(world.informer.store.indexValues('group').toSorted((p, q) => p.localeCompare(q))).toEqual([
      'x',
      'y',
    ]);
    await world.stop();
  });
});

describe('run', () => {
  it('ends as soon as its signal aborts, and leaves no watch and no timer', async () => {
    const world = await synced(['a']);
    expect(world.api.watches).toBe(1);
    await world.stop();
    expect(world.api.watches).toBe(0);
    expect(world.clock.pendingTimers).toBe(0);
  });

  it('ends during a backoff', async () => {
    const world = prepare();
    breakVerb(world.api, 'list', unreachable);
    world.start();
    await settle();
    await world.stop();
    expect(world.clock.pendingTimers).toBe(0);
  });

  it('ends before the first answer, and whenSynced rejects by its own signal', async () => {
    const world = prepare();
    const gate = Promise.withResolvers<void>();
    world.api.hooks = { before: () => gate.promise };
    world.start();
    const reason = new Error('enough');
    await expect(world.informer.whenSynced(AbortSignal.abort(reason))).rejects.toBe(reason);
    await world.stop();
    expect(world.informer.hasSynced).toBe(false);
    gate.resolve();
  });

  it('twice is refused', async () => {
    const world = await synced([]);
    await expect(world.informer.run(new AbortController().signal)).rejects.toThrow('runs already');
    await world.stop();
  });
});
