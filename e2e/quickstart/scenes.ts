/** The scenes: what Berth does, shown and checked. Each throws when it sees anything else. */
import { type RequestCount, requestDifference } from '../controlplane/metrics.ts';
import { waitFor } from '../harness/wait.ts';
import { seconds } from './narrator.ts';
import { ping, removePodNamespace } from './network.ts';
import { LINKS, type LinkName, PODS, type PodName } from './places.ts';
import type { Stage } from './stage.ts';

/** A pod's addresses by link. */
export type PodAddresses = Readonly<Record<LinkName, readonly string[]>>;

/** What a reservation says, as far as the scenes look at it. */
interface Reservation {
  readonly name: string;
  readonly address: string;
  readonly state: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly podUid: string | undefined;
}

const BOTH: readonly LinkName[] = ['pods', 'storage'];

async function reservationsOf(stage: Stage, pod: PodName): Promise<Reservation[]> {
  const output = await stage.controlPlane.kubectl(['get', 'ipreservations', '-o', 'json']);
  // The API server's answer; the schema in crds/ipreservation.yaml says what is in it.
  const { items } = JSON.parse(output) as {
    items: {
      metadata: { name: string; uid: string; resourceVersion: string };
      spec: { address: string; state: string; owner?: { uid?: string } };
    }[];
  };
  return items
    .map(({ metadata, spec }) => ({
      name: metadata.name,
      uid: metadata.uid,
      resourceVersion: metadata.resourceVersion,
      address: spec.address,
      state: spec.state,
      podUid: spec.owner?.uid,
    }))
    .filter((reservation) => reservation.podUid === stage.uids[pod])
    .toSorted((a, b) => a.name.localeCompare(b.name));
}

/** `eth0 bridge `: the interface and who makes it. */
function labelOf(link: LinkName): string {
  return `${LINKS[link].ifname} ${LINKS[link].type.padEnd(7)}`;
}

