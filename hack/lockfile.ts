/**
 * `npm run lockfile`: makes package-lock.json complete after `npm install` changed it.
 *
 * A registry mirror may carry the packages of some platforms only. npm then leaves the others' optional packages
 * out of the lock file, and `npm ci` refuses such a file everywhere. They are entered here with the version that
 * their dependent pins, and with the platform that their name says, so that npm passes over them; Berth never
 * installs them, so they need no digest.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The part of a lock file entry that matters here. */
export interface LockEntry {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
}

/** What a package's name says of its platform; undefined where it names none. */
export function platformOf(name: string): Pick<LockEntry, 'os' | 'cpu' | 'libc'> | undefined {
  const word =
    /[-/](android|darwin|linux|win32|freebsd|netbsd|openbsd|openharmony|sunos|aix|wasm32)-?(\w+)?/.exec(name);
  if (word === null) return undefined;
  const [, os = '', cpu] = word;
  if (os === 'wasm32') return { cpu: ['wasm32'] };
  const libc = name.includes('musl') ? { libc: ['musl'] } : {};
  return { os: [os], ...(cpu === undefined || cpu === 'universal' ? {} : { cpu: [cpu] }), ...libc };
}

/**
 * The entries that are missing, by their path in the tree.
 * @throws Error where one cannot be derived: no exact version, or no platform in its name
 */
export function missingEntries(packages: Readonly<Record<string, LockEntry>>): Record<string, LockEntry> {
  const missing: Record<string, LockEntry> = {};
  for (const [path, entry] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const place = `node_modules/${name}`;
      if (packages[place] !== undefined || packages[`${path}/${place}`] !== undefined) continue;
      const platform = platformOf(name);
      if (platform === undefined || !/^\d+\.\d+\.\d+/.test(version)) {
        throw new Error(
          `${path} depends on ${name} ${version}: run npm install against a registry that has it`,
        );
      }
      missing[place] = { version, ...(entry.dev === true ? { dev: true } : {}), optional: true, ...platform };
    }
  }
  return missing;
}

function main(): void {
  const file = join(import.meta.dirname, '..', 'package-lock.json');
  // npm's own format, version 3.
  const lock = JSON.parse(readFileSync(file, 'utf8')) as { packages: Record<string, LockEntry> };
  const missing = missingEntries(lock.packages);
  const entries = Object.entries({ ...lock.packages, ...missing });
  lock.packages = Object.fromEntries(entries.toSorted(([a], [b]) => a.localeCompare(b, 'en')));
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
  console.log(`${Object.keys(missing).length} entries added to package-lock.json`);
}

if (import.meta.main) main();
