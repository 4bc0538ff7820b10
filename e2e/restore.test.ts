/**
 * etcd restored from an older snapshot (etcdctl, etcdutl) forgets addresses that pods have, and remembers some that nobody has
 * any more. Every node's agent writes its own again before it serves another ADD; what somebody else was given
 * meanwhile is reported on both pods, in the metric and on the pool, and stays with its new owner.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ipPools, ipReservations } from '../crds/resources.ts';
import type { Condition, IPReservation } from '../crds/types.ts';
import { type Event, events } from '../kube/core.ts';
import type { RestoreOptions } from './controlplane/snapshot.ts';
import { addressesOf, type Cluster, podCall, startCluster, type TestPod } from './harness/cluster.ts';
import type { CniOutcome } from './harness/cni.ts';
import { inParallel } from './harness/parallel.ts';
import { loggedField } from './harness/programs.ts';
import { waitFor } from './harness/wait.ts';

const NODES: readonly string[] = ['node-1', 'node-2'];
const PATIENCE = { timeoutMs: 120_000 };

let cluster: Cluster;
/** Address by pod UID, as its last ADD answered. */
let had: Map<string, string>;

interface Wish {
  readonly pool?: string;
  readonly address?: string;
}

function call(command: 'ADD' | 'DEL', pod: TestPod, { pool = 'blue', address }: Wish): Promise<CniOutcome> {
  const agent = cluster.agent(pod.node);
  const config = address === undefined ? {} : { args: { cni: { ips: [address] } } };
  return agent.call(podCall(command, pod, agent.ipam({ pools: [pool] }), { config }));
}

/** An ADD as a runtime makes it: again while the answer is to try again. */
async function add(pod: TestPod, wish: Wish = {}): Promise<string> {
  let answer: CniOutcome | undefined;
  await waitFor(
    `pod ${pod.name} has an address`,
    async () => {
      answer = await call('ADD', pod, wish);
      expect([0, 11]).toContain(answer.exitCode === 0 ? 0 : answer.output?.['code']);
      return answer.exitCode === 0;
    },
    PATIENCE,
  );
  const address = addressesOf(answer as CniOutcome)[0] ?? ''; // waitFor has ended, so there is one.
  had.set(pod.uid, address);
  return address;
}

async function addAll(pods: readonly TestPod[], wish: Wish = {}): Promise<void> {
  await inParallel(8, pods, (pod) => add(pod, wish));
}

/** What a kubelet does with a pod that is deleted. */
async function end(pod: TestPod): Promise<void> {
  expect((await call('DEL', pod, {})).exitCode).toBe(0);
  had.delete(pod.uid);
}

function podsOf(node: string, what: string, count: number): Promise<TestPod[]> {
  const names = Array.from({ length: count }, (_, i) => `${node}-${what}-${i}`);
  return inParallel(4, names, (name) => cluster.createPod(node, name));
}

async function bothNodes(what: string, count: number): Promise<TestPod[]> {
  return (await inParallel(2, NODES, (node) => podsOf(node, what, count))).flat();
}

const addressOf = (pod: TestPod | undefined): string => had.get(pod?.uid ?? '') ?? '(none)';

/** The owner's UID by address. */
async function owners(): Promise<Map<string, IPReservation['spec']>> {
  return new Map([...(await cluster.reservations()).values()].map(({ spec }) => [spec.address, spec]));
}

/** Those of the pods whose address is not Bound to them. */
async function withoutReservation(pods: readonly TestPod[]): Promise<string[]> {
  const specs = await owners();
  return pods
    .filter((pod) => {
      const { state, owner } = specs.get(addressOf(pod)) ?? {};
      return state !== 'Bound' || owner?.uid !== pod.uid || owner.containerID !== `c-${pod.uid}`;
    })
    .map(({ name }) => name);
}

async function conflictsCounted(node: string): Promise<number> {
  const text = await (await fetch(cluster.agent(node).metricsUrl)).text();
  return Number(/^berth_address_conflicts_total (\d+)$/m.exec(text)?.[1]);
}

async function conflictEvents(pod: TestPod, type: Event['type'] = 'Warning'): Promise<string[]> {
  const fieldSelector = `reason=AddressConflict,type=${type},involvedObject.uid=${pod.uid}`;
  const { items } = await cluster.api.list(events, { fieldSelector });
  return items.map(({ message }) => message);
}

async function conflictOf(pool: string): Promise<Condition | undefined> {
  const { status } = await cluster.api.get(ipPools, { name: pool });
  return status?.conditions?.find(({ type }) => type === 'Conflict');
}

async function auditFindings(kind: string): Promise<number> {
  const address = loggedField(cluster.operator.log(), 'serving', 'metrics');
  const text = await (await fetch(`http://${address}/metrics`)).text();
  return Number(new RegExp(`^berth_audit_findings\\{kind="${kind}"\\} (\\d+)$`, 'm').exec(text)?.[1]);
}

