/** What the steps of a schedule do to a cluster. */
import type { Cluster } from './cluster.ts';
import { leaveOver } from './people.ts';
import { fallBehind, restoreApi } from './restore.ts';
import type { Action, Place, Step } from './schedule.ts';

type Doing = {
  readonly [K in Action['do']]: (cluster: Cluster, step: Extract<Action, { do: K }>) => void | Promise<void>;
};

/** Milliseconds after which the pods of a deleted node are deleted too. */
const POD_GC_MS = 50_000;

const PLACES: readonly Place[] = ['operator', 'node-1', 'node-2', 'node-3'];

/** Does one step. What comes to an end later does so by itself. */
export async function act(cluster: Cluster, step: Step): Promise<void> {
  // Each member takes the step of its own name; the compiler can not follow that.
  const work = DOINGS[step.do] as (cluster: Cluster, step: Step) => void | Promise<void>;
  await work(cluster, step);
}

/** Later, and whatever it throws is a broken promise of the simulation itself. */
function later(cluster: Cluster, ms: number, work: () => void | Promise<void>): void {
  cluster.time.after(ms, () => {
    Promise.resolve()
      .then(work)
      .catch((error: unknown) => cluster.oracle.broken(`the simulation failed: ${String(error)}`));
  });
}

/** Every kind of step that there is. */
export function isStepKind(text: string): text is Action['do'] {
  return Object.hasOwn(DOINGS, text);
}

const DOINGS: Doing = {
  create: (cluster, { pod, node, isStatic }) => cluster.createPod(pod, node, isStatic),
  delete: (cluster, { pod, how }) => cluster.deletePod(pod, how),
  replace: async (cluster, { pod, node }) => {
    if (cluster.pod(pod) === undefined || cluster.manifests.has(pod)) return;
    await cluster.deletePod(pod, 'force');
    await cluster.createPod(pod, node, false);
  },
  finish: (cluster, { pod, phase }) => cluster.setPhase(pod, phase),
  deleteMirror,
  errand: (cluster, { pod, errand }) => {
    for (const { workers } of cluster.kubelets.values()) {
      for (const worker of workers.values()) {
        if (worker.pod.name === pod && worker.wanted === 'run') worker.ask(errand);
      }
    }
  },
  leftover: (cluster, { pod }) => leaveOver(cluster, pod),
  gc: (cluster, { node }) => {
    promiseNothingOn(cluster, node);
    const gc = cluster.kubelets.get(node)?.gc();
    gc?.catch((error: unknown) => cluster.oracle.broken(`GC: ${String(error)}`));
  },
  restartRuntime: (cluster, { node }) => cluster.kubelets.get(node)?.restartRuntime(),
  killAgent: (cluster, { node, effects, backMs }) => {
    const machine = cluster.machines.get(node);
    const back = (): void => {
      cluster.count('killed');
      later(cluster, backMs, () => startIfUp(cluster, node));
    };
    if (effects >= 0) {
      machine?.killAfter(effects, back);
    } else {
      machine?.kill();
      back();
    }
  },
  stopAgent: (cluster, { node, backMs }) => {
    cluster.machines.get(node)?.stop();
    const again = (): void => {
      // A stop takes its time: until it has ended, there is nothing to start.
      if (cluster.machines.get(node)?.isStopping === true) later(cluster, 1_000, again);
      else startIfUp(cluster, node);
    };
    later(cluster, backMs, again);
  },
  losePower: (cluster, { node, bytes, backMs }) => {
    promiseNothingOn(cluster, node);
    const machine = cluster.machines.get(node);
    const kubelet = cluster.kubelets.get(node);
    if (machine === undefined || kubelet?.isUp !== true) return;
    kubelet.powerOff();
    machine.losePower(bytes);
    later(cluster, backMs, () => {
      if (kubelet.isUp) return;
      kubelet.powerOn(false);
      machine.start();
    });
  },
  deleteNode,
  taintNode: (cluster, { node, forMs }) => {
    later(cluster, forMs, () => cluster.taint(node, false));
    return cluster.taint(node, true);
  },
  killOperator: (cluster, { effects, backMs }) => {
    const [operator] = cluster.operators;
    const back = (): void => later(cluster, backMs, () => operator.start());
    if (effects >= 0) {
      operator.killAfter(effects, back);
    } else {
      operator.kill();
      back();
    }
  },
  secondOperator: (cluster, { forMs }) => {
    const [, second] = cluster.operators;
    second.start();
    later(cluster, forMs, () => second.kill());
  },
  pauseOperator: (cluster, { forMs, bothMs }) => {
    const [first, second] = cluster.operators;
    first.pause();
    second.start();
    later(cluster, forMs, () => first.resume());
    later(cluster, forMs + bothMs, () => second.kill());
  },
  fault: (cluster, { at, effect, skip }) => {
    cluster.link(at)?.faults.push({ effect, skip });
  },
  storm: (cluster, { at, forMs, rate }) => {
    const link = cluster.link(at);
    if (link !== undefined) link.storm = { until: cluster.time.monotonic() + forMs, rate };
  },
  partition: (cluster, { at, forMs }) => cutOff(cluster, at, forMs),
  outage: (cluster, { forMs }) => {
    for (const place of PLACES) cutOff(cluster, place, forMs);
  },
  stall: (cluster, { at, of, forMs }) => {
    cluster.link(at)?.stall(of, cluster.time.monotonic() + forMs);
  },
  expire: (cluster, { at }) => {
    cluster.server.memory.compact();
    cluster.link(at)?.breakWatches();
  },
  restore: async (cluster, step) => {
    if (step.downMs > 0) {
      for (const place of PLACES) cutOff(cluster, place, step.downMs);
    }
    await restoreApi(cluster, step);
  },
  stale: (cluster, step) => {
    const catchUp = fallBehind(cluster, step);
    if (catchUp !== undefined) later(cluster, step.forMs, catchUp);
  },
  clockJump: (cluster, { at, byMs }) => {
    const wall = at === 'operator' ? cluster.operators[0].wall : cluster.machines.get(at)?.wall;
    if (wall !== undefined) wall.offsetMs += byMs;
  },
  resizePool: (cluster, { pool, last }) => cluster.resizePool(pool, last),
  deletePool: (cluster, { pool, backMs }) => {
    later(cluster, backMs, () => cluster.createPool(pool));
    return cluster.deletePool(pool);
  },
};