function expectSame(what: string, expected: unknown, found: unknown): void {
  if (JSON.stringify(expected) !== JSON.stringify(found)) {
    throw new Error(`${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
  }
}

/** Removes the pod's object as the kubelet does when its containers have ended. */
async function deletePod(stage: Stage, pod: PodName): Promise<void> {
  await stage.controlPlane.kubectl(['delete', 'pod', pod, '--force', '--grace-period=0']);
}

async function attach(stage: Stage, pod: PodName, links: readonly LinkName[]): Promise<PodAddresses> {
  const found: Record<LinkName, readonly string[]> = { pods: [], storage: [] };
  for (const link of links) {
    const addresses = await stage.runtime.add({ pod, uid: stage.uids[pod], link });
    if (!addresses.some((a) => a.includes('.')) || !addresses.some((a) => a.includes(':'))) {
      throw new Error(`pod ${pod} has no address of both families: ${addresses.join(', ')}`);
    }
    found[link] = addresses;
  }
  return found;
}

/** How many requests about reservations the API server answered in between. */
function reservationRequests(
  before: readonly RequestCount[],
  after: readonly RequestCount[],
): { creates: number; others: number } {
  let creates = 0;
  let others = 0;
  for (const { verb, resource, count } of requestDifference(before, after)) {
    if (resource !== 'ipreservations') continue;
    if (verb === 'POST') creates += count;
    else others += count;
  }
  return { creates, others };
}

/** Pods get interfaces, and interfaces addresses. */
export function showAddresses(stage: Stage): Promise<{ web: PodAddresses; db: PodAddresses }> {
  const how = stage.network
    ? 'cnitool runs bridge and macvlan, whose "ipam" is {"type": "berth"}.'
    : 'dist/berth is called as bridge and macvlan would.';
  return stage.say.step(
    'addresses through CNI',
    `Create four pods and give them interfaces: ${how}`,
    async () => {
      const { say, controlPlane } = stage;
      const before = await controlPlane.countRequests();
      const start = performance.now();
      // Like a kubelet: pods at the same time, the interfaces of one pod one after the other.
      const all = Promise.all([
        attach(stage, 'web', BOTH),
        attach(stage, 'db', BOTH),
        attach(stage, 'batch', ['pods']),
        attach(stage, 'report', ['pods']),
      ]);
      const [web, db, batch, report] = await say.waiting('the interfaces', all);
      for (const [pod, addresses] of Object.entries({ web, db, batch, report })) {
        // Its keys are those of the object above.
        const where = `${pod} on ${PODS[pod as PodName]}`.padEnd(17);
        for (const link of BOTH) {
          const [first = '', second = ''] = addresses[link];
          if (first !== '') {
            say.fact(`${where}  ${labelOf(link)}  ${first.padEnd(13)}  ${second}`);
          }
        }
      }
      const ms = performance.now() - start;
      const { creates, others } = reservationRequests(before, await controlPlane.countRequests());
      say.fact(
        `12 addresses in ${seconds(ms)}; the API server counted ${creates} creates and ${others} other requests`,
      );
      return { web, db };
    },
  );
}

/** What the API shows. */
export function showObjects(stage: Stage): Promise<void> {
  const why =
    'Look at the API: one address is one IPReservation, and its name keeps it unique in the cluster.';
  return stage.say.step('pools and reservations shown', why, async () => {
    const { controlPlane } = stage;
    const counted = (bound: number, pools: readonly string[]): Promise<string> =>
      controlPlane.kubectl(['wait', `--for=jsonpath={.status.bound}=${bound}`, '--timeout=30s', ...pools]);
    await stage.say.waiting(
      "the operator's counts, which it writes at most every 5 s",
      Promise.all([
        counted(4, ['ippool/default-v4', 'ippool/default-v6']),
        counted(2, ['ippool/storage-v4', 'ippool/storage-v6']),
      ]),
    );
    const command = ['get', 'ippools,ipreservations'];
    stage.say.shown(`kubectl ${command.join(' ')}`, await controlPlane.kubectl(command));
  });
}

/** The addresses carry traffic from one node to the other. */
export function showPings(stage: Stage, db: PodAddresses): Promise<void> {
  const why = 'Ping from pod web on node-1 to pod db on node-2, over both networks and both families.';
  return stage.say.step('ping from node to node, IPv4 and IPv6', why, async () => {
    const { places, say } = stage;
    const targets = BOTH.flatMap((link) => db[link].map((address) => ({ link, address })));
    const pings = targets.map(({ address }) => ping(places, 'web', address));
    const times = await say.waiting('answers', Promise.all(pings));
    for (const [index, { link, address }] of targets.entries()) {
      say.fact(`web → db  ${labelOf(link)}  ${address}: answered in ${times[index]} ms`);
    }
  });
}

/** An agent is killed, misses a DEL, comes back and has lost nothing. */
export function showKill(stage: Stage, web: PodAddresses): Promise<void> {
  const why = 'Kill the agent of node-1 with SIGKILL, delete pod batch meanwhile, and start the agent again.';
  return stage.say.step('agent killed, nothing lost', why, async () => {
    const { berth, say, runtime, uids } = stage;
    const agent = berth.agents['node-1'];
    const before = await reservationsOf(stage, 'web');
    expectSame('reservations of web before the kill', 4, before.length);
    const killed = agent.pid;
    await agent.kill();
    await runtime.del({ pod: 'batch', uid: uids.batch, link: 'pods' });
    expectSame(
      'reservations of batch while the agent is away',
      2,
      (await reservationsOf(stage, 'batch')).length,
    );
    say.fact(`process ${killed} is dead; the DEL of batch answered success and waits on the node's disk`);

    const start = performance.now();
    await agent.spawn();
    await stage.remember();
    await say.waiting('the agent to serve again', agent.whenUp());
    say.fact(`process ${agent.pid} serves after ${seconds(performance.now() - start)}`);
    const gone = waitFor(
      'the queued DEL is worked off',
      async () => (await reservationsOf(stage, 'batch')).length === 0,
    );
    await say.waiting('the queued DEL', gone);
    say.fact('the DEL of batch is worked off: its two addresses are free');
    await deletePod(stage, 'batch');
    if (stage.network) await removePodNamespace(stage.places, 'batch');

    for (const link of BOTH) {
      const attachment = { pod: 'web', uid: uids.web, link } as const;
      expectSame(
        `ADD of web's ${LINKS[link].ifname} once more`,
        web[link],
        await runtime.addAgain(attachment),
      );
      await runtime.check(attachment);
    }
    expectSame('reservations of web', before, await reservationsOf(stage, 'web'));
    say.fact(
      'web has kept its four reservations untouched; the same ADD gives the same addresses, CHECK agrees',
    );
  });
}

/** A pod vanishes and nobody calls DEL. */
export function showReclaim(stage: Stage): Promise<void> {
  const why =
    'Delete pod report and never call DEL, as after the loss of a node: the operator takes its addresses back.';
  return stage.say.step('addresses of a vanished pod taken back', why, async () => {
    const { say, controlPlane } = stage;
    const left = await reservationsOf(stage, 'report');
    expectSame('reservations of report', 2, left.length);
    if (stage.network) await removePodNamespace(stage.places, 'report');
    await deletePod(stage, 'report');
    const start = performance.now();
    const names = left.map(({ name }) => `ipreservation/${name}`);
    await say.waiting(
      'the operator to take the addresses back',
      controlPlane.kubectl(['wait', '--for=delete', '--timeout=60s', ...names]),
    );
    const free = left.map(({ address }) => address).join(' and ');
    say.fact(`${free} came back by themselves after ${seconds(performance.now() - start)}`);
  });
}
