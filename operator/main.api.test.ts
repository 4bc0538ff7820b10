/** The operator as processes, against a real API server. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { ipPools, ipReservations } from '../crds/resources.ts';
import type { RestApi } from '../kube/client.ts';
import { events, leases } from '../kube/core.ts';
import { aPool, aReservation } from './testing/objects.ts';
import { OperatorStage } from './testing/stage.ts';

const LEASE = { namespace: 'berth-system', name: 'berth-operator' };

let stage: OperatorStage;
let api: RestApi;
const children: ChildProcess[] = [];

beforeAll(async () => {
  stage = await OperatorStage.start({ name: 'operator-main' });
  api = stage.api;
});

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
});

afterAll(() => stage?.stop());

interface Process {
  readonly child: ChildProcess;
  /** Base URLs of the two servers. */
  readonly metrics: string;
  readonly health: string;
  /** The log so far. */
  log(): string;
  /** Exit status. */
  readonly ended: Promise<number | null>;
}

async function start(...flags: string[]): Promise<Process> {
  const addresses = ['--metrics-address=127.0.0.1:0', '--health-address=127.0.0.1:0'];
  const grace = flags.some((flag) => flag.startsWith('--orphan-grace')) ? [] : ['--orphan-grace=300ms'];
  const common = ['--kubeconfig', stage.kubeconfig, '--scan-interval=500ms', ...grace];
  const program = join(import.meta.dirname, 'main.ts');
  const child = spawn(process.execPath, [program, ...common, ...addresses, ...flags]);
  children.push(child);
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (piece: Buffer) => {
      log += piece.toString();
    });
  }
  const ended = once(child, 'exit').then(([code]: (number | null)[]) => code ?? null);
  const [, health, metrics] = await eventually(() => {
    const found = /"health":"([^"]+)","metrics":"([^"]+)"/.exec(log);
    if (found === null) throw new Error(`not serving yet: ${log}`);
    return found;
  });
  return { child, health: `http://${health}`, metrics: `http://${metrics}`, log: () => log, ended };
}

const eventually = <T>(check: () => T | Promise<T>): Promise<T> =>
  vi.waitFor(check, { timeout: 60_000, interval: 50 });

async function body(url: string): Promise<string> {
  return (await fetch(url)).text();
}

async function becomesLeader(process: Process): Promise<void> {
  await eventually(async () =>
    expect(await body(`${process.metrics}/metrics`)).toMatch(/^berth_operator_leader 1$/m),
  );
}

const holder = async (): Promise<string | undefined> => (await api.get(leases, LEASE)).spec?.holderIdentity;

test('the leader works, a standby is ready and takes over at once when the leader stops', async () => {
  const first = await start();
  await becomesLeader(first);
  const second = await start();
  await api.create(ipPools, aPool('blue', { cooldown: '0s' }));
  await eventually(async () =>
    expect((await api.get(ipPools, { name: 'blue' })).status?.capacity).toBe('254'),
  );
  for (const { health } of [first, second]) {
    await eventually(async () => expect((await fetch(`${health}/readyz`)).status).toBe(200));
  }
  expect((await fetch(`${second.metrics}/healthz`)).status).toBe(200);
  const standby = await body(`${second.metrics}/metrics`);
  expect(standby).toMatch(/^berth_operator_leader 0$/m);
  expect(standby).not.toContain('berth_pool_addresses{');
  await eventually(async () =>
    expect(await body(`${first.metrics}/metrics`)).toContain(
      'berth_pool_addresses{pool="blue",state="capacity"} 254',
    ),
  );

  first.child.kill('SIGTERM');
  expect(await first.ended).toBe(0);
  await becomesLeader(second);
  await api.create(ipReservations, aReservation('10.0.0.9'));
  await eventually(async () => {
    const { items } = await api.list(ipReservations);
    expect(items).toEqual([]);
  });
  await eventually(async () => {
    const { items } = await api.list(events, { namespace: 'default' });
    const ours = items.find(({ reason }) => reason === 'OrphanReleased');
    expect(ours?.involvedObject).toMatchObject({ kind: 'IPReservation', name: 'default.10.0.0.9' });
  });
  second.child.kill('SIGTERM');
  expect(await second.ended).toBe(0);
  expect(await holder()).toBe('');
});

test('a leader that loses its lease ends with status 1', async () => {
  const leader = await start();
  await becomesLeader(leader);
  const now = new Date().toISOString().replace('Z', '000Z');
  await eventually(async () => {
    // The leader renews meanwhile: a conflict is tried again.
    const lease = await api.get(leases, LEASE);
    const spec = { ...lease.spec, holderIdentity: 'somebody-else', renewTime: now };
    await api.update(leases, { ...lease, spec });
  });
  expect(await leader.ended).toBe(1);
  expect(leader.log()).toContain('the lease is lost');
  // Nobody renews it: the next test does not wait for it to run out.
  await api.delete(leases, LEASE);
});

test('without leader election it works at once and leaves the lease alone', async () => {
  const only = await start('--leader-elect=false');
  await becomesLeader(only);
  await expect(api.get(leases, LEASE)).rejects.toThrow();
  only.child.kill('SIGTERM');
  expect(await only.ended).toBe(0);
});

test('a killed operator is followed by one that finishes its work', async () => {
  const first = await start('--leader-elect=false', '--orphan-grace=1h');
  await becomesLeader(first);
  await api.create(ipReservations, aReservation('10.0.0.10'));
  await eventually(async () =>
    expect(await body(`${first.metrics}/metrics`)).toContain('berth_operator_orphans{phase="candidate"} 1'),
  );
  first.child.kill('SIGKILL');
  await first.ended;
  await start('--leader-elect=false');
  await eventually(async () => expect((await api.list(ipReservations)).items).toEqual([]));
});

test('it waits for an API server that is away, and says so', async () => {
  await stage.plane.killApiServer();
  const operator = await start('--leader-elect=false');
  await eventually(async () => {
    const ready = await fetch(`${operator.health}/readyz`);
    expect([ready.status, await ready.text()]).toEqual([503, expect.stringContaining('not yet read')]);
  });
  await stage.plane.startApiServer();
  await eventually(async () => expect((await fetch(`${operator.health}/readyz`)).status).toBe(200));
});
