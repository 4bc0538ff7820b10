/**
 * A real kube-apiserver and etcd, for tests, quickstart and benchmarks.
 *
 * - Several run at once: each has its own directory and ports, and takes others if somebody was faster.
 * - Started means ready: /readyz answers ok and the default namespace exists.
 * - Stopped means gone: no process, no directory. Owned ones also go when their parent dies; a directory that a
 *   killed parent left is removed by the next start.
 * - Data does not survive a crash of the machine: etcd runs without fsync unless asked otherwise.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ControlPlaneAssets, resolveAssets } from './assets.ts';
import { isPidRunning, isRunning, killServer, type ProcessId, startServer, stopServer } from './child.ts';
import { httpsGet } from './https.ts';
import {
  identityFiles,
  SYSTEM_NAMESPACE,
  type Tokens,
  type UserName,
  writeIdentity,
  writeKubeconfig,
} from './identity.ts';
import { parseRequestCounts, type RequestCount } from './metrics.ts';
import { freePorts } from './ports.ts';
import { run, tail } from './run.ts';

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
  /** Defaults to `resolveAssets()`. */
  readonly assets?: ControlPlaneAssets;
  /** Receives a line for each step. Defaults to silence. */
  readonly log?: (line: string) => void;
}

interface Ports {
  readonly etcdClient: number;
  readonly etcdPeer: number;
  readonly apiServer: number;
}

/** What another process needs to find a detached control plane again. */
interface State {
  readonly ports: Ports;
  readonly tokens: Tokens;
  readonly assets: ControlPlaneAssets;
  readonly cpus: string | null;
  readonly fsync: boolean;
  readonly detached: boolean;
  readonly etcd: ProcessId;
  readonly apiServer: ProcessId;
}

type Component = 'etcd' | 'kube-apiserver';

const STATE_FILE = 'controlplane.json';
const TEMPORARY_PREFIX = 'berth-controlplane-';
const READY_WITHIN_MS = 120_000;
const PORT_TRIES = 8;

class PortTakenError extends Error {
  override readonly name = 'PortTakenError';
}

/** A running control plane. Get one from `startControlPlane` or `attachControlPlane`. */
export class ControlPlane {
  /** Data, logs, keys and kubeconfigs. */
  readonly directory: string;
  #state: State;
  readonly #log: (line: string) => void;

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

