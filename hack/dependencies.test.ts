import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { platformOf } from './lockfile.ts';

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

/** What matters here of an entry of npm's lock file. */
interface Locked {
  readonly version?: string;
  readonly integrity?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly hasInstallScript?: boolean;
}

const read = (name: string): unknown =>
  JSON.parse(readFileSync(join(import.meta.dirname, '..', name), 'utf8'));
// Their formats are npm's.
const manifest = read('package.json') as Manifest;
const { packages } = read('package-lock.json') as { packages: Readonly<Record<string, Locked>> };
const locked = Object.entries(packages).filter(([path]) => path !== '');
/** Another platform's, which a mirror need not have: never installed where it has no digest. */
const isElsewhere = ([path, { optional }]: [string, Locked]): boolean =>
  optional === true && platformOf(path) !== undefined;

/** What may be linked into the programs. */
const PERMISSIVE = [
  'MIT',
  'Apache-2.0',
  'ISC',
  'BSD-2-Clause',
  'BSD-3-Clause',
  '0BSD',
  'Unlicense',
  'MIT OR Apache-2.0',
  'Python-2.0',
  'PSF-2.0',
];
/** What may besides be used to build and test them; no line of it is in what is shipped. */
const TOOLS_ONLY = ['MPL-2.0'];

describe('what Berth depends on', () => {
  test('is named with its exact version', () => {
    const { dependencies, devDependencies, optionalDependencies } = manifest;
    const loose = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies }).filter(
      ([, version]) => !/^\d+\.\d+\.\d+$/.test(version),
    );
    expect(loose).toEqual([]);
  });

  test('is locked, with a digest of what is installed', () => {
    const open = locked.filter(
      (entry) => !isElsewhere(entry) && !/^sha512-[A-Za-z0-9+/]{86}==$/.test(entry[1].integrity ?? ''),
    );
    expect(open).toEqual([]);
    expect(locked.every(([, { version }]) => /^\d+\.\d+\.\d+/.test(version ?? ''))).toBe(true);
  });

  test('has a permissive licence, tools one that does not reach what they make', () => {
    const odd = locked.filter(
      (entry) =>
        !(isElsewhere(entry) && entry[1].license === undefined) &&
        ![...PERMISSIVE, ...(entry[1].dev === true ? TOOLS_ONLY : [])].includes(entry[1].license ?? ''),
    );
    expect(odd).toEqual([]);
  });

  test('runs nothing when it is installed, but for esbuild, which looks at its own binary', () => {
    const scripts = locked.filter(([, { hasInstallScript }]) => hasInstallScript === true);
    expect(scripts.map(([path]) => path)).toEqual(['node_modules/esbuild']);
  });
});
