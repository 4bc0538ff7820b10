/** Starts the two servers of a control plane and waits for them. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlPlaneAssets } from './assets.ts';
import { auditFlags } from './audit.ts';
import { isRunning, killServer, type ProcessId, startServer } from './child.ts';
import { httpsGet } from './https.ts';
import { identityFiles } from './identity.ts';
import { freePorts } from './ports.ts';
import { tail } from './run.ts';

/** Where the servers listen, on 127.0.0.1. */
export interface Ports {
  readonly etcdClient: number;
  readonly etcdPeer: number;
  readonly apiServer: number;
}

/** How the servers are started; the same again after a kill. */
export interface Launch {
  readonly ports: Ports;
  readonly assets: ControlPlaneAssets;
  /** CPU list, as `taskset -c` takes it; null: all. */
  readonly cpus: string | null;
  readonly fsync: boolean;
  /** Whether the API server logs requests. */
  readonly audit: boolean;
  /** Added to the API server's flags. */
  readonly apiServerFlags: readonly string[];
  readonly detached: boolean;
}

/** Both servers under way. */
export interface Running extends Launch {
  readonly etcd: ProcessId;
  readonly apiServer: ProcessId;
}

type Component = 'etcd' | 'kube-apiserver';

const READY_WITHIN_MS = 120_000;
const PORT_TRIES = 8;

class PortTakenError extends Error {
  override readonly name = 'PortTakenError';
}

/** The API server's URL. */
export function urlOf(ports: Ports): string {
  return `https://127.0.0.1:${ports.apiServer}`;
}

/** Where kube-apiserver keeps the certificate that it makes for itself where there is none. */
export function certificatesOf(directory: string): string {
  return join(directory, 'certificates');
}

/** That self-signed certificate; it comes with its authority. */
export function caFileOf(directory: string): string {
  return join(certificatesOf(directory), 'apiserver.crt');
}

function logFileOf(directory: string, component: Component): string {
  return join(directory, `${component}.log`);
}

/** etcd's data. */
export function etcdDataOf(directory: string): string {
  return join(directory, 'etcd');
}

/** Who etcd is in its cluster of one; its data knows it by that. */
export function etcdMemberOf(ports: Ports): { readonly name: string; readonly peerUrl: string } {
  return { name: 'berth', peerUrl: `http://127.0.0.1:${ports.etcdPeer}` };
}

/** Starts etcd and waits until it answers. */
export function launchEtcd(directory: string, launch: Launch): Promise<ProcessId> {
  const client = `http://127.0.0.1:${launch.ports.etcdClient}`;
  const { name, peerUrl: peer } = etcdMemberOf(launch.ports);
  return startAndWatch(directory, 'etcd', launch.assets.etcd, launch, [
    `--name=${name}`,
    `--data-dir=${etcdDataOf(directory)}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=${name}=${peer}`,
    ...(launch.fsync ? [] : ['--unsafe-no-fsync']),
  ]);
}

/** Starts kube-apiserver and waits until it answers; it may not be ready yet. */
export async function launchApiServer(directory: string, launch: Launch): Promise<ProcessId> {
  const files = identityFiles(directory);
  const audit = launch.audit ? await auditFlags(directory) : [];
  return startAndWatch(directory, 'kube-apiserver', launch.assets.kubeApiserver, launch, [
    `--etcd-servers=http://127.0.0.1:${launch.ports.etcdClient}`,
    `--cert-dir=${certificatesOf(directory)}`,
    `--secure-port=${launch.ports.apiServer}`,
    '--bind-address=127.0.0.1',
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-signing-key-file=${files.serviceAccountKey}`,
    `--service-account-key-file=${files.serviceAccountPublicKey}`,
    `--token-auth-file=${files.tokenFile}`,
    `--client-ca-file=${files.clientCa}`,
    '--authorization-mode=Node,RBAC',
    '--service-cluster-ip-range=10.96.0.0/16',
    // Nothing here runs a controller that would give pods' service accounts their tokens.
    '--disable-admission-plugins=ServiceAccount',
    '--endpoint-reconciler-type=none',
    '--allow-privileged=true',
    '--profiling=false',
    ...audit,
    ...launch.apiServerFlags,
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
export async function waitReady(directory: string, state: Running, token: string): Promise<void> {
  const ca = await readFile(caFileOf(directory), 'utf8');
  const deadline = performance.now() + READY_WITHIN_MS;
  let last = 'no answer';
  while (performance.now() < deadline) {
    try {
      const ask = (path: string): Promise<{ status: number; body: string }> =>
        httpsGet(urlOf(state.ports) + path, { ca, token, timeoutMs: 10_000 });
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
export async function again(start: () => Promise<ProcessId>): Promise<ProcessId> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await start();
    } catch (error) {
      if (!(error instanceof PortTakenError) || tries === PORT_TRIES) throw error;
      await sleep(500);
    }
  }
}

async function launchBoth(directory: string, launch: Launch): Promise<Running> {
  const etcd = await launchEtcd(directory, launch);
  try {
    const apiServer = await launchApiServer(directory, launch);
    return { ...launch, etcd, apiServer };
  } catch (error) {
    await killServer(etcd);
    throw error;
  }
}

/** Starts both on ports of their own, on others if somebody was faster. */
export async function launchWithFreePorts(
  directory: string,
  launch: Omit<Launch, 'ports'>,
): Promise<Running> {
  for (let tries = 1; ; tries += 1) {
    const [etcdClient = 0, etcdPeer = 0, apiServer = 0] = await freePorts(3);
    try {
      return await launchBoth(directory, { ...launch, ports: { etcdClient, etcdPeer, apiServer } });
    } catch (error) {
      if (!(error instanceof PortTakenError) || tries === PORT_TRIES) throw error;
      // etcd's data names its peer port.
      await rm(etcdDataOf(directory), { recursive: true, force: true });
    }
  }
}