/** Runs the kubectl command of docs/restore.md that has this text. */
async function documented(text: string): Promise<string> {
  const page = await readFile(join(import.meta.dirname, '../docs/restore.md'), 'utf8');
  const command = /^ *kubectl (.+)$/m.exec(
    page
      .split('\n')
      .filter((line) => line.includes(text))
      .join('\n'),
  )?.[1];
  if (command === undefined) throw new Error(`docs/restore.md has no kubectl command with ${text}`);
  // None has blanks in an argument; quotes are for the shell.
  return cluster.controlPlane.kubectl(command.split(' ').map((word) => word.replaceAll("'", '')));
}

const ways: [string, RestoreOptions][] = [
  ['at the revision of the snapshot', {}],
  ['with bumped revisions', { bumpRevision: 1_000_000_000 }],
  [
    'with bumped revisions, under an API server that goes on',
    { bumpRevision: 1_000_000_000, keepApiServer: true },
  ],
];

/** Whether the pod's address is Bound to it, by a live read: lists of an API server that went on are of before. */
async function isReserved(pod: TestPod): Promise<boolean> {
  const { spec } = await cluster.api.get(ipReservations, { name: `default.${addressOf(pod)}` });
  return spec.state === 'Bound' && spec.owner?.uid === pod.uid;
}

test('etcd that goes back while no connection breaks is noticed by the next ADD of a node', async () => {
  had = new Map();
  cluster = await startCluster({ name: 'restore', nodes: ['node-1'] });
  try {
    await cluster.createPool('blue', { subnet: '10.1.0.0/24' });
    const [before, next, ...after] = await podsOf('node-1', 'pod', 22);
    if (before === undefined || next === undefined) throw new Error('no pod');
    await add(before);
    const snapshot = await cluster.controlPlane.snapshot();
    // As many as the API server itself cannot write before the next ADD.
    await addAll(after);
    await cluster.controlPlane.restore(snapshot, { keepApiServer: true });
    const [lost] = after;
    await expect(isReserved(lost ?? next)).rejects.toMatchObject({ kind: 'NotFound' });
    await add(next);
    for (const pod of [before, next, ...after]) {
      await waitFor(`the address of ${pod.name} is reserved`, () => isReserved(pod));
    }
    expect(cluster.agent('node-1').program.log()).not.toContain('list or watch failed');
  } finally {
    await cluster.stop();
  }
});

