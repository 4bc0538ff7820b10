/**
 * `make bench-collect`: how long the operator takes to give 10,000 orphans back, counted from the end of their grace, and
 * what it asks the API server for meanwhile, by that server's own counters.
 *
 * Two cases: orphans in crowds (100 on each of 100 nodes, as after a runtime that forgot its DELs) and scattered (5 on each of
 * 2,000 nodes). A living pod for each ten orphans stands among them. The ratio is to raw deletes of as many callers.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ipPools, ipReservations } from '../crds/resources.ts';
import { startControlPlane } from '../e2e/controlplane/controlplane.ts';
import { requestDifference } from '../e2e/controlplane/metrics.ts';
import { artefacts, loggedField, operatorIsUp, Program } from '../e2e/harness/programs.ts';
import { waitFor } from '../e2e/harness/wait.ts';
import type { Address } from '../ipam/address.ts';
import { reservationName } from '../ipam/name.ts';
import { bindNew } from '../ipam/reservation.ts';
import { connect, type RestApi } from '../kube/client.ts';
import { pods } from '../kube/core.ts';
import { measure } from './load.ts';

const ORPHANS = Number(process.env['BENCH_ORPHANS'] ?? 10_000);
const LIVING = ORPHANS / 10;
const RAW_DELETES = 2_000;
/** As many as the operator has workers. */
const CALLERS = 16;
const GRACE_S = 20;
const HOUR = { timeoutMs: 3_600_000 };
const NAMESPACE = 'default';

interface Case {
  readonly name: string;
  /** Of its pool and network. */
  readonly pool: string;
  readonly nodes: number;
  readonly cooldown: string;
}

const CASES: readonly Case[] = [
  { name: 'crowds of 100', pool: 'crowds', nodes: 100, cooldown: '0s' },
  { name: 'crowds of 100, cooldown 1h', pool: 'resting', nodes: 100, cooldown: '1h' },
  { name: '5 on a node', pool: 'scattered', nodes: 2_000, cooldown: '0s' },
];

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

interface Owned {
  readonly pool: string;
  readonly index: number;
  readonly name: string;
  readonly uid: string;
  readonly node: string;
}

async function createReservation(api: RestApi, { pool, index, name, uid, node }: Owned): Promise<void> {
  const address: Address = { family: 4, value: 0x0a_00_01_00n + BigInt(index) };
  const owner = {
    kind: 'Pod',
    namespace: NAMESPACE,
    name,
    uid,
    node,
    containerID: `c${index}`,
    ifname: 'net1',
    cniNetwork: 'bench',
  } as const;
  await api.create(ipReservations, {
    metadata: { name: reservationName(pool, address) },
    spec: bindNew({ network: pool, address, pool, owner, now: Date.now() }),
  });
}

async function removeAll(api: RestApi): Promise<void> {
  const { items } = await api.list(ipReservations);
  await measure(CALLERS, items.length, (i) =>
    api.delete(ipReservations, { name: items[i]?.metadata.name ?? '' }),
  );
}

/** Deletes a second that as many callers as the operator has workers reach. */
async function rawDeletes(api: RestApi): Promise<number> {
  await measure(CALLERS, RAW_DELETES, (index) =>
    createReservation(api, { pool: 'raw', index, name: 'raw', uid: 'uid-raw', node: 'raw' }),
  );
  const { items } = await api.list(ipReservations);
  const { rate } = await measure(CALLERS, items.length, (i) => {
    const { name = '', uid = '', resourceVersion = '' } = items[i]?.metadata ?? {};
    return api.delete(ipReservations, { name }, { preconditions: { uid, resourceVersion } });
  });
  return rate;
}

const directory = mkdtempSync(join(tmpdir(), 'berth-bench-collect-'));
const plane = await startControlPlane({ name: 'bench-collect', log: say });
const api = await connect({ kubeconfig: plane.kubeconfig, userAgent: 'berth-bench' });

