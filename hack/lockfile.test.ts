import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type LockEntry, missingEntries, platformOf } from './lockfile.ts';

describe('the platform in a package name', () => {
  test.each([
    ['@biomejs/cli-linux-x64', { os: ['linux'], cpu: ['x64'] }],
    ['@biomejs/cli-linux-arm64-musl', { os: ['linux'], cpu: ['arm64'], libc: ['musl'] }],
    ['@oxlint/binding-linux-arm-musleabihf', { os: ['linux'], cpu: ['arm'], libc: ['musl'] }],
    ['@esbuild/darwin-arm64', { os: ['darwin'], cpu: ['arm64'] }],
    ['@typescript/typescript-win32-x64', { os: ['win32'], cpu: ['x64'] }],
    ['fsevents', undefined],
  ])('%s', (name, platform) => {
    expect(platformOf(name)).toEqual(platform);
  });
});

describe('entries missing from a lock file', () => {
  test('are made with the pinned version, and marked optional', () => {
    const packages = { 'node_modules/a': { dev: true, optionalDependencies: { 'a-linux-x64': '1.2.3' } } };
    expect(missingEntries(packages)).toEqual({
      'node_modules/a-linux-x64': {
        version: '1.2.3',
        dev: true,
        optional: true,
        os: ['linux'],
        cpu: ['x64'],
      },
    });
  });

  test('are refused where nothing says which platform or version they are for', () => {
    const needs = (name: string, version: string): Record<string, LockEntry> => ({
      'node_modules/a': { optionalDependencies: { [name]: version } },
    });
    expect(() => missingEntries(needs('fsevents', '2.3.3'))).toThrow(/depends on fsevents 2\.3\.3/);
    expect(() => missingEntries(needs('a-linux-x64', '^1.0.0'))).toThrow(/depends on a-linux-x64 \^1\.0\.0/);
  });

  test('there are none in the one that is checked in', () => {
    const file = join(import.meta.dirname, '..', 'package-lock.json');
    const lock = JSON.parse(readFileSync(file, 'utf8')) as { packages: Record<string, LockEntry> };
    expect(missingEntries(lock.packages)).toEqual({});
  });
});
