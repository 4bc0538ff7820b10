/** The oracle sees what it is there for, on a real API server: a duplicate, a loss and a leak that are planted. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ipReservations } from '../../crds/resources.ts';
import type { IPReservation } from '../../crds/types.ts';
import { addressesOf, type Cluster, podCall, startCluster, type TestPod } from '../harness/cluster.ts';
import { Auditor } from './auditor.ts';
import { type Attachment, Ledger } from './ledger.ts';
import { differences, judge, NOTICE_MS, type Restore } from './oracle.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ name: 'oracle', nodes: ['node-1', 'node-2'] });
  await cluster.createPool('blue', { subnet: '10.1.0.0/24', cooldown: '0s' });
  await cluster.createPool('resting', { subnet: '10.2.0.0/24', cooldown: '1h' });
});

afterAll(() => cluster?.stop());

/** A ledger whose clock is a number, and one pod with an address. */
async function oneLivePod(name: string): Promise<{ ledger: Ledger; pod: TestPod; attachment: Attachment }> {
  const ledger = new Ledger(() => performance.now());
  const pod = await cluster.createPod('node-1', name);
  return { ledger, pod, attachment: await add(ledger, pod) };
}

async function add(ledger: Ledger, pod: TestPod, ip?: string): Promise<Attachment> {
  const agent = cluster.agent(pod.node);
  const call = podCall('ADD', pod, agent.ipam({ pools: ['blue'] }), {
    ...(ip !== undefined && { config: { args: { cni: { ips: [ip] } } } }),
  });
  return ledger.added(
    { pod, containerID: call.containerID, ifname: call.ifname },
    addressesOf(await agent.call(call)),
  );
}

const named = (reservations: ReadonlyMap<string, IPReservation>, address: string): string =>
  [...reservations].find(([, { spec }]) => spec.address === address)?.[0] ?? '';

test('what is as it must be is not complained about', async () => {
  const { ledger, pod, attachment } = await oneLivePod('fine');
  expect(differences(ledger.live(), (await cluster.reservations()).values())).toEqual({
    missing: [],
    leaked: [],
  });
  // The same address, but one after the other.
  ledger.ended(attachment);
  await cluster.agent('node-1').call(podCall('DEL', pod, cluster.agent('node-1').ipam({ pools: ['blue'] })));
  await add(ledger, await cluster.createPod('node-1', 'next'), attachment.addresses[0]);
  expect(ledger.overlaps).toEqual([]);
  await cleanUp(ledger);
});

test('an address that two pods have is a duplicate, and a loss', async () => {
  const { ledger, attachment } = await oneLivePod('victim');
  const [address = ''] = attachment.addresses;
  // As a bug would that deletes by name: no agent knows that the reservation is gone, and another one gives the address.
  await cluster.api.delete(ipReservations, { name: named(await cluster.reservations(), address) });
  const auditor = new Auditor({
    cluster,
    ledger,
    reports: { events: [] },
    restores: [],
    isRestoring: () => false,
    now: () => performance.now(),
  });
  await auditor.look();
  expect(auditor.lost).toEqual([expect.stringContaining(address)]);
  await add(ledger, await cluster.createPod('node-2', 'thief'), address);
  expect(ledger.overlaps).toHaveLength(1);
  const { forbidden } = judge({ overlaps: ledger.overlaps, restores: [], events: [], conflictsOn: () => 0 });
  expect(forbidden).toEqual([expect.stringMatching(new RegExp(`^${address}: .*victim.*thief`))]);
  await cleanUp(ledger);
});

test('a reservation that no runtime knows is a leak, in any state', async () => {
  const { ledger, pod } = await oneLivePod('owner');
  const owner = { kind: 'Pod', namespace: 'default', name: pod.name, uid: pod.uid, node: 'node-1' } as const;
  for (const [address, pool, state] of [
    ['10.1.0.250', 'blue', 'Bound'],
    ['10.2.0.251', 'resting', 'Released'],
  ] as const) {
    await cluster.api.create(ipReservations, {
      apiVersion: 'ipam.berth.dev/v1alpha1',
      kind: 'IPReservation',
      metadata: { name: `default.${address}` },
      spec: {
        network: 'default',
        address,
        pool,
        state,
        owner: { ...owner, containerID: 'nobody', ifname: 'net1', cniNetwork: 'test-network' },
        since: '2026-01-31T10:00:00Z',
      },
    });
  }
  const { leaked, missing } = differences(ledger.live(), (await cluster.reservations()).values());
  expect(missing).toEqual([]);
  expect(leaked.toSorted()).toEqual([
    expect.stringMatching(/^10\.1\.0\.250 .*Bound.*owner.*nobody/),
    expect.stringMatching(/^10\.2\.0\.251 .*Released.*owner.*nobody/),
  ]);
  await cleanUp(ledger);
});

/** Nothing of one test is left for the next. */
async function cleanUp(ledger: Ledger): Promise<void> {
  for (const attachment of ledger.live()) ledger.ended(attachment);
  for (const name of (await cluster.reservations()).keys())
    await cluster.api.delete(ipReservations, { name });
}

describe('a duplicate is excused only', () => {
  const restore: Restore = { snapshotAt: 100, from: 200, to: 300 };
  let now = 0;
  const pod = (name: string): TestPod => ({ namespace: 'chaos', name, uid: `uid-${name}`, node: 'node-1' });
  /** Two ADDs of one address, at these times. */
  const overlap = (olderAt: number, newerAt: number): Ledger => {
    const ledger = new Ledger(() => now);
    for (const [name, at] of [
      ['older', olderAt],
      ['newer', newerAt],
    ] as const) {
      now = at;
      ledger.added({ pod: pod(name), containerID: name, ifname: 'net1' }, ['10.1.0.7']);
    }
    return ledger;
  };
  const event = {
    uid: 'uid-older',
    message: 'address 10.1.0.7 of interface net1 is in use by this pod, but …',
    isWithoutReservation: true,
  };
  const found = (ledger: Ledger, reported = true): string[] => {
    const verdict = judge({
      overlaps: ledger.overlaps,
      restores: [restore],
      events: reported ? [event] : [],
      conflictsOn: () => (reported ? 1 : 0),
    });
    const kinds = ['afterRestore', 'unreported', 'endedFirst', 'forbidden'] as const;
    return kinds.flatMap((kind) => verdict[kind].map(() => kind));
  };

  test('if a restore took the older one, and its node has reported it', () => {
    expect(found(overlap(150, 301))).toEqual(['afterRestore']);
    expect(found(overlap(150, 301), false)).toEqual(['unreported']);
  });

  test('if the older one ended before its node could tell', () => {
    const ledger = overlap(150, 301);
    now = 302;
    ledger.ended({ containerID: 'older', ifname: 'net1' });
    expect(found(ledger, false)).toEqual(['endedFirst']);
  });

  test.each([
    ['the snapshot had the older one', 50, 301],
    ['the newer one was there before', 150, 199],
    ['the older one came after', 301, 302],
    ['the agents must have found out', 150, 301 + NOTICE_MS],
  ])('not if %s', (_, olderAt, newerAt) => {
    expect(found(overlap(olderAt, newerAt))).toEqual(['forbidden']);
  });

  test('if the pod of the older one had been removed', () => {
    const ledger = overlap(150, 301);
    ledger.podGone('uid-older', 250);
    expect(found(ledger, false)).toEqual([]);
  });

  test('not by a pod that is removed later', () => {
    const ledger = overlap(50, 301);
    ledger.podGone('uid-older', 302);
    expect(found(ledger)).toEqual(['forbidden']);
  });
});