async function run({ name, pool, nodes, cooldown }: Case): Promise<string[]> {
  say(`${name}: making ${ORPHANS} orphans`);
  const raw = await rawDeletes(api);
  await api.create(ipPools, {
    metadata: { name: pool },
    spec: { network: pool, subnet: '10.0.0.0/8', cooldown },
  });
  await measure(CALLERS, LIVING, async (i) => {
    const node = `node-${i % nodes}`;
    // Of the core API; the operator looks at no more of it.
    const spec: object = { nodeName: node, containers: [{ name: 'a', image: 'a' }] };
    const living = `living-${pool}-${i}`;
    const { metadata } = await api.create(pods, { metadata: { namespace: NAMESPACE, name: living }, spec });
    await createReservation(api, { pool, index: ORPHANS + i, name: living, uid: metadata.uid ?? '', node });
  });
  await measure(CALLERS, ORPHANS, (index) => {
    const owner = { name: `orphan-${index}`, uid: `uid-orphan-${index}`, node: `node-${index % nodes}` };
    return createReservation(api, { pool, index, ...owner });
  });
  const operator = new Program({
    script: artefacts.operator,
    logFile: join(directory, 'operator.log'),
    flags: {
      kubeconfig: await plane.userKubeconfig('berth-operator'),
      'leader-elect': 'false',
      'orphan-grace': `${GRACE_S}s`,
      'scan-interval': '10m',
      'metrics-address': '127.0.0.1:0',
      'health-address': '127.0.0.1:0',
    },
    isUp: operatorIsUp,
  });
  await operator.start();
  try {
    const address = loggedField(operator.log(), 'serving', 'metrics');
    const metric = async (series: string): Promise<number> => {
      const text = await (await fetch(`http://${address}/metrics`)).text();
      const line = text.split('\n').find((each) => each.startsWith(`${series} `));
      return Number(line?.split(' ')[1]);
    };
    const candidates = 'berth_operator_orphans{phase="candidate"}';
    await waitFor('all are candidates', async () => (await metric(candidates)) === ORPHANS, HOUR);
    const graceOver = performance.now() + GRACE_S * 1000;
    const before = await plane.countRequests();
    await sleep(Math.max(0, graceOver - performance.now()));
    const released = 'berth_operator_released_total{reason="PodDeleted"}';
    await waitFor('all are given back', async () => (await metric(released)) === ORPHANS, {
      ...HOUR,
      everyMs: 100,
    });
    const seconds = (performance.now() - graceOver) / 1000;
    // Events that are still being sent are counted too.
    await operator.stop();
    const after = requestDifference(before, await plane.countRequests());
    const count = (verb: string, resource: string): number =>
      after.filter((r) => r.verb === verb && r.resource === resource).reduce((sum, r) => sum + r.count, 0);
    const reads = count('GET', 'pods') + count('LIST', 'pods') + count('GET', 'nodes');
    const writes = count('DELETE', 'ipreservations') + count('PATCH', 'ipreservations');
    const told = count('POST', 'events') + count('PATCH', 'events');
    const left = (await api.list(ipReservations)).items.filter(
      ({ spec: { state } }) => state === 'Bound',
    ).length;
    if (left !== LIVING)
      throw new Error(`${left} Bound reservations are left, not those of ${LIVING} living pods`);
    const rate = ORPHANS / seconds;
    return [
      name,
      `${seconds.toFixed(1)} s`,
      `${rate.toFixed(0)}/s`,
      (rate / raw).toFixed(2),
      String(reads),
      String(writes),
      String(told),
    ];
  } finally {
    await operator.kill();
    await removeAll(api);
  }
}

try {
  await plane.applyCrds();
  for (const file of ['namespace/namespace.yaml', 'rbac/operator.yaml']) {
    await plane.kubectl(['apply', '-f', join(import.meta.dirname, '../config', file)]);
  }
  const load = loadavg()[0]?.toFixed(0);
  say(
    `\n${cpus().length} cores, ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}, load ${load} at the start`,
  );
  say(`${ORPHANS} orphans, ${LIVING} living pods among them; at most 300 a second\n`);
  const rows = [
    '| | all given back after | rate | to raw deletes | reads | writes | events |',
    '| --- | --- | --- | --- | --- | --- | --- |',
  ];
  for (const each of CASES) {
    rows.push(`| ${(await run(each)).join(' | ')} |`);
    say(`${rows.at(-1)}`);
  }
  say(`\n${rows.join('\n')}`);
} finally {
  await api.close();
  await plane.stop();
  rmSync(directory, { recursive: true, force: true });
}
