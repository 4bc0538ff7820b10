/** One chaos run: starts everything, loads and breaks it, lets it come to rest, and collects what is to be judged. */
import { copyFile, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SeededRandom } from '../../plugin/agent/testing/random.ts';
import { waitFor } from '../harness/wait.ts';
import { Auditor } from './auditor.ts';
import { Faults } from './faults.ts';
import { Kubelet } from './kubelet.ts';
import { Ledger } from './ledger.ts';
import type { ChaosOptions } from './options.ts';
import { HABITS } from './podworker.ts';
import { Reports } from './reports.ts';
import { type Rest, whenAtRest } from './rest.ts';
import { NodeRuntime } from './runtime.ts';
import { interfacesOf, type Stage, startStage } from './stage.ts';
import { Tally } from './tally.ts';
import { Users } from './users.ts';
import { FaultWindows } from './windows.ts';
import { World } from './world.ts';

const TELL_EVERY_MS = 10_000;
/** Milliseconds in which every kubelet must have done what is due, once nothing is broken any more. */
const SETTLE_MS = 180_000;
/** Milliseconds, beyond what is allowed, for which a run waits to say when what was left over was gone. */
const GIVE_UP_MS = 300_000;

/** Everything that a run leaves to be judged. */
export interface Evidence {
  readonly options: ChaosOptions;
  /** Milliseconds of load and faults. */
  readonly loadMs: number;
  /** Share of that time, over all nodes, beside all faults. */
  readonly calmShare: number;
  readonly tally: Tally;
  readonly windows: FaultWindows;
  readonly ledger: Ledger;
  readonly reports: Reports;
  readonly auditor: Auditor;
  readonly faults: Faults;
  readonly users: Users;
  /** With the pods running. */
  readonly rest: Rest;
  /** With every pod deleted. */
  readonly emptied: Rest;
  /** Programs that ended by themselves, and how often. */
  readonly endedByThemselves: Readonly<Record<string, number>>;
}

/** Milliseconds within which nothing may be left over: the operator's grace and one scan. */
export function restLimitMs({ times }: ChaosOptions): number {
  return (times.orphanGrace + times.scanInterval) * 1_000;
}

/**
 * In the first third: what an older state brings back of a living pod's former sandbox rests for ten minutes, and goes at its
 * agent's next comparison (ADR 0007), which the roll of the agents brings.
 */
function restoreTimes({ minutes, restores }: ChaosOptions): number[] {
  const third = minutes * 60_000 * 0.3;
  return Array.from({ length: restores }, (_, i) => (third * (i + 1)) / restores);
}

type Parts = Omit<Evidence, 'loadMs' | 'calmShare' | 'rest' | 'emptied' | 'endedByThemselves'> & {
  readonly world: World;
};

function build(options: ChaosOptions, stage: Stage, log: (line: string) => void): Parts {
  const now = (): number => performance.now();
  const ledger = new Ledger(now);
  const tally = new Tally();
  const windows = new FaultWindows(now);
  const reports = new Reports();
  const { seed, podMs, sandboxMs, binaryShare, peace, snapshotAgeMs } = options;
  // Everybody has a stream of numbers, so that none changes what another one does.
  const seeds = new SeededRandom(seed);
  const stream = (): (() => number) => new SeededRandom(seeds.below(2 ** 31)).next;
  const { cluster } = stage;
  const { api } = cluster;
  const nodes = [...stage.agents.keys()];
  const slots = options.nodes * options.podsPerNode;
  const users = new Users({ api, ledger, random: stream(), nodes, slots, podMs, now });
  const faults = new Faults({
    stage,
    windows,
    reports,
    random: stream(),
    peace,
    snapshotAgeMs,
    now,
    log,
    restoreAt: restoreTimes(options),
    rollAt: options.minutes * 60_000 * 0.9,
  });
  let containers = 0;
  const kubelets = nodes.map((node) => {
    const random = stream();
    const runtime = new NodeRuntime({
      agent: cluster.agent(node),
      ledger,
      tally,
      random,
      binaryShare,
      now,
    });
    return new Kubelet({
      node,
      api,
      random,
      now,
      interfacesOf,
      runtime,
      habits: { ...HABITS, sandboxMs },
      newContainer: () => `c${(containers += 1)}`,
      isWindingDown: () => world.isWindingDown,
      onFault: (error) => world.fail(error),
    });
  });
  const world = new World({ stage, ledger, reports, users, kubelets, faults, now, log });
  const isRestoring = (): boolean => faults.isRestoring;
  const { restores } = faults;
  const auditor = new Auditor({ cluster, ledger, reports, restores, isRestoring, now });
  return { options, ledger, tally, windows, reports, users, faults, auditor, world };
}

