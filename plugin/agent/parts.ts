/** The agent's parts and how they are put together, apart from what feeds them (watches) and asks them (the socket). */
import { Candidates } from '../../ipam/candidates.ts';
import type { Api, KubeObject } from '../../kube/api.ts';
import type { Clock, Random } from '../../kube/clock.ts';
import type { Log } from '../../kube/log.ts';
import type { EventRecorder } from '../../kube/recorder.ts';
import { Annotator, watched } from './annotate.ts';
import { Attachments } from './attachments.ts';
import { Canary } from './canary.ts';
import { Claimer } from './claim.ts';
import { Conflicts } from './conflicts.ts';
import { DeleteQueue, type WatchDirectory } from './deletes.ts';
import { DoubtList } from './doubts.ts';
import { EndedPods } from './endedpods.ts';
import { ExactClaimer } from './exact.ts';
import { GiveBack } from './giveback.ts';
import { Handler } from './handler.ts';
import type { Journal } from './journal.ts';
import { Leftovers } from './leftovers.ts';
import { KeyedLock } from './lock.ts';
import type { AgentMetrics } from './metrics.ts';
import { Occupancy } from './occupancy.ts';
import { AddOutcome } from './outcome.ts';
import { OwnerResolver, type PodFacts } from './owners.ts';
import { PodEvents } from './podevents.ts';
import { PoolTable } from './pools.ts';
import { Reasserter } from './reassert.ts';
import { Rebinder } from './rebind.ts';
import { Releaser } from './release.ts';
import { Settler } from './settle.ts';
import { ownAddresses } from './state.ts';
import { Surroundings } from './surroundings.ts';
import { NodeSync } from './sync.ts';
import { ReservationWriter } from './writer.ts';

export interface PartsOptions {
  readonly node: string;
  readonly stateDir: string;
  readonly api: Api;
  readonly journal: Journal;
  readonly metrics: AgentMetrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Where Events go. */
  readonly recorder: Pick<EventRecorder, 'event'>;
  readonly watchDirectory?: WatchDirectory;
  /** What the watches have; undefined for what they have not shown (yet). */
  readonly cachedPod: (namespace: string, name: string) => PodFacts | undefined;
  readonly cachedNode: () => KubeObject | undefined;
  readonly cachedNamespace: (name: string) => KubeObject | undefined;
}

export interface Parts {
  /** To be fed by a watch. */
  readonly pools: PoolTable;
  readonly occupancy: Occupancy;
  readonly attachments: Attachments;
  readonly handler: Handler;
  readonly releaser: Releaser;
  readonly doubts: DoubtList;
  readonly annotator: Annotator;
  readonly sync: NodeSync;
  readonly leftovers: Leftovers;
  /** To be told of each pod that the watch says is deleted. */
  readonly ended: EndedPods;
  readonly conflicts: Conflicts;
  /** To be told of the watches' breaks. */
  readonly canary: Canary;
  readonly deletes: DeleteQueue;
}

export function buildParts(options: PartsOptions): Parts {
  const { api, clock, random, log, node, metrics, stateDir, cachedPod } = options;
  const journal = watched(options.journal, (namespace, name) => annotator.look(namespace, name));
  const lock = new KeyedLock();
  const occupancy = new Occupancy({ api, clock, own: (network) => ownAddresses(journal.state, network) });
  const pools = new PoolTable((name, removed) => {
    occupancy.forgetExhausted(name);
    const pool = pools.entries.get(name)?.pool;
    if (pool !== undefined) {
      occupancy.learn(pool, pools.hint(name));
    }
    if (removed !== undefined) {
      occupancy.forgetPool(removed.network, name);
    }
  });
  metrics.watchHints(() => pools.hintTimes(), clock);
  const owners = new OwnerResolver({ api, node, cachedPod });
  const settler = new Settler({ api, clock, random });
  const giveBack = new GiveBack({ api, clock, log, pools, occupancy });
  const releaser = new Releaser({ clock, log, journal, lock, giveBack });
  const onOlderState = (): void => canary.reconnected();
  const doubts = new DoubtList({ clock, log, journal, lock, settler, giveBack, onOlderState });
  const onLost = (key: string): void => conflicts.suspect(key);
  const onOlderAnswer = onOlderState;
  const writer = new ReservationWriter({ api, clock, journal, settler, onOlderAnswer, onLost });
  const candidates = new Candidates(random);
  const onConflict = (): void => metrics.conflict();
  const events = new PodEvents({ recorder: options.recorder, cachedPod });
  const conflicts = new Conflicts({ clock, log, events, onFound: () => metrics.addressConflict() });
  const annotator = new Annotator({ api, clock, log, journal, pools, owners, events, cachedPod });
  const outcome = new AddOutcome({ log, journal, giveBack, doubts });
  const attachments = new Attachments({
    clock,
    journal,
    lock,
    owners,
    occupancy,
    claimer: new Claimer({ clock, random, occupancy, candidates, writer, onConflict }),
    settler,
    outcome,
    exact: new ExactClaimer({
      occupancy,
      journal,
      settler,
      writer,
      onLost,
    }),
    rebinder: new Rebinder({ api, clock, journal, lock, settler, outcome, releaser }),
    pools,
    releaser,
    surroundings: new Surroundings(options),
  });
  const ended = new EndedPods({ clock, journal, owners, cachedPod });
  const leftovers = new Leftovers({ clock, log, journal, lock, owners, settler, giveBack });
  const sync = new NodeSync({
    api,
    log,
    node,
    journal,
    lock,
    owners,
    settler,
    reasserter: new Reasserter({ api, clock, log, journal, settler }),
    conflicts,
    leftovers,
    ended,
  });
  const compare = (): Promise<void> => sync.compare({ isRestored: true });
  const canary = new Canary({ api, clock, log, journal, ended, compare });
  return {
    pools,
    occupancy,
    attachments,
    releaser,
    doubts,
    annotator,
    handler: new Handler({
      attachments,
      canary,
      clock,
      log,
      events,
      onAnswered: (command, code, seconds) => metrics.answered(command, code, seconds),
    }),
    sync,
    leftovers,
    ended,
    conflicts,
    canary,
    deletes: new DeleteQueue({
      stateDir,
      clock,
      log,
      ...(options.watchDirectory !== undefined && { watchDirectory: options.watchDirectory }),
      addedAt: (key) => journal.state.attachments.get(key)?.addedAt,
      del: (id) => attachments.delLater(id),
    }),
  };
}
