/** A quickstart as a user runs it, with a state directory and a prefix of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  constants,
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  realpathSync,
} from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { resolveAssets, resolveCniPlugins } from '../../controlplane/assets.ts';
import { nodePath } from '../../harness/programs.ts';
import { namespacesOf } from '../network.ts';
import { type Places, placesOf, ROOT } from '../places.ts';
import { markedProcesses } from '../record.ts';

/** What a command printed and how it ended. */
export interface Ended {
  readonly code: number | null;
  readonly output: string;
}

/** nobody, on every Linux. */
const NOBODY = 65534;

export class Session {
  readonly directory: string;
  readonly env: NodeJS.ProcessEnv;
  readonly places: Places;
  readonly #root: string;
  readonly #wrapper: readonly string[];

  private constructor(directory: string, env: NodeJS.ProcessEnv, root: string, wrapper: readonly string[]) {
    this.directory = directory;
    this.env = env;
    this.places = placesOf(env);
    this.#root = root;
    this.#wrapper = wrapper;
  }

  /** As the user that runs the tests. */
  static async open(): Promise<Session> {
    const directory = await mkdtemp(join(tmpdir(), 'berth-quickstart-'));
    return new Session(directory, environment(directory), ROOT, []);
  }

  /** As nobody, with copies of everything that nobody can read; root may open it. */
  static async openAsNobody(): Promise<Session> {
    const directory = await mkdtemp(join(tmpdir(), 'berth-quickstart-'));
    const root = join(directory, 'repository');
    for (const path of ['e2e', 'crds', 'config', 'plugin/protocol.ts', 'package.json', 'node_modules/yaml']) {
      cpSync(join(ROOT, path), join(root, path), { recursive: true });
    }
    for (const name of ['berth', 'agent.mjs', 'operator.mjs']) {
      linkOrCopy(join(ROOT, 'dist', name), join(root, 'dist', name));
    }
    linkOrCopy(realpathSync(nodePath), join(root, 'node_modules/.bin/node'));
    const programs = join(directory, 'programs');
    const { kubeApiserver, etcd, kubectl } = await resolveAssets();
    const cni = await resolveCniPlugins();
    const plugins = (await readdir(cni.directory)).map((name) => join(cni.directory, name));
    for (const path of new Set([kubeApiserver, etcd, kubectl, cni.cnitool, ...plugins])) {
      linkOrCopy(path, join(programs, path.slice(dirname(path).length + 1)));
    }
    chownSync(directory, NOBODY, NOBODY);
    const env = {
      ...environment(directory),
      HOME: directory,
      KUBEBUILDER_ASSETS: programs,
      CNI_BIN: programs,
    };
    const wrapper = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--'];
    return new Session(directory, env, root, wrapper);
  }

  /** Starts `make quickstart`'s program and does not wait. */
  startUp(): ChildProcess {
    return this.#spawn([
      join(this.#root, 'node_modules/.bin/node'),
      join(this.#root, 'e2e/quickstart/up.ts'),
    ]);
  }

  up(): Promise<Ended> {
    return ended(this.startUp());
  }

  down(): Promise<Ended> {
    const script = join(this.#root, 'e2e/quickstart/down.ts');
    return ended(this.#spawn([join(this.#root, 'node_modules/.bin/node'), script]));
  }

  /** Runs lines in a shell that stops at the first failure. */
  shell(lines: readonly string[]): Promise<Ended> {
    return ended(this.#spawn(['sh', '-e', '-c', lines.join('\n')]));
  }

  /** What is left of it on this machine, in words; nothing: the empty list. */
  async traces(): Promise<string[]> {
    const { places } = this;
    const cache = '/var/lib/cni/results';
    const cached = existsSync(cache) ? await readdir(cache) : [];
    return [
      ...(existsSync(join(this.directory, 'state')) ? [join(this.directory, 'state')] : []),
      ...(await namespacesOf(places.prefix)),
      ...(await markedProcesses(places)).map(({ pid }) => `process ${pid}`),
      ...cached.filter((name) => name.startsWith(places.prefix)),
    ];
  }

  /** Removes what the test itself made. Call `down` before. */
  async close(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }

  #spawn(words: readonly string[]): ChildProcess {
    const [command = '', ...args] = [...this.#wrapper, ...words];
    return spawn(command, args, { env: this.env, cwd: this.directory, stdio: ['ignore', 'pipe', 'pipe'] });
  }
}

function environment(directory: string): NodeJS.ProcessEnv {
  return {
    ...process.env,
    XDG_STATE_HOME: join(directory, 'state'),
    BERTH_QUICKSTART_PREFIX: `berth-qt-${randomBytes(3).toString('hex')}-`,
  };
}

/** A hard link needs no space; it fails between file systems. */
function linkOrCopy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  try {
    linkSync(from, to);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EXDEV')) throw error;
    copyFileSync(from, to, constants.COPYFILE_FICLONE);
  }
}

/** Collects what a child prints until it ends. */
export function ended(child: ChildProcess): Promise<Ended> {
  return new Promise((resolve, reject) => {
    let output = '';
    const collect = (text: string): void => {
      output += text;
    };
    child.stdout?.setEncoding('utf8').on('data', collect);
    child.stderr?.setEncoding('utf8').on('data', collect);
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, output }));
  });
}

/** The lines between one that begins with `from` and the next empty one, without their indentation. */
export function paragraph(output: string, from: string): string[] {
  const lines = output.split('\n');
  const start = lines.findIndex((line) => line.startsWith(from));
  if (start === -1) throw new Error(`no line begins with ${JSON.stringify(from)} in:\n${output}`);
  const rest = lines.slice(start + 1);
  return rest.slice(0, rest.indexOf('')).map((line) => line.trim());
}
