import { describe, expect, it } from 'vitest';
import { describeApiContract, type Widget, widgetKind, widgets } from './apicontract.ts';
import { pods } from './core.ts';
import { ApiError } from './errors.ts';
import { MemoryApi } from './memory.ts';
import { FakeClock, settle } from './testing/fakeclock.ts';
import { failOnLeakedTimers } from './testing/leaks.ts';

failOnLeakedTimers();

describeApiContract('MemoryApi', () => {
  const clock = new FakeClock();
  const api = new MemoryApi({ resources: [widgetKind], clock });
  return Promise.resolve({ api, pass: (ms) => clock.advance(ms), close: () => Promise.resolve() });
});

const widget = (name: string, size = 1): Widget => ({ metadata: { name }, spec: { group: 'g', size } });

function setUp(): { api: MemoryApi; clock: FakeClock } {
  const clock = new FakeClock();
  return { clock, api: new MemoryApi({ resources: [widgetKind], clock }) };
}

/** What a watch has delivered so far. */
function collect(api: MemoryApi, resourceVersion: string): { seen: string[]; ended: Promise<unknown> } {
  const seen: string[] = [];
  const read = async (): Promise<void> => {
    for await (const event of api.watch(widgets, { resourceVersion })) {
      seen.push(
        event.type === 'BOOKMARK'
          ? `BOOKMARK ${event.resourceVersion}`
          : `${event.type} ${event.object.metadata.name}`,
      );
    }
  };
  return {
    seen,
    ended: read().then(
      () => 'ended',
      (error: unknown) => error,
    ),
  };
}

describe('faults', () => {
  it('before a commit keep it from happening', async () => {
    const { api } = setUp();
    api.hooks = {
      before: () => {
        throw new ApiError('Unreachable', 'no connection');
      },
    };
    await expect(api.create(widgets, widget('a'))).rejects.toMatchObject({ kind: 'Unreachable' });
    expect(api.objects(widgets)).toEqual([]);
  });

  it('after a commit lose the answer, not the write', async () => {
    const { api } = setUp();
    api.hooks = {
      after: () => {
        throw new ApiError('OutcomeUnknown', 'connection lost');
      },
    };
    await expect(api.create(widgets, widget('a'))).rejects.toMatchObject({ kind: 'OutcomeUnknown' });
    expect(api.objects(widgets)).toHaveLength(1);
  });

  it('a write that is held back times out as OutcomeUnknown, and may happen later all the same', async () => {
    const { api, clock } = setUp();
    const gate = Promise.withResolvers<void>();
    api.hooks = { before: () => gate.promise };
    const kind = api.create(widgets, widget('a'), { timeoutMs: 1000 }).then(
      () => 'no error',
      (error: unknown) => (error instanceof ApiError ? error.kind : error),
    );
    await clock.advance(1000);
    expect(await kind).toBe('OutcomeUnknown');
    expect(api.objects(widgets)).toEqual([]);
    gate.resolve();
    await settle();
    expect(api.objects(widgets)).toHaveLength(1);
  });

  it('a read that is held back times out as Unreachable', async () => {
    const { api, clock } = setUp();
    const gate = Promise.withResolvers<void>();
    api.hooks = { before: () => gate.promise };
    const call = expect(api.get(widgets, { name: 'a' }, { timeoutMs: 5 })).rejects.toMatchObject({
      kind: 'Unreachable',
    });
    await clock.advance(5);
    await call;
    gate.resolve();
  });

  it('a caller that aborts gets its reason at once', async () => {
    const { api } = setUp();
    const gate = Promise.withResolvers<void>();
    api.hooks = { before: () => gate.promise };
    const stop = new AbortController();
    const call = api.create(widgets, widget('a'), { signal: stop.signal });
    const reason = new Error('enough');
    stop.abort(reason);
    await expect(call).rejects.toBe(reason);
    gate.resolve();
  });

  it('hooks see what is called', async () => {
    const { api } = setUp();
    const calls: string[] = [];
    api.hooks = {
      before: ({ verb, target }) => {
        calls.push(`${verb} ${target}`);
      },
    };
    await api.create(pods, { metadata: { namespace: 'shop', name: 'web' } });
    await api.list(pods, { namespace: 'shop' });
    await api.delete(pods, { namespace: 'shop', name: 'web' });
    expect(calls).toEqual(['create pods/shop/web', 'list pods/shop', 'delete pods/shop/web']);
  });
});

describe('history', () => {
  it('before a compaction is Expired, for watches and for pages', async () => {
    const { api } = setUp();
    for (const name of ['a', 'b', 'c']) await api.create(widgets, widget(name));
    const from = api.resourceVersion;
    const page = await api.list(widgets, { limit: 1 });
    await api.create(widgets, widget('d'));
    api.compact();
    expect(await collect(api, from).ended).toMatchObject({ kind: 'Expired' });
    const rest = api.list(widgets, { continue: page.metadata.continue ?? '' });
    await expect(rest).rejects.toMatchObject({ kind: 'Expired' });
  });

  it('is bounded', async () => {
    const api = new MemoryApi({ resources: [widgetKind], historyLimit: 10 });
    const from = api.resourceVersion;
    for (let i = 0; i < 12; i += 1) await api.create(widgets, widget(`w${i}`));
    expect(await collect(api, from).ended).toMatchObject({ kind: 'Expired' });
  });
});

