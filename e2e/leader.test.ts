/**
 * Leader election with built operators on a real API server: one works, whatever happens to the other.
 *
 * Each operator has the token of a pod of its own, so that the API server's audit log tells whose write it was.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { ipPools, ipReservations } from '../crds/resources.ts';
import type { IPReservation } from '../crds/types.ts';
import { formatAddress } from '../ipam/address.ts';
import { reservationName } from '../ipam/name.ts';
import { connect, type RestApi } from '../kube/client.ts';
import { type Lease, leases, nodes } from '../kube/core.ts';
import { agentToken } from './controlplane/agentidentity.ts';
import { type AuditEvent, isWrite, podOf } from './controlplane/audit.ts';
import { type ControlPlane, startControlPlane } from './controlplane/controlplane.ts';
import { inParallel } from './harness/parallel.ts';
import { artefacts, loggedField, nodePath } from './harness/programs.ts';
import { isReady } from './harness/ready.ts';
import { waitFor } from './harness/wait.ts';

const LEASE = { namespace: 'berth-system', name: 'berth-operator' };
const CONFIG = join(import.meta.dirname, '../config');
/** Longer than the lease's 15 s, many times. */
const PATIENCE = { timeoutMs: 110_000 };

// Each test waits for leases to run out, some more than once.
vi.setConfig({ testTimeout: 400_000 });

let plane: ControlPlane;
let api: RestApi;
const kubeconfigs = new Map<string, string>();
const running: Operator[] = [];
let addresses = 0;
let pools = 0;

beforeAll(async () => {
  plane = await startControlPlane({ name: 'leader', audit: true });
  await plane.applyCrds();
  for (const file of ['namespace/namespace.yaml', 'rbac/operator.yaml']) {
    await plane.kubectl(['apply', '-f', join(CONFIG, file)]);
  }
  api = await connect({ kubeconfig: plane.kubeconfig, userAgent: 'berth-test' });
  for (const name of ['a', 'b']) {
    await api.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name } });
    const token = await agentToken(plane, { node: name, serviceAccount: 'berth-operator' });
    kubeconfigs.set(name, await plane.tokenKubeconfig(`operator-${name}`, token));
  }
});

afterEach(async () => {
  for (const operator of running.splice(0)) await operator.end('SIGKILL');
  // The next test does not wait for a killed leader's lease.
  await api.delete(leases, LEASE);
});

afterAll(async () => {
  await api?.close();
  await plane?.stop();
});

class Operator {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<[number | null, string | null]>;
  #log = '';