function progress({ tally, faults, auditor, ledger, reports }: Parts, seconds: number): string {
  const done = Object.values(faults.counts).reduce((sum, count) => sum + count, 0);
  const percent = tally.attempts === 0 ? 0 : (100 * tally.successes) / tally.attempts;
  return [
    `${Math.round(seconds)} s: ${tally.successes} ADDs (${percent.toFixed(1)} % of ${tally.attempts})`,
    `${tally.dels} DELs, ${ledger.live().length} live, ${done} faults, ${faults.restores.length} restores`,
    `overlaps ${ledger.overlaps.length}, reported ${reports.conflicts}, lost ${auditor.lost.length}`,
    `last failure ${tally.lastFailure}`,
  ].join('; ');
}

/** What a run tells while it lasts. */
export interface Outlet {
  readonly log: (line: string) => void;
  /** A directory that gets the logs of all programs; absent: they go. */
  readonly logs?: string | undefined;
}

/** @throws Error if the run itself can not go on; what Berth does wrong is in the evidence */
export async function runChaos(options: ChaosOptions, { log, logs }: Outlet): Promise<Evidence> {
  const nodes = Array.from({ length: options.nodes }, (_, i) => `node-${i + 1}`);
  const stage = await startStage(nodes, options.nodes * options.podsPerNode, options.times, log);
  const stop = new AbortController();
  const parts = build(options, stage, log);
  const supervised = [...stage.agents.values(), ...stage.operators];
  const background = Promise.all([
    parts.world.run(stop.signal),
    parts.auditor.run(stop.signal),
    ...supervised.map((each) => each.supervise(stop.signal)),
  ]);
  try {
    // Whatever breaks the run itself ends it at once.
    const work = loadAndRest(parts, stage, log);
    const ended = await Promise.race([work, parts.world.failure, background.then(() => undefined)]);
    if (ended === undefined) throw new Error('the run has ended before its time');
    const endedByThemselves = Object.fromEntries(supervised.map(({ name, ended: times }) => [name, times]));
    return { ...parts, ...ended, endedByThemselves };
  } finally {
    stop.abort();
    await background.catch((error: unknown) => log(`in the end: ${String(error)}`));
    await parts.world.stop();
    if (logs !== undefined) await keepLogs(stage, logs);
    await stage.stop();
  }
}

async function keepLogs({ cluster }: Stage, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const from of [cluster.directory, cluster.controlPlane.directory]) {
    for (const name of await readdir(from)) {
      if (name.endsWith('.log')) await copyFile(join(from, name), join(to, name));
    }
  }
}

async function loadAndRest(
  parts: Parts,
  stage: Stage,
  log: (line: string) => void,
): Promise<Pick<Evidence, 'loadMs' | 'calmShare' | 'rest' | 'emptied'>> {
  const { options, faults, world, windows, ledger } = parts;
  const began = performance.now();
  const end = began + options.minutes * 60_000;
  const faultsEnd = new AbortController();
  const breaking = faults.run(faultsEnd.signal);
  const telling = setInterval(() => log(progress(parts, (performance.now() - began) / 1_000)), TELL_EVERY_MS);
  try {
    await Promise.race([sleep(end - performance.now()), breaking]);
    faultsEnd.abort();
    await breaking;
  } finally {
    clearInterval(telling);
    faultsEnd.abort();
  }
  const loadMs = performance.now() - began;
  const calmShare = windows.calmShare([...stage.agents.keys()], began, performance.now());
  log(progress(parts, loadMs / 1_000));
  world.windDown();
  await whenSettled(world, 'every kubelet has done what is due');
  const giveUpMs = restLimitMs(options) + GIVE_UP_MS;
  const rest = await whenAtRest(stage, ledger, giveUpMs, log);
  log(
    `at rest after ${Math.round(rest.ms / 1_000)} s with ${rest.live} live attachments; deleting every pod`,
  );
  world.clear();
  await whenSettled(world, 'every pod is gone');
  const emptied = await whenAtRest(stage, ledger, giveUpMs, log);
  return { loadMs, calmShare, rest, emptied };
}

async function whenSettled(world: World, what: string): Promise<void> {
  await waitFor(what, () => world.unsettled().length === 0, {
    timeoutMs: SETTLE_MS,
    everyMs: 250,
    onTimeout: () => world.unsettled().join('\n'),
  });
}
