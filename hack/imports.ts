/**
 * The import directions: which part of the tree may import what. `make lint` runs it.
 *
 * Reads the import specifiers of every TypeScript file, `import type` and `import()` too, and judges each one by
 * the first rule whose folder contains the file. Comments and strings are told from code by a small scanner, which
 * knows no regular expressions: one with a backtick in it may hide imports that follow, so they stand at the top.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, normalize, relative, sep } from 'node:path';

/** What the files of one place may import. */
export interface DirectionRule {
  /** Folder or file, relative to the root. */
  readonly from: string;
  /** Folders and files of this repository, besides the place itself. */
  readonly own: readonly string[];
  /** Packages by name; `node:` allows all of Node's modules. */
  readonly packages: readonly string[];
  /** False: not even the files beside it. Defaults to true. */
  readonly itself?: boolean;
}

const ANY = '*';

/** The first rule that fits a file applies, so the narrower place comes first. */
export const RULES: readonly DirectionRule[] = [
  { from: 'ipam', own: [], packages: [] },
  { from: 'kube', own: [], packages: ['node:', '@kubernetes/client-node'] },
  // For zlib: the kinds have a field that is compressed.
  { from: 'crds/occupancy.ts', own: ['crds', 'ipam'], packages: ['node:'] },
  { from: 'crds', own: ['ipam'], packages: [] },
  // package.json tells the programs their version.
  { from: 'process', own: ['kube', 'package.json'], packages: ['node:', 'zod', 'pino', 'prom-client'] },
  { from: 'plugin/protocol.ts', own: [], packages: [], itself: false },
  // It runs on an engine that has no modules, Node's included.
  { from: 'plugin/cni', own: ['plugin/protocol.ts'], packages: [] },
  {
    from: 'plugin/agent',
    own: ['ipam', 'kube', 'crds', 'process', 'plugin/protocol.ts'],
    packages: ['node:', 'zod', 'pino', 'prom-client'],
  },
  { from: 'plugin/install', own: ['kube', 'process'], packages: ['node:', 'zod'] },
  { from: 'lifecycle', own: ['kube', 'crds', 'process'], packages: ['node:', 'zod'] },
  {
    from: 'operator',
    own: ['ipam', 'kube', 'crds', 'process'],
    packages: ['node:', 'zod', 'pino', 'prom-client'],
  },
  { from: 'cli', own: ['ipam', 'kube', 'crds', 'process'], packages: ['node:', 'zod'] },
  // The simulation owns every process's time, randomness, disk and API server, so it runs their code in itself.
  {
    from: 'e2e/simulation',
    own: ['kube', 'crds', 'ipam', 'plugin', 'operator', 'process'],
    packages: ['node:'],
  },
  {
    from: 'e2e',
    own: ['kube', 'crds', 'ipam', 'plugin/protocol.ts', 'plugin/agent/testing/random.ts'],
    packages: ['node:', 'yaml', 'fast-check'],
  },
  // A thousand agents fit into one process, not into a thousand.
  { from: 'bench/manyagents.ts', own: ['kube', 'plugin/agent'], packages: ['node:'] },
  {
    from: 'bench',
    own: ['kube', 'crds', 'ipam', 'e2e', 'plugin/protocol.ts'],
    packages: ['node:', 'yaml'],
  },
  // Only tests live there: they hold the documents to what the programs say of themselves.
  {
    from: 'docs',
    own: ['ipam', 'kube', 'crds', 'process', 'plugin', 'operator', 'e2e/harness', 'e2e/conformance'],
    packages: ['node:', 'yaml', 'prom-client'],
  },
  // Manifests; only tests and their helpers are code.
  { from: 'config', own: [], packages: ['node:'] },
  { from: 'charts', own: ['config'], packages: ['node:'] },
  // The tools of the repository look at all of it.
  { from: 'hack', own: [ANY], packages: [ANY] },
  { from: '.', own: [], packages: ['node:', 'vitest'] },
];