  /** SIGKILL to the API server; etcd goes on. */
  async killApiServer(): Promise<void> {
    await killServer(this.#state.apiServer);
  }

  /** Starts the API server again, on the same port and data, and waits until it is ready. */
  async startApiServer(): Promise<void> {
    const apiServer = await again(() => launchApiServer(this.directory, this.#state));
    await this.#save({ ...this.#state, apiServer });
    await waitReady(this.directory, this.#state);
  }

  /** Kills the API server and starts it again. */
  async restartApiServer(): Promise<void> {
    await this.killApiServer();
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
    await waitReady(this.directory, this.#state);
  }

  /** Kills etcd and starts it again. */
  async restartEtcd(): Promise<void> {
    await this.killEtcd();
    await this.startEtcd();
  }

  /** Stops both and removes the directory. */
  async stop(): Promise<void> {
    await stopServer(this.#state.apiServer);
    await stopServer(this.#state.etcd);
    await rm(this.directory, { recursive: true, force: true });
    this.#log('control plane stopped');
  }

  async #get(path: string, timeoutMs: number): Promise<{ status: number; body: string }> {
    const ca = await readFile(this.caFile, 'utf8');
    return httpsGet(`${this.url}${path}`, { ca, token: this.#state.tokens.admin, timeoutMs });
  }

  async #save(state: State): Promise<void> {
    this.#state = state;
    await saveState(this.directory, state);
  }
}

function urlOf(ports: Ports): string {
  return `https://127.0.0.1:${ports.apiServer}`;
}

function caFileOf(directory: string): string {
  // The self-signed certificate that kube-apiserver makes for itself comes with its authority.
  return join(directory, 'certificates', 'apiserver.crt');
}

function logFileOf(directory: string, component: Component): string {
  return join(directory, `${component}.log`);
}

async function saveState(directory: string, state: State): Promise<void> {
  await writeFile(join(directory, STATE_FILE), JSON.stringify(state), { mode: 0o600 });
}

type Launch = Pick<State, 'ports' | 'assets' | 'cpus' | 'fsync' | 'detached'>;

function launchEtcd(directory: string, launch: Launch): Promise<ProcessId> {
  const client = `http://127.0.0.1:${launch.ports.etcdClient}`;
  const peer = `http://127.0.0.1:${launch.ports.etcdPeer}`;
  return startAndWatch(directory, 'etcd', launch.assets.etcd, launch, [
    '--name=berth',
    `--data-dir=${join(directory, 'etcd')}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=berth=${peer}`,
    ...(launch.fsync ? [] : ['--unsafe-no-fsync']),
  ]);
}

function launchApiServer(directory: string, launch: Launch): Promise<ProcessId> {
  const files = identityFiles(directory);
  return startAndWatch(directory, 'kube-apiserver', launch.assets.kubeApiserver, launch, [
    `--etcd-servers=http://127.0.0.1:${launch.ports.etcdClient}`,
    `--cert-dir=${join(directory, 'certificates')}`,
    `--secure-port=${launch.ports.apiServer}`,
    '--bind-address=127.0.0.1',
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-signing-key-file=${files.serviceAccountKey}`,
    `--service-account-key-file=${files.serviceAccountPublicKey}`,
    `--token-auth-file=${files.tokenFile}`,
    '--authorization-mode=Node,RBAC',
    '--service-cluster-ip-range=10.96.0.0/16',
    // Nothing here runs a controller that would give pods' service accounts their tokens.
    '--disable-admission-plugins=ServiceAccount',
    '--endpoint-reconciler-type=none',
    '--allow-privileged=true',
    '--profiling=false',
  ]);
}

/** Starts one of the two and notices within moments if it cannot have its port. @throws PortTakenError */
async function startAndWatch(
  directory: string,
  component: Component,
  command: string,
  launch: Launch,
  args: readonly string[],
): Promise<ProcessId> {
  const logFile = logFileOf(directory, component);
  await writeFile(logFile, '', { flag: 'a' });
  const before = (await readFile(logFile, 'utf8')).length;
  const id = await startServer({
    command,
    args,
    logFile,
    cpus: launch.cpus ?? undefined,
    detached: launch.detached,
  });
  const port = component === 'etcd' ? launch.ports.etcdClient : launch.ports.apiServer;
  const deadline = performance.now() + READY_WITHIN_MS;
  while (performance.now() < deadline) {
    if (!isRunning(id)) throw await endedEarly(component, logFile, before);
    if (await listens(component, port, directory)) return id;
    await sleep(25);
  }
  await killServer(id);
  throw new Error(
    `${component} did not listen within ${READY_WITHIN_MS / 1000} s:\n${await logTail(logFile, before)}`,
  );
}

async function endedEarly(component: Component, logFile: string, from: number): Promise<Error> {
  const text = (await readFile(logFile, 'utf8')).slice(from);
  if (text.includes('address already in use')) return new PortTakenError(`${component}: its port was taken`);
  return new Error(`${component} ended while it started:\n${tail(text)}`);
}

async function logTail(logFile: string, from = 0): Promise<string> {
  return tail((await readFile(logFile, 'utf8')).slice(from));
}

/** Whether the component itself (no other that took its port) answers there. */
async function listens(component: Component, port: number, directory: string): Promise<boolean> {
  try {
    if (component === 'etcd') {
      const response = await fetch(`http://127.0.0.1:${port}/health`, { signal: AbortSignal.timeout(5_000) });
      await response.arrayBuffer();
      return response.ok;
    }
    const ca = await readFile(caFileOf(directory), 'utf8');
    const url = `https://127.0.0.1:${port}/livez/ping`;
    return (await httpsGet(url, { ca, token: '', timeoutMs: 5_000 })).status > 0;
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}

/** Waits until the API server is ready and has its first namespaces. */
async function waitReady(directory: string, state: State): Promise<void> {
  const ca = await readFile(caFileOf(directory), 'utf8');
  const deadline = performance.now() + READY_WITHIN_MS;
  let last = 'no answer';
  while (performance.now() < deadline) {
    try {
      const ask = (path: string): Promise<{ status: number; body: string }> =>
        httpsGet(urlOf(state.ports) + path, { ca, token: state.tokens.admin, timeoutMs: 10_000 });
      const ready = await ask('/readyz');
      last = `/readyz: HTTP ${ready.status} ${ready.body}`;
      if (ready.status === 200) {
        const namespace = await ask('/api/v1/namespaces/default');
        if (namespace.status === 200) return;
        last = `namespace default: HTTP ${namespace.status}`;
      }
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      last = error.message;
    }
    for (const [component, id] of [
      ['etcd', state.etcd],
      ['kube-apiserver', state.apiServer],
    ] as const) {
      if (isRunning(id)) continue;
      throw new Error(
        `${component} ended while it started:\n${await logTail(logFileOf(directory, component))}`,
      );
    }
    await sleep(50);
  }
  throw new Error(`the API server was not ready within ${READY_WITHIN_MS / 1000} s: ${last}`);
}

/** A restart keeps its port: whoever took it meanwhile is waited for. */
async function again(start: () => Promise<ProcessId>): Promise<ProcessId> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await start();
    } catch (error) {
      if (!(error instanceof PortTakenError) || tries === PORT_TRIES) throw error;
      await sleep(500);
    }
  }
}

async function removeAbandoned(): Promise<void> {
  for (const entry of await readdir(tmpdir())) {
    const pid = new RegExp(`^${TEMPORARY_PREFIX}(\\d+)-`).exec(entry)?.[1];
    if (pid === undefined || isPidRunning(Number(pid))) continue;
    await rm(join(tmpdir(), entry), { recursive: true, force: true });
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

async function launchBoth(directory: string, launch: Launch, tokens: Tokens): Promise<State> {
  const etcd = await launchEtcd(directory, launch);
  try {
    const apiServer = await launchApiServer(directory, launch);
    return { ...launch, tokens, etcd, apiServer };
  } catch (error) {
    await killServer(etcd);
    throw error;
  }
}

async function launchWithFreePorts(
  directory: string,
  launch: Omit<Launch, 'ports'>,
  tokens: Tokens,
): Promise<State> {
  for (let tries = 1; ; tries += 1) {
    const [etcdClient = 0, etcdPeer = 0, apiServer = 0] = await freePorts(3);
    try {
      return await launchBoth(directory, { ...launch, ports: { etcdClient, etcdPeer, apiServer } }, tokens);
    } catch (error) {
      if (!(error instanceof PortTakenError) || tries === PORT_TRIES) throw error;
      // etcd's data names its peer port.
      await rm(join(directory, 'etcd'), { recursive: true, force: true });
    }
  }
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
      detached: options.directory !== undefined,
    };
    state = await launchWithFreePorts(directory, launch, tokens);
    await saveState(directory, state);
    await waitReady(directory, state);
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
  let text: string;
  try {
    text = await readFile(join(directory, STATE_FILE), 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  // Written by saveState above, mode 0600.
  return new ControlPlane(directory, JSON.parse(text) as State, log);
}