describe.each(ways)('a snapshot that is restored %s', (_how, options) => {
  beforeAll(async () => {
    had = new Map();
    cluster = await startCluster({
      name: 'restore',
      nodes: NODES,
      operatorFlags: { 'orphan-grace': '20s', 'scan-interval': '1s' },
    });
    await cluster.createPool('blue', { subnet: '10.1.0.0/24', cooldown: '2s' });
    await cluster.createPool('reuse', { subnet: '10.2.0.0/24', ranges: ['10.2.0.1'], cooldown: '1h' });
  });

  afterAll(() => cluster?.stop());

  test('costs no live pod its address, and what was given twice is reported until somebody ends it', async () => {
    const before = await bothNodes('before', 8);
    const after = await bothNodes('after', 8);
    const later = await bothNodes('later', 6);
    const gone = await bothNodes('gone', 2);
    const [first, second] = [
      await cluster.createPod('node-1', 'r-1'),
      await cluster.createPod('node-2', 'r-2'),
    ];
    await addAll([...before, ...gone]);
    await add(first, { pool: 'reuse' });

    const snapshot = await cluster.controlPlane.snapshot();

    // Pods that the snapshot has get addresses that it has not; others it does not know at all.
    const young = await bothNodes('young', 2);
    await addAll([...after, ...young]);
    for (const pod of gone) await end(pod);
    await inParallel(4, gone, (pod) => cluster.deletePod(pod));
    await end(first);
    await cluster.deletePod(first);
    expect(await add(second, { pool: 'reuse' })).toBe('10.2.0.1');
    await cluster.createPool('green', { subnet: '10.3.0.0/24', cooldown: '0s' });
    const [green] = await podsOf('node-1', 'green', 1);
    if (green === undefined) throw new Error('no pod');
    // It was made after the snapshot: made again after it, it is another pod. This one lives on until its DEL.
    await add(green, { pool: 'green' });
    const live = [...before, ...after, ...young, second, green];
    expect(await withoutReservation(live)).toEqual([]);

    // node-2 is slow to see what has happened: three of its addresses are given to others meanwhile.
    const agent2 = cluster.agent('node-2').program;
    process.kill(agent2.pid, 'SIGSTOP');
    const losers = after.filter(({ node }) => node === 'node-2').slice(0, 3);
    const winners = later.filter(({ node }) => node === 'node-1').slice(0, 3);
    try {
      await cluster.controlPlane.restore(snapshot, options);
      if (options.keepApiServer === true) {
        // The agent's connection has not broken yet: etcd's watches end first, and then those of the API server.
        await waitFor('node-1 sees it', () =>
          cluster.agent('node-1').program.log().includes('has lost a reservation that this node has made'),
        );
      }
      const [one, ...others] = winners;
      if (one === undefined) throw new Error('no pod');
      await add(one, { address: addressOf(losers[0]) });
      // The answer to the first ADD after the restore comes when the node's own are reserved again.
      const ofNode1 = live.filter(({ node }) => node === 'node-1');
      expect(await withoutReservation(ofNode1)).toEqual([]);
      await inParallel(2, others, (pod, i) => add(pod, { address: addressOf(losers[i + 1]) }));
    } finally {
      process.kill(agent2.pid, 'SIGCONT');
    }
    const [fresh] = later.filter(({ node }) => node === 'node-2');
    if (fresh === undefined) throw new Error('no pod');
    await add(fresh);
    const lost = [...losers, second];
    const kept = live.filter((pod) => !lost.includes(pod));
    expect(await withoutReservation([...kept, ...winners])).toEqual([]);

    // Reported: in the metric, on both pods, on both pools.
    expect(await conflictsCounted('node-2')).toBe(lost.length);
    expect(await conflictsCounted('node-1')).toBe(0);
    for (const [i, loser] of lost.entries()) {
      const winner = [...winners, first][i];
      if (winner === undefined) throw new Error('no pod');
      for (const [pod, other] of [
        [loser, winner],
        [winner, loser],
      ] as const) {
        await waitFor(`pod ${pod.name} says that ${other.name} has its address too`, async () =>
          (await conflictEvents(pod)).some(
            (message) => message.includes(addressOf(loser)) && message.includes(`/${other.name},`),
          ),
        );
      }
    }
    await waitFor('pool blue names the addresses that have two users', async () => {
      const { status, message = '' } = (await conflictOf('blue')) ?? {};
      return status === 'True' && losers.every((pod) => message.includes(addressOf(pod)));
    });
    await waitFor(
      'pool reuse does so too',
      async () => (await conflictOf('reuse'))?.message.includes('10.2.0.1 by pod default/r-1') === true,
    );

    expect(await documented('get ippools -o')).toContain(addressOf(losers[0]));
    expect(await documented('reason=AddressConflict')).toContain('delete one of the two pods');

    // The pool that was made after the snapshot is gone, and its reservation is not.
    await waitFor('the audit misses pool green', async () => (await auditFindings('PoolMissing')) === 1);
    await waitFor('an Event says so', async () => (await documented('reason=PoolMissing')).includes('green'));
    await cluster.createPool('green', { subnet: '10.3.0.0/24', cooldown: '0s' });
    await waitFor('pool green counts it', async () => {
      const { status } = await cluster.api.get(ipPools, { name: 'green' });
      return status?.bound === '1' && (await auditFindings('PoolMissing')) === 0;
    });

    // Somebody ends them, each in another way; none was taken from its new owner until then.
    expect(await withoutReservation(winners)).toEqual([]);
    const [w0, , w2] = winners;
    const [l0, l1, l2] = losers;
    if (w0 === undefined || w2 === undefined || l0 === undefined || l1 === undefined || l2 === undefined) {
      throw new Error('no pod');
    }
    await cluster.deletePod(w0);
    await end(w0);
    await cluster.deletePod(l1);
    await end(l1);
    // Without a DEL: the operator takes them back.
    await inParallel(4, [w2, first, ...gone], (pod) => cluster.deletePod(pod));
    had.delete(w2.uid);
    await waitFor(
      'the pods that had lost their addresses have them again',
      async () => (await withoutReservation([l0, l2, second])).length === 0,
      PATIENCE,
    );
    await waitFor('the end is told', async () => (await conflictEvents(l2, 'Normal')).length > 0);
    expect(await documented('wait ippools')).toContain('ippool.ipam.berth.dev/blue condition met');
    for (const pool of ['blue', 'reuse']) {
      await waitFor(`pool ${pool} has no conflict any more`, async () => {
        const { status, reason } = (await conflictOf(pool)) ?? {};
        return `${status} ${reason}` === 'False NoConflict';
      });
    }

    // The kubelets end the pods that the API server does not know; nothing is left but what the others have.
    for (const pod of [...young, green]) await end(pod);
    await waitFor(
      'the reservations are those of the live pods, and no others',
      async () => {
        const specs = [...(await owners())].map(([address, { owner }]) => `${address} ${owner?.uid}`);
        const expected = [...had].map(([uid, address]) => `${address} ${uid}`);
        return specs.toSorted().join() === expected.toSorted().join();
      },
      PATIENCE,
    );
  });
});