async function deleteMirror(
  cluster: Cluster,
  { pod, backMs }: { pod: string; backMs: number },
): Promise<void> {
  const manifest = await cluster.deleteMirror(pod);
  if (manifest === undefined) return;
  const link = cluster.machines.get(manifest.node)?.link;
  const again = async (): Promise<void> => {
    if (link?.isAway === true) later(cluster, 1_000, again);
    else await cluster.createMirror(manifest);
  };
  later(cluster, backMs, again);
}

async function deleteNode(
  cluster: Cluster,
  { node, machine: which, backMs }: Extract<Action, { do: 'deleteNode' }>,
): Promise<void> {
  const machine = cluster.machines.get(node);
  const kubelet = cluster.kubelets.get(node);
  if (machine === undefined || kubelet?.isUp !== true) return;
  promiseNothingOn(cluster, node);
  if (which === 'new') {
    kubelet.powerOff();
    machine.wipe();
  }
  await cluster.deleteNode(node);
  let isBack = false;
  later(cluster, POD_GC_MS, async () => {
    for (const { pod } of isBack ? [] : [...kubelet.options.podsHere().values()]) {
      if (!pod.isStatic) await cluster.deletePod(pod.name, 'force');
    }
  });
  later(cluster, backMs, async () => {
    isBack = true;
    await cluster.createNode(node);
    if (which === 'new' && !kubelet.isUp) {
      kubelet.powerOn(true);
      machine.start();
    }
    for (const manifest of cluster.manifests.values()) {
      if (manifest.node === node) await cluster.createMirror(manifest);
    }
  });
}

/** What the runtime or the journal of the node has lost may be given back. */
function promiseNothingOn({ oracle }: Cluster, node: string): void {
  oracle.promiseNothing(({ pod }) => pod.node === node);
}

function startIfUp(cluster: Cluster, node: string): void {
  if (cluster.kubelets.get(node)?.isUp === true) cluster.machines.get(node)?.start();
}

function cutOff(cluster: Cluster, place: Place, ms: number): void {
  const link = cluster.link(place);
  if (link === undefined || link.isAway) return;
  link.isAway = true;
  cluster.count('cut off');
  later(cluster, ms, () => {
    link.isAway = false;
    cluster.kubelets.get(place)?.observe();
  });
}