/** What a test, or a helper that only tests use, may import besides what its folder may. */
const TEST_EXTRAS: Pick<DirectionRule, 'own' | 'packages'> = {
  own: ['e2e/controlplane', 'kube', 'crds', 'ipam', 'process', 'plugin/protocol.ts'],
  packages: ['node:', 'vitest', 'fast-check', 'ip-address', 'yaml', '@kubernetes/client-node'],
};

function isTestFile(path: string): boolean {
  return path.endsWith('.test.ts') || path.includes('/testing/') || path.endsWith('/apicontract.ts');
}

/** One import that is not allowed. */
export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly specifier: string;
  readonly message: string;
}

/** Source with comments blanked out and the insides of template literals emptied; the lines stay where they are. */
function withoutComments(source: string): string {
  const blank = (text: string): string => text.replace(/[^\n]/g, ' ');
  const token = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\[\s\S])*`/g;
  return source.replace(token, (text) => (/^(?:\/[*/]|`)/.test(text) ? blank(text) : text));
}

/** The module specifiers of a TypeScript source, with the line that each stands on. */
export function importSpecifiers(source: string): { readonly specifier: string; readonly line: number }[] {
  const code = withoutComments(source);
  const found: { specifier: string; line: number }[] = [];
  const form =
    /(?:^|[\s;}])(?:import|export)\s+(?:type\s+)?(?:[\w$*{][^'"`;]*?\sfrom\s*)?(['"])([^'"\n]+)\1|\bimport\s*\(\s*(['"])([^'"\n]+)\3/g;
  for (const match of code.matchAll(form)) {
    const specifier = match[2] ?? match[4] ?? '';
    const line = code.slice(0, match.index + match[0].length).split('\n').length;
    found.push({ specifier, line });
  }
  return found;
}

function inside(path: string, place: string): boolean {
  return place === ANY || place === '.' || path === place || path.startsWith(`${place}/`);
}

function packageName(specifier: string): string {
  if (specifier.startsWith('node:') || builtinModules.includes(specifier)) return 'node:';
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function judge(file: string, specifier: string): string | undefined {
  const rule = RULES.find((r) => inside(file, r.from));
  if (rule === undefined) return undefined;
  const test = isTestFile(file);
  const own = test ? [...rule.own, ...TEST_EXTRAS.own] : rule.own;
  const packages = test ? [...rule.packages, ...TEST_EXTRAS.packages] : rule.packages;
  if (!specifier.startsWith('.')) {
    const name = packageName(specifier);
    if (packages.includes(ANY) || packages.includes(name)) return undefined;
    return `${rule.from} may not import ${name === 'node:' ? 'modules of Node' : `the package ${name}`}; it may import ${list([...own, ...packages])}`;
  }
  const target = normalize(join(dirname(file), specifier))
    .split(sep)
    .join('/');
  const itself = test || rule.itself !== false;
  // The root's own files are its neighbours only, not everything below it.
  const beside = rule.from === '.' ? !target.includes('/') : inside(target, rule.from);
  if ((itself && beside) || own.some((place) => inside(target, place))) return undefined;
  return `${rule.from} may not import ${target}; it may import ${list([...own, ...packages])}`;
}

function list(places: readonly string[]): string {
  return places.length === 0 ? 'nothing' : [...new Set(places)].join(', ');
}

/** Judges one file's source. @param file path relative to the root, with `/` */
export function checkSource(file: string, source: string): Violation[] {
  return importSpecifiers(source).flatMap(({ specifier, line }) => {
    const message = judge(file, specifier);
    return message === undefined ? [] : [{ file, line, specifier, message }];
  });
}

const NOT_OURS: ReadonlySet<string> = new Set(['node_modules', 'dist', '.git', 'coverage']);

function* typescriptFiles(directory: string): Generator<string> {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory() && !NOT_OURS.has(entry.name)) yield* typescriptFiles(path);
    else if (entry.isFile() && entry.name.endsWith('.ts')) yield path;
  }
}

/** Judges every TypeScript file under `root`. */
export function checkTree(root: string): Violation[] {
  return [...typescriptFiles(root)].toSorted().flatMap((path) => {
    const file = relative(root, path).split(sep).join('/');
    return checkSource(file, readFileSync(path, 'utf8'));
  });
}
