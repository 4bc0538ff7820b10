import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLog } from '../../kube/log.ts';
import { FakeClock } from '../../kube/testing/fakeclock.ts';
import { failOnLeakedTimers } from '../../kube/testing/leaks.ts';
import { MARKER_MAX_AGE_MS } from '../protocol.ts';
import { Marker } from './marker.ts';

failOnLeakedTimers();

let stateDir = '';
let file = '';
let clock = new FakeClock();

beforeEach(() => {
  stateDir = fs.mkdtempSync(path.join(os.tmpdir(), 'berth-marker-'));
  file = path.join(stateDir, 'deletes/.berth-agent');
  clock = new FakeClock();
});

afterEach(() => fs.rmSync(stateDir, { recursive: true }));

const marker = (): Marker => new Marker({ stateDir, clock, log: silentLog });
const ageMs = (): number => clock.now() - fs.statSync(file).mtimeMs;

test('is made with the time of the clock, and made again without harm', async () => {
  marker().make();
  expect(ageMs()).toBe(0);
  await clock.advance(5_000);
  marker().make();
  expect(ageMs()).toBe(0);
});

test('is kept younger than what STATUS accepts, from the very start of an agent', async () => {
  marker().make();
  await clock.advance(50_000);
  const stop = new AbortController();
  const running = marker().run(stop.signal);
  for (let i = 0; i < 20; i += 1) {
    await clock.advance(9_000);
    expect(ageMs()).toBeLessThan(MARKER_MAX_AGE_MS / 2);
  }
  stop.abort();
  await running;
});

test('is never made by keeping it: before the first comparison nobody may queue a DEL here', async () => {
  const stop = new AbortController();
  const running = marker().run(stop.signal);
  await clock.advance(60_000);
  expect(fs.existsSync(file)).toBe(false);
  stop.abort();
  await running;
});

test('a link in its place is not followed', () => {
  const elsewhere = path.join(stateDir, 'elsewhere');
  fs.mkdirSync(path.dirname(file));
  fs.symlinkSync(elsewhere, file);
  expect(() => marker().make()).toThrow(/is no plain file/);
  expect(fs.existsSync(elsewhere)).toBe(false);
});
