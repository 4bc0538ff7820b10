/**
 * `npm run build`: everything in dist/. `node hack/build.ts berth` builds only what is named, and what it is made of.
 *
 *   berth                     the CNI binary for this machine, a copy of one of the next two
 *   berth-linux-{amd64,arm64} the CNI binary: plugin/cni with a JavaScript engine, one static file (binary.ts)
 *   {agent,operator,install,remove,verify}.mjs
 *                             the programs for Node 24, bundled, each with its source map
 *
 * A target is skipped while its inputs and its output are those of the last build. Every output is written beside
 * its place and moved into it, so that an interrupted build leaves the old one.
 */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Plugin } from 'esbuild';
import { ARCHITECTURES, type Architecture, BINARY_INPUTS, buildBinary } from './binary.ts';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
const record = join(dist, '.build.json');

// This repository's own file, in npm's format.
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

/** What is needed to build one file of dist/. */
interface Target {
  readonly output: string;
  /** The file to begin with. */
  readonly entry: string;
  /** True if nothing on this machine needs it. */
  readonly foreign?: boolean;
  /** Globs of everything that the output depends on, relative to the root. */
  readonly inputs: readonly string[];
  /** Writes the output, and files that belong to it, into an empty directory. */
  build(directory: string): Promise<void>;
}

const host: Architecture = hostArchitecture();

function hostArchitecture(): Architecture {
  const found = ARCHITECTURES.find((each) => each.node === process.arch);
  if (found !== undefined && process.platform === 'linux') return found;
  throw new Error(`Berth is built on Linux x64 or arm64; this is ${process.platform} ${process.arch}`);
}

function binary(architecture: Architecture): Target {
  const output = `berth-linux-${architecture.name}`;
  const entry = 'plugin/cni/main.ts';
  return {
    output,
    entry,
    foreign: architecture !== host,
    inputs: [...BINARY_INPUTS, 'hack/build.ts'],
    build: (directory) => buildBinary(architecture, version, join(directory, output)),
  };
}

/**
 * Of the Kubernetes client only the configuration is used, but it does not say that its files have no side effects, and loads
 * an HTTP client of its own: a bundler keeps both that, and a model of every kind there is. They would be half of the bundle, and
 * memory on every node.
 */
const withoutUnusedClient: Plugin = {
  name: 'without-unused-client',
  setup: (bundler) => {
    // The two doors to the models; every file more that is asked about makes the build slower.
    const filter = /^\.\/(models\/all|types\/ObjectParamAPI)\.js$/;
    bundler.onResolve({ filter }, async ({ path, pluginData, importer, resolveDir, kind }) => {
      if (pluginData === withoutUnusedClient.name) return undefined;
      const found = await bundler.resolve(path, {
        importer,
        resolveDir,
        kind,
        pluginData: withoutUnusedClient.name,
      });
      return { ...found, sideEffects: false };
    });
    const namespace = 'unused';
    bundler.onResolve({ filter: /^undici$/ }, ({ path }) => ({ path, namespace }));
    bundler.onLoad({ filter: /.*/, namespace }, ({ path }) => ({
      contents: ['Agent', 'ProxyAgent', 'fetch']
        .map(
          (name) => `export function ${name}() { throw new Error('${path} is not part of this program'); }`,
        )
        .join('\n'),
    }));
  },
};

function program(name: string, entry: string): Target {
  const folders = '{ipam,kube,crds,process,plugin,operator,lifecycle}';
  return {
    output: `${name}.mjs`,
    entry,
    inputs: [`${folders}/**/*.ts`, 'tsconfig.json', 'package.json', 'package-lock.json', 'hack/build.ts'],
    build: async (directory) => {
      // Only where needed: loading it would make up most of a build that has nothing to do.
      const { build, formatMessages } = await import('esbuild');
      const { warnings } = await build({
        entryPoints: [join(root, entry)],
        outfile: join(directory, `${name}.mjs`),
        bundle: true,
        // Not the names: those of classes are in logs and error messages, and to keep them otherwise costs a call for each
        // function that is made.
        minifySyntax: true,
        minifyWhitespace: true,
        platform: 'node',
        format: 'esm',
        target: 'node24',
        sourcemap: 'linked',
        legalComments: 'linked',
        // CommonJS dependencies call require() for Node's own modules.
        banner: {
          js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
        },
        plugins: [withoutUnusedClient],
        // Errors are in what it throws.
        logLevel: 'silent',
      });
      for (const line of await formatMessages(warnings, { kind: 'warning' })) console.warn(line);
    },
  };
}