describe('watches', () => {
  it('that are held deliver item by item, in order', async () => {
    const { api } = setUp();
    api.holdWatches();
    const { seen, ended } = collect(api, api.resourceVersion);
    await api.create(widgets, widget('a'));
    await api.create(widgets, widget('b'));
    await api.create(widgets, widget('c'));
    await settle();
    expect(seen).toEqual([]);
    api.releaseWatches(2);
    await settle();
    expect(seen).toEqual(['ADDED a', 'ADDED b']);
    api.releaseWatches();
    await settle();
    expect(seen).toEqual(['ADDED a', 'ADDED b', 'ADDED c']);
    api.endWatches();
    expect(await ended).toBe('ended');
    expect(api.watches).toBe(0);
  });

  it('get bookmarks and break when told so', async () => {
    const { api } = setUp();
    const { seen, ended } = collect(api, api.resourceVersion);
    await settle();
    api.bookmark();
    api.failWatches();
    expect(await ended).toMatchObject({ kind: 'Unreachable' });
    expect(seen).toEqual([`BOOKMARK ${api.resourceVersion}`]);
  });

  it('from the future stay silent, as those of a real API server', async () => {
    const { api } = setUp();
    const { seen, ended } = collect(api, '1000');
    await api.create(widgets, widget('a'));
    await settle();
    api.endWatches();
    await ended;
    // The change has a version before the one asked for.
    expect(seen).toEqual([]);
  });
});

describe('restore', () => {
  it('brings objects and versions back, gives versions again, and breaks watches', async () => {
    const { api } = setUp();
    await api.create(widgets, widget('a'));
    const snapshot = api.snapshot();
    const lost = await api.create(widgets, widget('b'));
    const { ended } = collect(api, api.resourceVersion);
    await settle();
    api.restore(snapshot);
    expect(await ended).toMatchObject({ kind: 'Unreachable' });
    expect(api.objects(widgets).map(({ metadata }) => metadata.name)).toEqual(['a']);
    const again = await api.create(widgets, widget('b'));
    expect(again.metadata.resourceVersion).toBe(lost.metadata.resourceVersion);
    expect(again.metadata.uid).not.toBe(lost.metadata.uid);
  });

  it('with a bump gives versions that nobody has seen, and the old ones are Expired', async () => {
    const { api } = setUp();
    await api.create(widgets, widget('a'));
    const snapshot = api.snapshot();
    const lost = await api.create(widgets, widget('b'));
    api.restore(snapshot, { bump: 1_000 });
    const again = await api.create(widgets, widget('b'));
    expect(Number(again.metadata.resourceVersion)).toBe(snapshot.version + 1_001);
    const { ended } = collect(api, lost.metadata.resourceVersion ?? '');
    expect(await ended).toMatchObject({ kind: 'Expired' });
  });

  it('that nobody tells the watches of: they are silent, as is a new one from a version that is not there yet', async () => {
    const { api } = setUp();
    await api.create(widgets, widget('a'));
    const snapshot = api.snapshot();
    const told = collect(api, api.resourceVersion);
    await settle();
    await api.create(widgets, widget('b'));
    await api.create(widgets, widget('c'));
    await settle();
    const before = api.resourceVersion;
    api.restore(snapshot, { watches: 'silent' });
    const later = collect(api, before);
    for (const name of ['d', 'e', 'f']) {
      api.bookmark();
      await api.create(widgets, widget(name));
    }
    await settle();
    expect(told.seen).toEqual(['ADDED b', 'ADDED c']);
    expect(later.seen).toEqual([`BOOKMARK ${before}`, 'ADDED f']);
  });
});

it('versions lie as far apart as others write in between', async () => {
  const api = new MemoryApi({ resources: [widgetKind], versionStride: () => 10 });
  const before = Number(api.resourceVersion);
  const { metadata } = await api.create(widgets, widget('a'));
  expect(Number(metadata.resourceVersion)).toBe(before + 10);
});

it('objects given and answered are copies', async () => {
  const { api } = setUp();
  const given = widget('a');
  const created = await api.create(widgets, given);
  given.spec.size = 8;
  created.spec.size = 9;
  expect((await api.get(widgets, { name: 'a' })).spec.size).toBe(1);
});

it('two runs of the same calls give the same uids and versions', async () => {
  const run = async (): Promise<unknown> => {
    const api = new MemoryApi({ resources: [widgetKind] });
    await api.create(widgets, widget('a'));
    await api.delete(widgets, { name: 'a' });
    return api.create(widgets, widget('a'));
  };
  expect(await run()).toEqual(await run());
});
