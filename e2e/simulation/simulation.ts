/** One run: a schedule is played, then everything is well again, and in the end nothing may be lost or left over. */
import { ipPools, ipReservations } from '../../crds/resources.ts';
import { leases } from '../../kube/core.ts';
import { takePendingTimers } from '../../kube/testing/fakeclock.ts';
import { act } from './actions.ts';
import { Cluster } from './cluster.ts';
import { leftovers } from './rest.ts';
import { describeStep, type Schedule } from './schedule.ts';

/** Milliseconds between two bookmarks of every watch. */
const BOOKMARK_MS = 55_000;
/** Milliseconds after which the last write of unknown outcome has happened, and its doubt is over. */
const SETTLED_MS = 180_000;
/** Milliseconds until an agent's next comparison, at most. */
const COMPARED_MS = 750_000;
/** Milliseconds at rest after which nothing may be left over, whatever clocks have said: one comparison, and as long again. */
const REST_LIMIT_MS = 2 * COMPARED_MS;
const LOOK_MS = 10_000;
/** Milliseconds at rest after which the operator has taken back what has no owner: the grace and one scan. */
const COLLECTED_MS = 360_000;
/**
 * The same where an agent may not know of a reservation: its next comparison finds it, and releases it if it is old enough by
 * then, or when it is. The time until things have settled counts.
 */
const FOUND_MS = COMPARED_MS - SETTLED_MS + 2 * LOOK_MS;
/** Steps after which an agent may not know of a reservation. */
const FORGETFUL: readonly string[] = ['leftover', 'losePower', 'deleteNode', 'restore'];

export interface Verdict {
  /** The promise that was broken; undefined: all held. */
  readonly violation: string | undefined;
  readonly steps: number;
  /** Faults that struck, by kind. */
  readonly faults: ReadonlyMap<string, number>;
  /** How often reservations were compared with what is known. */
  readonly checks: number;
  /** Milliseconds of simulated time. */
  readonly simulatedMs: number;
}

/**
 * Plays a schedule. The same schedule always ends in the same way.
 * @param trace gets a line for all that happens
 */
export async function run(schedule: Schedule, trace?: (line: string) => void): Promise<Verdict> {
  const cluster = new Cluster(schedule, trace);
  const { oracle, time } = cluster;
  const bookmark = (): void => {
    cluster.server.memory.bookmark();
    time.after(BOOKMARK_MS, bookmark);
  };
  time.after(BOOKMARK_MS, bookmark);
  let played = 0;
  try {
    await cluster.begin();
    await time.advance(5_000);
    for (const step of schedule.steps) {
      if (oracle.violation !== undefined) break;
      await time.advance(step.after);
      cluster.note(`== ${describeStep(step)}`);
      cluster.count(step.do);
      cluster.remember();
      await act(cluster, step);
      played += 1;
    }
    if (oracle.violation === undefined) await comeToRest(cluster);
    const { lost, doubled } = oracle.restored.counts;
    if (lost > 0) cluster.struck.set('lost by a restore', lost);
    if (doubled > 0) cluster.struck.set('doubled by a restore', doubled);
    return {
      violation: oracle.violation?.message,
      steps: played,
      faults: cluster.struck,
      checks: oracle.checks,
      simulatedMs: time.monotonic(),
    };
  } finally {
    cluster.dispose();
    takePendingTimers();
  }
}

async function comeToRest(cluster: Cluster): Promise<void> {
  const { time, oracle } = cluster;
  cluster.note('== everything is well from here on');
  await time.advance(1_000);
  await heal(cluster);
  await time.advance(SETTLED_MS);
  let left = await heal(cluster).then(() => leftovers(cluster));
  const lateMs = lateAfter(cluster);
  let wasLate: readonly string[] = [];
  for (let waited = 0; left.length > 0 && waited < REST_LIMIT_MS; waited += LOOK_MS) {
    if (waited >= lateMs) {
      const late = left.filter((line) => line.startsWith('Bound'));
      // One that came just now may be of an ADD that is not answered yet.
      const still = late.filter((line) => wasLate.includes(line));
      if (still.length > 0) oracle.broken(`left for too long: ${still.join('; ')}`);
      wasLate = late;
    }
    if (oracle.violation !== undefined) return;
    await renewLease(cluster);
    await time.advance(LOOK_MS);
    // One that is being deleted keeps its name until nothing is left of it.
    for (const pool of cluster.setup.pools) await cluster.createPool(pool);
    left = leftovers(cluster);
  }
  oracle.look('the rest');
  if (left.length > 0) oracle.broken(`left at rest: ${left.join('; ')}`);
}

/** What kubelets write all the time: after a restore versions go on, whatever Berth does. */
async function renewLease({ server: { memory }, time }: Cluster): Promise<void> {
  const spec = { renewTime: new Date(time.monotonic()).toISOString() };
  const [lease] = memory.objects(leases);
  if (lease !== undefined) await memory.update(leases, { ...lease, spec });
  else await memory.create(leases, { metadata: { namespace: 'kube-node-lease', name: 'node-1' }, spec });
}

/** Milliseconds at rest after which a Bound reservation that nobody has is there for too long. */
function lateAfter({ struck }: Cluster): number {
  if (!FORGETFUL.some((what) => struck.has(what))) return COLLECTED_MS;
  // A `since` of a clock that was ahead makes it look young.
  return struck.has('clockJump') ? REST_LIMIT_MS : FOUND_MS;
}

/** Every place is reached again, every program runs, and pools and nodes are there. */
async function heal(cluster: Cluster): Promise<void> {
  const { machines, kubelets, operators, setup, server } = cluster;
  for (const link of cluster.links) link.heal();
  for (const { wall } of [...machines.values(), ...operators]) wall.offsetMs = 0;
  for (const node of setup.nodes) {
    await cluster.createNode(node);
    await cluster.taint(node, false);
  }
  for (const [node, kubelet] of kubelets) {
    if (!kubelet.isUp) kubelet.powerOn(false);
    machines.get(node)?.start();
    kubelet.observe();
  }
  for (const pool of setup.pools) await cluster.createPool(pool);
  operators[1].kill();
  operators[0].resume();
  operators[0].start();
  for (const manifest of cluster.manifests.values()) await cluster.createMirror(manifest);
  cluster.note(
    `pools: ${server.memory
      .objects(ipPools)
      .map(({ metadata }) => metadata.name)
      .join()}`,
  );
  cluster.note(`reservations: ${server.memory.objects(ipReservations).length}`);
}