/** A digest of everything that `target` is made from. */
function digestOf(target: Target): string {
  const hash = createHash('sha256');
  const files = globSync([...target.inputs], { cwd: root }).filter((file) => !file.endsWith('.test.ts'));
  for (const file of files.toSorted()) {
    hash.update(`${file}\0`).update(
      createHash('sha256')
        .update(readFileSync(join(root, file)))
        .digest(),
    );
  }
  return hash.digest('hex');
}

/** Tells an output apart from one that something else wrote since. */
function stampOf(output: string): string {
  const found = statSync(join(dist, output), { throwIfNoEntry: false });
  return found === undefined ? 'missing' : `${found.size} ${found.mtimeMs}`;
}

function readRecord(): Record<string, string> {
  // Written by this program, below.
  return existsSync(record) ? (JSON.parse(readFileSync(record, 'utf8')) as Record<string, string>) : {};
}

/** Builds what is out of date; true if it did anything. */
async function refresh(target: Target, built: Record<string, string>): Promise<boolean> {
  const digest = digestOf(target);
  if (built[target.output] === `${digest} ${stampOf(target.output)}`) return false;
  const start = performance.now();
  const temporary = mkdtempSync(join(dist, '.building-'));
  try {
    await target.build(temporary);
    // The output goes last: whoever sees it finds its source map too.
    const files = globSync('*', { cwd: temporary }).toSorted(
      (a, b) => Number(a === target.output) - Number(b === target.output),
    );
    for (const file of files) renameSync(join(temporary, file), join(dist, file));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  built[target.output] = `${digest} ${stampOf(target.output)}`;
  const size = statSync(join(dist, target.output)).size / 1e6;
  const seconds = (performance.now() - start) / 1000;
  console.log(`dist/${target.output}: ${size.toFixed(1)} MB in ${seconds.toFixed(1)} s`);
  return true;
}

function hostCopy(architecture: Architecture): Target {
  const source = binary(architecture);
  return {
    ...source,
    output: 'berth',
    build: async (directory) => copyFileSync(join(dist, source.output), join(directory, 'berth')),
  };
}

async function main(): Promise<void> {
  mkdirSync(dist, { recursive: true });
  const built = readRecord();
  const all = [
    ...ARCHITECTURES.map(binary),
    hostCopy(host),
    program('agent', 'plugin/agent/main.ts'),
    program('operator', 'operator/main.ts'),
    program('install', 'plugin/install/main.ts'),
    program('remove', 'lifecycle/removemain.ts'),
    program('verify', 'lifecycle/verifymain.ts'),
  ];
  const wanted = process.argv.slice(2);
  const unknown = wanted.filter((name) => !all.some((target) => target.output === name));
  if (unknown.length > 0) {
    throw new Error(
      `no such target: ${unknown.join(', ')}; there are ${all.map((t) => t.output).join(', ')}`,
    );
  }
  if (wanted.includes('berth')) wanted.push(binary(host).output);
  const targets = all.filter((target) => wanted.length === 0 || wanted.includes(target.output));
  const failures: string[] = [];
  let changed = false;
  for (const target of targets) {
    try {
      if (!existsSync(join(root, target.entry))) throw new Error(`${target.entry} does not exist`);
      changed = (await refresh(target, built)) || changed;
    } catch (error) {
      rmSync(join(dist, target.output), { force: true });
      delete built[target.output];
      const failure = `dist/${target.output}: ${error instanceof Error ? error.message : String(error)}`;
      // Most machines have no compiler for the other architecture; a release needs it.
      if (target.foreign === true && process.env['CI'] === undefined) console.error(`left out ${failure}`);
      else failures.push(failure);
    }
  }
  writeFileSync(`${record}.new`, `${JSON.stringify(built, null, 2)}\n`);
  renameSync(`${record}.new`, record);
  if (failures.length > 0) {
    console.error(`\nnot built:\n${failures.join('\n')}`);
    process.exitCode = 1;
  } else if (!changed) {
    console.log('dist/ is up to date');
  }
}

await main();
