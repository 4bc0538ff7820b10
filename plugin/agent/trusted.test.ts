import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { requireTrusted } from './trusted.ts';

let top = '';
let directory = '';

beforeEach(() => {
  top = fs.mkdtempSync(path.join(os.tmpdir(), 'berth-trusted-'));
  directory = path.join(top, 'run', 'berth');
  fs.mkdirSync(directory, { recursive: true, mode: 0o755 });
});

afterEach(() => fs.rmSync(top, { recursive: true }));

const me = process.geteuid?.() ?? 0;

test('a directory of its own, under /tmp, is safe', () => {
  requireTrusted(directory);
});

test.each([0o777, 0o757, 0o1777])('one of mode %o is not: everybody could replace a file in it', (mode) => {
  fs.chmodSync(directory, mode);
  expect(() => requireTrusted(directory)).toThrow(`${directory} may be written by its group or by everybody`);
});

test('neither is one whose parent everybody may write, unless that one is sticky', () => {
  const parent = path.dirname(directory);
  fs.chmodSync(parent, 0o777);
  expect(() => requireTrusted(directory)).toThrow(`${parent} may be written`);
  fs.chmodSync(parent, 0o1777);
  requireTrusted(directory);
});

test("the group of root's directory may not write either", () => {
  fs.chmodSync(directory, 0o775);
  if (me === 0) expect(() => requireTrusted(directory)).toThrow('run chmod go-w on it');
  else requireTrusted(directory);
});

test("somebody else's directory is not safe, nor what lies in it", () => {
  // As seen by another user: to him everything here is somebody else's, unless it is root's.
  if (me === 0) fs.chownSync(path.dirname(directory), 4242, 4242);
  expect(() => requireTrusted(directory, me === 0 ? 0 : 4242)).toThrow(/belongs to user \d+, who could put/);
});

test('a link is judged by where it lies and by where it leads', () => {
  const link = path.join(top, 'link');
  fs.symlinkSync(directory, link);
  requireTrusted(link);
  fs.chmodSync(directory, 0o777);
  expect(() => requireTrusted(link)).toThrow(`${fs.realpathSync(directory)} may be written`);
  fs.chmodSync(directory, 0o755);
  const open = path.join(top, 'open');
  fs.mkdirSync(open);
  fs.chmodSync(open, 0o777);
  fs.symlinkSync(directory, path.join(open, 'link'));
  expect(() => requireTrusted(path.join(open, 'link'))).toThrow(`${open} may be written`);
});
