/**
 * Compiles `plugin/cni` and the JavaScript engine in `third_party/quickjs-ng` into one static executable.
 *
 * The engine takes most of a minute to compile and never changes, so its objects are kept in the cache, by what they
 * were made of. The program itself is a bundle of a few kilobytes that the C compiler gets as an array of bytes.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheRoot } from '../e2e/controlplane/assetset.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..');
const engine = join(root, 'third_party/quickjs-ng');

/** An architecture that the binary is built for, in the names of those who have one for it. */
export interface Architecture {
  /** Go's and the container images' name, in the output's file name. */
  readonly name: 'amd64' | 'arm64';
  /** Node's name. */
  readonly node: 'x64' | 'arm64';
  /** The C compiler for it on a machine of another architecture, as Debian calls it. */
  readonly crossCompiler: string;
}

export const ARCHITECTURES: readonly Architecture[] = [
  { name: 'amd64', node: 'x64', crossCompiler: 'x86_64-linux-gnu-gcc' },
  { name: 'arm64', node: 'arm64', crossCompiler: 'aarch64-linux-gnu-gcc' },
];

/** Everything that the binary is made of, as globs relative to the root. */
export const BINARY_INPUTS: readonly string[] = [
  'plugin/protocol.ts',
  'plugin/cni/*.ts',
  'plugin/cni/runtime/*.c',
  'third_party/quickjs-ng/*.{c,h}',
  'package.json',
  'hack/binary.ts',
];

// -O2 would save a call a fifteenth of its instructions, and take twice as long to compile the engine.
const FLAGS = [
  '-O1',
  '-std=gnu11',
  '-D_GNU_SOURCE',
  '-DNDEBUG',
  '-D_FORTIFY_SOURCE=2',
  '-fstack-protector-strong',
  '-ffunction-sections',
  '-fdata-sections',
];
const STRICT = ['-Wall', '-Wextra', '-Werror', '-Wno-unused-parameter'];
// Static: a node's file system may have another C library, or none.
const LINK = ['-static', '-s', '-Wl,--gc-sections', '-Wl,--build-id=none'];

function compilerFor({ node, crossCompiler }: Architecture): string {
  return node === process.arch ? process.env['CC'] || 'cc' : crossCompiler;
}

async function compile(compiler: string, args: readonly string[]): Promise<void> {
  try {
    await run(compiler, args);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      const cure = compiler.endsWith('-gcc')
        ? `apt-get install gcc-${compiler.replace('-gcc', '').replace('_', '-')}`
        : 'apt-get install gcc libc6-dev';
      throw new Error(`there is no C compiler ${compiler} (on Debian: ${cure})`, { cause: error });
    }
    throw error;
  }
}

/** The engine's objects for `compiler`, from the cache or compiled now. */
async function engineObjects(architecture: Architecture, compiler: string): Promise<string[]> {
  const sources = globSync('*.c', { cwd: engine }).toSorted();
  const hash = createHash('sha256').update(FLAGS.join(' '));
  // Another compiler makes other objects; one that is not there is reported by its first use, below.
  hash.update((await run(compiler, ['--version']).catch(() => ({ stdout: '' }))).stdout);
  for (const file of globSync('*.{c,h}', { cwd: engine }).toSorted()) {
    hash.update(`${file}\0`).update(readFileSync(join(engine, file)));
  }
  const directory = join(cacheRoot(), `quickjs-ng-${architecture.name}-${hash.digest('hex').slice(0, 16)}`);
  if (!existsSync(directory)) {
    console.log(
      `compiling the JavaScript engine for ${architecture.name} (a minute, once, into ${directory})`,
    );
    mkdirSync(cacheRoot(), { recursive: true });
    const temporary = mkdtempSync(`${directory}.partial-`);
    try {
      await Promise.all(
        sources.map((file) =>
          compile(compiler, [
            ...FLAGS,
            '-w',
            `-ffile-prefix-map=${root}=.`,
            '-c',
            join(engine, file),
            '-o',
            join(temporary, `${file}.o`),
          ]),
        ),
      );
      // Somebody else may have been faster: what he made is the same.
      if (!existsSync(directory)) renameSync(temporary, directory);
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  }
  return sources.map((file) => join(directory, `${file}.o`));
}

/** The bundle and the version as C. */
async function programSource(version: string): Promise<string> {
  // Only where needed: loading it would make up most of a build that has nothing to do.
  const { build } = await import('esbuild');
  const { outputFiles } = await build({
    entryPoints: [join(root, 'plugin/cni/main.ts')],
    bundle: true,
    minify: true,
    write: false,
    // Whatever else it is, it is not Node: an import of one of its modules fails the build.
    platform: 'neutral',
    format: 'esm',
    target: 'es2024',
    charset: 'ascii',
    logLevel: 'silent',
  });
  const [bundle] = outputFiles;
  if (bundle === undefined) throw new Error('esbuild made no bundle of plugin/cni/main.ts');
  // The engine wants a NUL behind the text.
  return [
    '#include <stddef.h>',
    `const char berth_program[] = {${[...bundle.contents].join(',')},0};`,
    `const size_t berth_program_size = ${bundle.contents.length};`,
    `const char berth_version[] = ${JSON.stringify(version)};`,
    '',
  ].join('\n');
}

/**
 * Builds the CNI binary into the file `output`.
 * @throws Error if there is no C compiler for the architecture, or it refuses the source
 */
export async function buildBinary(
  architecture: Architecture,
  version: string,
  output: string,
): Promise<void> {
  const compiler = compilerFor(architecture);
  const objects = await engineObjects(architecture, compiler);
  const program = `${output}.program.c`;
  await writeFile(program, await programSource(version));
  try {
    const main = join(root, 'plugin/cni/runtime/main.c');
    const common = [`-I${engine}`, `-ffile-prefix-map=${root}=.`];
    await compile(compiler, [
      ...FLAGS,
      ...STRICT,
      ...common,
      ...LINK,
      main,
      program,
      ...objects,
      '-lm',
      '-lpthread',
      '-o',
      output,
    ]);
  } finally {
    rmSync(program, { force: true });
  }
}
