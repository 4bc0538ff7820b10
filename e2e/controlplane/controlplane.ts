/**
 * A real kube-apiserver and etcd, for tests, quickstart and benchmarks.
 *
 * - Several run at once: each has its own directory and ports, and takes others if somebody was faster.
 * - Started means ready: /readyz answers ok and the default namespace exists.
 * - Stopped means gone: no process, no directory. Owned ones also go when their parent dies; a directory that a
 *   killed parent left is removed by the next start.
 * - Data does not survive a crash of the machine: etcd runs without fsync unless asked otherwise.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ControlPlaneAssets, resolveAssets } from './assets.ts';
import { type AuditEvent, auditFilesOf, parseAuditLog } from './audit.ts';
import { isPidRunning, killServer, stopServer } from './child.ts';
import { type HttpsAnswer, httpsGet, httpsPost } from './https.ts';
import {
  identityFiles,
  SYSTEM_NAMESPACE,
  type Tokens,
  type UserName,
  writeIdentity,
  writeKubeconfig,
} from './identity.ts';
import {
  again,
  caFileOf,
  certificatesOf,
  etcdDataOf,
  etcdMemberOf,
  launchApiServer,
  launchEtcd,
  launchWithFreePorts,
  type Running,
  urlOf,
  waitReady,
} from './launch.ts';
import { parseRequestCounts, type RequestCount } from './metrics.ts';
import { run, tail } from './run.ts';
import { type RestoreOptions, restoreSnapshot, saveSnapshot } from './snapshot.ts';

/** How a control plane is started. */
export interface ControlPlaneOptions {
  /** Shows up in the directory's name. Defaults to "test". */
  readonly name?: string;
  /** Use this directory and stay when this process ends; absent: a temporary one, and go with this process. */
  readonly directory?: string;
  /** CPU list (as `taskset -c` takes it) for kube-apiserver and etcd together. Absent: all. */
  readonly apiServerCpus?: string;
  /** True: etcd syncs to the disk. Defaults to false. */
  readonly fsync?: boolean;
  /** True: every request that ends is in `auditLog()`. Defaults to false. */
  readonly audit?: boolean;
  /** Added to kube-apiserver's flags, such as `--request-timeout=5m`. */
  readonly apiServerFlags?: readonly string[];
  /** Defaults to `resolveAssets()`. */
  readonly assets?: ControlPlaneAssets;
  /** Receives a line for each step. Defaults to silence. */
  readonly log?: (line: string) => void;
}

/** What another process needs to find a detached control plane again. */
interface State extends Running {
  readonly tokens: Tokens;
}

const STATE_FILE = 'controlplane.json';
const TEMPORARY_PREFIX = 'berth-controlplane-';

/** A running control plane. Get one from `startControlPlane` or `attachControlPlane`. */
export class ControlPlane {
  /** Data, logs, keys and kubeconfigs. */
  readonly directory: string;
  #state: State;
  readonly #log: (line: string) => void;
  #snapshots = 0;

  /** @internal use startControlPlane */
  constructor(directory: string, state: State, log: (line: string) => void) {
    this.directory = directory;
    this.#state = state;
    this.#log = log;
  }

