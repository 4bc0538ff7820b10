import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Flow } from './http.ts';
import { FakeClock } from './testing/fakeclock.ts';
import { LineSplitter, WatchStream } from './watchstream.ts';

it('cuts lines however the bytes arrive', () => {
  const cuts = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 });
  const texts = fc.array(
    fc.string({ unit: 'grapheme' }).filter((text) => text !== '' && !text.includes('\n')),
  );
  fc.assert(
    fc.property(texts, cuts, (lines, sizes) => {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
      const splitter = new LineSplitter();
      const found: string[] = [];
      for (let at = 0, i = 0; at < bytes.length; i += 1) {
        const size = sizes[i % sizes.length] ?? 1;
        found.push(...splitter.push(bytes.subarray(at, at + size)));
        at += size;
      }
      expect(found).toEqual(lines);
      expect(splitter.pending).toBe(0);
    }),
  );
});

it('leaves empty lines out, and knows how much of a line is pending', () => {
  const splitter = new LineSplitter();
  expect(splitter.push(Buffer.from('\n\na\n\nbc'))).toEqual(['a']);
  expect(splitter.pending).toBe(2);
  expect(splitter.push(Buffer.from('d\n'))).toEqual(['bcd']);
});

it('holds the server back while more than a thousand lines wait, and lets it go on when they are read', async () => {
  let paused = false;
  const flow: Flow = {
    abort: () => undefined,
    pause: () => {
      paused = true;
    },
    resume: () => {
      paused = false;
    },
  };
  const stream = new WatchStream({ clock: new FakeClock(), timeoutMs: 1000, maxLineBytes: 1000 });
  expect(stream.onTurn(flow)).toBe(true);
  stream.onHead({ status: 200, retryAfter: undefined });
  const lines = (count: number): Buffer => Buffer.from('x\n'.repeat(count));
  stream.onData(lines(1000));
  expect(paused).toBe(false);
  stream.onData(lines(1));
  expect(paused).toBe(true);
  for (let i = 0; i < 1000; i += 1) await stream.next();
  expect(paused).toBe(true);
  await stream.next();
  expect(paused).toBe(false);
  stream.stop();
});

it('a reader that is slow for longer than the idle time-out does not end the watch', async () => {
  const clock = new FakeClock();
  const noop = (): undefined => undefined;
  let aborts = 0;
  const abort = (): void => {
    aborts += 1;
  };
  const flow: Flow = { abort, pause: noop, resume: noop };
  const stream = new WatchStream({ clock, timeoutMs: 1000, idleTimeoutMs: 100, maxLineBytes: 1000 });
  expect(stream.onTurn(flow)).toBe(true);
  stream.onHead({ status: 200, retryAfter: undefined });
  stream.onData(Buffer.from('x\n'.repeat(1001)));
  await clock.advance(1000);
  expect(aborts).toBe(0);
  for (let i = 0; i < 1001; i += 1) expect(await stream.next()).toBe('x');
  // Now it is the server who is silent.
  const next = expect(stream.next()).rejects.toThrow('no event and no bookmark for 100 ms');
  await clock.advance(200);
  await next;
  expect(clock.pendingTimers).toBe(0);
});