  constructor(name: string, more: Readonly<Record<string, string>> = {}) {
    this.name = name;
    const flags = {
      ...more,
      kubeconfig: kubeconfigs.get(name) ?? '',
      'metrics-address': '127.0.0.1:0',
      'health-address': '127.0.0.1:0',
      'orphan-grace': '1s',
      'scan-interval': '2s',
    };
    const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
    this.#child = spawn(nodePath, [artefacts.operator, ...args]);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (piece: Buffer) => {
        this.#log += piece.toString();
      });
    }
    // Both arguments of the event `exit`.
    this.#exited = once(this.#child, 'exit') as Promise<[number | null, string | null]>;
    running.push(this);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Exit status once it has ended; null if a signal ended it. */
  async exitStatus(): Promise<number | null> {
    return (await this.#exited)[0];
  }

  /** Sends the signal, unless it has ended, and waits for the end. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.signal(signal);
    return this.exitStatus();
  }

  get identity(): string | undefined {
    return loggedField(this.#log, 'waiting for the lease', 'identity');
  }

  async metrics(): Promise<string> {
    const address = loggedField(this.#log, 'serving', 'metrics');
    return address === undefined ? '' : (await fetch(`http://${address}/metrics`)).text();
  }

  async leads(): Promise<boolean> {
    return /^berth_operator_leader 1$/m.test(await this.metrics());
  }

  async isWaiting(): Promise<boolean> {
    const lease = await presentLease();
    return (
      this.identity !== undefined && lease?.spec?.holderIdentity !== this.identity && !(await this.leads())
    );
  }
}

async function presentLease(): Promise<Lease | undefined> {
  return (await api.list(leases, { namespace: LEASE.namespace })).items[0];
}

const holder = async (): Promise<string | undefined> => (await presentLease())?.spec?.holderIdentity;

/** One that leads and one that waits. */
async function leaderAndCandidate(): Promise<[Operator, Operator]> {
  const leader = new Operator('a');
  await waitFor('the first one leads', () => leader.leads(), PATIENCE);
  const candidate = new Operator('b');
  await waitFor('the second one waits', () => candidate.isWaiting(), PATIENCE);
  return [leader, candidate];
}

/** Creates a pool and waits until somebody has made it Ready. */
async function poolBecomesReady(): Promise<void> {
  pools += 1;
  const name = `pool-${pools}`;
  await api.create(ipPools, { metadata: { name }, spec: { network: name, subnet: '10.9.0.0/24' } });
  await waitFor(`${name} is Ready`, async () => isReady(await api.get(ipPools, { name })), PATIENCE);
}

/** Reservations of pods that were never there, in a pool without a cooldown. */
async function makeOrphans(count: number): Promise<void> {
  const numbers = Array.from({ length: count }, (_, index) => addresses + index);
  addresses += count;
  await inParallel(16, numbers, async (number) => {
    const address = { family: 4, value: 0x0a_01_00_00n + BigInt(number) } as const;
    const owner = {
      kind: 'Pod',
      namespace: 'default',
      name: `gone-${number}`,
      uid: `uid-${number}`,
      node: `node-${number}`,
      containerID: `c${number}`,
      ifname: 'net1',
    } as const;
    const orphan: IPReservation = {
      metadata: { name: reservationName('default', address) },
      spec: { network: 'default', address: formatAddress(address), pool: 'none', state: 'Bound', owner },
    };
    await api.create(ipReservations, orphan);
  });
}

const orphansLeft = async (): Promise<number> => (await api.listTable(ipReservations)).rows.length;

async function orphansAreCollected(): Promise<void> {
  await waitFor('all orphans are collected', async () => (await orphansLeft()) === 0, PATIENCE);
}

/** Everything that the operator has asked for. */
async function requestsOf({ name }: Operator, since: number): Promise<AuditEvent[]> {
  return (await plane.auditLog()).slice(since).filter((event) => podOf(event) === `berth-operator-${name}`);
}

/** What the operator has written, but for the lease. */
async function writesOf(operator: Operator, since: number): Promise<AuditEvent[]> {
  return (await requestsOf(operator, since))
    .filter(isWrite)
    .filter(({ objectRef }) => objectRef?.resource !== 'leases');
}

const logLength = async (): Promise<number> => (await plane.auditLog()).length;

test('of two, one works and the other writes nothing', async () => {
  const since = await logLength();
  const [leader, candidate] = await leaderAndCandidate();
  await poolBecomesReady();
  await makeOrphans(20);
  await orphansAreCollected();
  expect((await writesOf(leader, since)).length).toBeGreaterThanOrEqual(20);
  expect(await writesOf(candidate, since)).toEqual([]);
  expect(await holder()).toBe(leader.identity);
});

test('SIGTERM: it has given the lease away when it ends, and the other works', async () => {
  const [leader, candidate] = await leaderAndCandidate();
  expect(await leader.end('SIGTERM')).toBe(0);
  expect(await holder()).not.toBe(leader.identity);
  await waitFor('the other one leads', () => candidate.leads(), PATIENCE);
  expect(await holder()).toBe(candidate.identity);
  await poolBecomesReady();
});

test('SIGKILL: the lease runs out, the other takes it over and finishes what was begun', async () => {
  const [leader, candidate] = await leaderAndCandidate();
  const before = (await presentLease())?.spec?.leaseTransitions ?? 0;
  await makeOrphans(20);
  await leader.end('SIGKILL');
  expect(await holder()).toBe(leader.identity);
  await waitFor('the other one leads', () => candidate.leads(), PATIENCE);
  const lease = await presentLease();
  expect(lease?.spec).toMatchObject({
    holderIdentity: candidate.identity,
    leaseDurationSeconds: 15,
    leaseTransitions: before + 1,
  });
  await orphansAreCollected();
});

test('SIGSTOP in the middle of its work for longer than its lease, then SIGCONT: it writes nothing more', async () => {
  const [leader, candidate] = await leaderAndCandidate();
  const since = await logLength();
  await makeOrphans(600);
  const isCollecting = async (): Promise<boolean> => (await writesOf(leader, since)).length >= 20;
  await waitFor('the leader is in the middle of its work', isCollecting, { ...PATIENCE, everyMs: 5 });
  leader.signal('SIGSTOP');
  expect(await orphansLeft()).toBeGreaterThan(0);
  await waitFor('the other one leads', () => candidate.leads(), PATIENCE);
  // Something is left to do for the one that wakes up, if it went on.
  await makeOrphans(200);
  const asleep = await writesOf(leader, since);
  leader.signal('SIGCONT');
  expect(await leader.exitStatus()).toBe(1);
  await orphansAreCollected();
  expect(await writesOf(leader, since)).toEqual(asleep);
  expect(await holder()).toBe(candidate.identity);
  const times = (events: readonly AuditEvent[]): string[] =>
    events.map(({ requestReceivedTimestamp }) => requestReceivedTimestamp).toSorted();
  const [firstOfTheOther = ''] = times(await writesOf(candidate, since));
  expect((times(asleep).at(-1) ?? '') < firstOfTheOther).toBe(true);
});

test('the API server away: the leader ends, and when it is back the one that waited works', async () => {
  const [leader, candidate] = await leaderAndCandidate();
  await plane.killApiServer();
  expect(await leader.exitStatus()).toBe(1);
  await plane.startApiServer();
  const again = new Operator('a');
  await waitFor(
    'one of them leads',
    async () => (await candidate.leads()) || (await again.leads()),
    PATIENCE,
  );
  await makeOrphans(20);
  await orphansAreCollected();
  await poolBecomesReady();
  expect([await candidate.leads(), await again.leads()].filter(Boolean)).toHaveLength(1);
});

test('a dry run reports and writes nothing, not even a lease: the one that works leads beside it', async () => {
  const since = await logLength();
  await makeOrphans(10);
  const dry = new Operator('b', { 'dry-run': 'true' });
  await waitFor(
    'it has counted the orphans',
    async () => /^berth_operator_orphans\{phase="confirmed"\} 10$/m.test(await dry.metrics()),
    PATIENCE,
  );
  expect(await orphansLeft()).toBe(10);
  const leader = new Operator('a');
  await waitFor('the other one leads', () => leader.leads(), PATIENCE);
  await poolBecomesReady();
  await orphansAreCollected();
  expect(await dry.leads()).toBe(false);
  expect(await dry.end('SIGTERM')).toBe(0);
  const asked = await requestsOf(dry, since);
  expect(asked.length).toBeGreaterThan(10);
  expect(asked.filter(isWrite)).toEqual([]);
  expect(asked.filter(({ objectRef }) => objectRef?.resource === 'leases')).toEqual([]);
});