  /** `https://127.0.0.1:<port>`; the same after a restart. */
  get url(): string {
    return urlOf(this.#state.ports);
  }

  /** Path of the cluster administrator's kubeconfig. */
  get kubeconfig(): string {
    return join(this.directory, 'admin.kubeconfig');
  }

  /** Path of the PEM bundle that the API server's certificate is checked against. */
  get caFile(): string {
    return caFileOf(this.directory);
  }

  /** Path of the PEM bundle that clients' certificates are checked against; the API server sees it change. */
  get clientCaFile(): string {
    return identityFiles(this.directory).clientCa;
  }

  get apiServerPid(): number {
    return this.#state.apiServer.pid;
  }

  get etcdPid(): number {
    return this.#state.etcd.pid;
  }

  /** `http://127.0.0.1:<port>` of etcd. */
  get etcdUrl(): string {
    return `http://127.0.0.1:${this.#state.ports.etcdClient}`;
  }

  /** Path of the kubectl that belongs to this control plane. */
  get kubectlPath(): string {
    return this.#state.assets.kubectl;
  }

  /** Path of a kubeconfig of one of the users with a fixed token. */
  userKubeconfig(user: UserName): Promise<string> {
    return this.tokenKubeconfig(user, this.#state.tokens[user]);
  }

  /** Path of a new kubeconfig for any bearer token, such as one bound to a pod. @param name its file's base name */
  tokenKubeconfig(name: string, token: string): Promise<string> {
    return writeKubeconfig(join(this.directory, `${name}.kubeconfig`), this.url, this.caFile, token);
  }

  /** Runs kubectl as the cluster administrator; resolves with stdout. @throws RunError */
  kubectl(args: readonly string[], stdin?: string): Promise<string> {
    const common = ['--kubeconfig', this.kubeconfig, '--cache-dir', join(this.directory, 'kubectl-cache')];
    return run(this.kubectlPath, [...common, ...args], stdin === undefined ? {} : { input: stdin });
  }

  /** Applies Berth's CustomResourceDefinitions and waits until they are served. */
  async applyCrds(): Promise<void> {
    const crds = join(import.meta.dirname, '../../crds');
    const files = ['ippool.yaml', 'ipreservation.yaml'].flatMap((name) => ['-f', join(crds, name)]);
    await this.kubectl(['apply', '--server-side', ...files]);
    await this.kubectl(['wait', '--for=condition=Established', '--timeout=60s', ...files]);
  }

  /** Posts an object as JSON. @param token whose request it is; absent: the cluster administrator's */
  async post(path: string, object: object, token: string = this.#state.tokens.admin): Promise<HttpsAnswer> {
    const ca = await readFile(this.caFile, 'utf8');
    return httpsPost(`${this.url}${path}`, object, { ca, token, timeoutMs: 30_000 });
  }

  /** The API server's /metrics text. */
  async metrics(): Promise<string> {
    const { status, body } = await this.#get('/metrics', 30_000);
    if (status !== 200) throw new Error(`GET ${this.url}/metrics: HTTP ${status}: ${tail(body, 3)}`);
    return body;
  }

  /** How many requests the API server answered so far, from its own counters. */
  async countRequests(): Promise<RequestCount[]> {
    return parseRequestCounts(await this.metrics());
  }

  /** Every request so far that has ended, in the order of their ends; only with the option `audit`. */
  async auditLog(): Promise<AuditEvent[]> {
    return parseAuditLog(await readFile(auditFilesOf(this.directory).log, 'utf8'));
  }

  /** SIGKILL to the API server; etcd goes on. */
  async killApiServer(): Promise<void> {
    await killServer(this.#state.apiServer);
  }

  /** Starts the API server again, on the same port and data, and waits until it is ready. */
  async startApiServer(): Promise<void> {
    const apiServer = await again(() => launchApiServer(this.directory, this.#state));
    await this.#save({ ...this.#state, apiServer });
    await waitReady(this.directory, this.#state, this.#state.tokens.admin);
  }

  /** Kills the API server and starts it again. */
  async restartApiServer(): Promise<void> {
    await this.killApiServer();
    await this.startApiServer();
  }

  /** Starts the API server anew with another serving certificate, of another authority: `caFile` has another content then. */
  async replaceServingCertificate(): Promise<void> {
    await this.killApiServer();
    await rm(certificatesOf(this.directory), { recursive: true });
    await this.startApiServer();
  }

  /** SIGKILL to etcd; the API server stays and fails its calls. */
  async killEtcd(): Promise<void> {
    await killServer(this.#state.etcd);
  }

  /** Starts etcd again, on the same ports and data, and waits until the API server is ready. */
  async startEtcd(): Promise<void> {
    const etcd = await again(() => launchEtcd(this.directory, this.#state));
    await this.#save({ ...this.#state, etcd });
    await waitReady(this.directory, this.#state, this.#state.tokens.admin);
  }

  /** Kills etcd and starts it again. */
  async restartEtcd(): Promise<void> {
    await this.killEtcd();
    await this.startEtcd();
  }

  /** Saves a snapshot of the running etcd (`etcdctl snapshot save`). @returns its path @throws RunError */
  async snapshot(): Promise<string> {
    this.#snapshots += 1;
    const file = join(this.directory, `etcd-${this.#snapshots}.snapshot`);
    await rm(file, { force: true });
    await saveSnapshot(this.etcdUrl, file);
    return file;
  }

  /**
   * Puts a snapshot in the place of etcd's data (`etcdutl snapshot restore`), as after a disaster: what came after it never
   * was. Waits until the API server is ready.
   * @param snapshot what `snapshot` returned; it stays and can be restored again
   * @throws RunError
   */
  async restore(snapshot: string, options: RestoreOptions = {}): Promise<void> {
    const data = etcdDataOf(this.directory);
    const { keepApiServer = false, bumpRevision } = options;
    if (!keepApiServer) await this.killApiServer();
    await this.killEtcd();
    await rm(data, { recursive: true });
    await restoreSnapshot(snapshot, data, etcdMemberOf(this.#state.ports), bumpRevision);
    const etcd = await again(() => launchEtcd(this.directory, this.#state));
    await this.#save({ ...this.#state, etcd });
    if (keepApiServer) await waitReady(this.directory, this.#state, this.#state.tokens.admin);
    else await this.startApiServer();
  }

  /** Stops both and removes the directory. */
  async stop(): Promise<void> {
    await stopServer(this.#state.apiServer);
    await stopServer(this.#state.etcd);
    await rm(this.directory, { recursive: true, force: true });
    this.#log('control plane stopped');
  }

  async #get(path: string, timeoutMs: number): Promise<HttpsAnswer> {
    const ca = await readFile(this.caFile, 'utf8');
    return httpsGet(`${this.url}${path}`, { ca, token: this.#state.tokens.admin, timeoutMs });
  }

  async #save(state: State): Promise<void> {
    this.#state = state;
    await saveState(this.directory, state);
  }
}

async function saveState(directory: string, state: State): Promise<void> {
  await writeFile(join(directory, STATE_FILE), JSON.stringify(state), { mode: 0o600 });
}

/** For a file that need not be there: undefined. @throws every other error */
function absent(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}

async function removeAbandoned(): Promise<void> {
  for (const entry of await readdir(tmpdir())) {
    const pid = new RegExp(`^${TEMPORARY_PREFIX}(\\d+)-`).exec(entry)?.[1];
    if (pid === undefined || isPidRunning(Number(pid))) continue;
    const path = join(tmpdir(), entry);
    const found = await stat(path).catch(absent);
    // Another user's are that user's business; another start may be removing this one too.
    if (found === undefined || found.uid !== process.getuid?.()) continue;
    await rm(path, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function makeDirectory(options: ControlPlaneOptions): Promise<string> {
  if (options.directory !== undefined) {
    await mkdir(options.directory, { recursive: true, mode: 0o700 });
    const left = await readdir(options.directory);
    if (left.length > 0) {
      throw new Error(`directory ${options.directory} is not empty: stop what runs there, or name another`);
    }
    return options.directory;
  }
  await removeAbandoned();
  return mkdtemp(join(tmpdir(), `${TEMPORARY_PREFIX}${process.pid}-${options.name ?? 'test'}-`));
}

/**
 * Starts etcd and kube-apiserver and waits until they are ready, about 5 s.
 * @throws AssetsError where the programs cannot be had; Error with the end of the log where one does not start
 */
export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const log = options.log ?? ((): void => undefined);
  const assets = options.assets ?? (await resolveAssets());
  const directory = await makeDirectory(options);
  let state: State | undefined;
  try {
    const tokens = await writeIdentity(directory);
    log(`starting etcd and kube-apiserver in ${directory}`);
    const launch = {
      assets,
      cpus: options.apiServerCpus ?? null,
      fsync: options.fsync ?? false,
      audit: options.audit ?? false,
      apiServerFlags: options.apiServerFlags ?? [],
      detached: options.directory !== undefined,
    };
    state = { ...(await launchWithFreePorts(directory, launch)), tokens };
    await saveState(directory, state);
    await waitReady(directory, state, tokens.admin);
    const controlPlane = new ControlPlane(directory, state, log);
    await controlPlane.userKubeconfig('admin');
    await controlPlane.kubectl(['create', 'namespace', SYSTEM_NAMESPACE]);
    log(`control plane ready at ${controlPlane.url}`);
    return controlPlane;
  } catch (error) {
    if (state !== undefined) {
      await killServer(state.apiServer);
      await killServer(state.etcd);
    }
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

/**
 * The control plane that another process started in `directory`; undefined where there is none. It may have
 * ended since: `stop()` then only removes the directory.
 */
export async function attachControlPlane(
  directory: string,
  log: (line: string) => void = () => undefined,
): Promise<ControlPlane | undefined> {
  const text = await readFile(join(directory, STATE_FILE), 'utf8').catch(absent);
  if (text === undefined) return undefined;
  // Written by saveState above, mode 0600.
  return new ControlPlane(directory, JSON.parse(text) as State, log);
}
