/**
 * The agents of many nodes in one process, started at the same moment: `manynodes.ts` spawns it and says which.
 *
 * Each is the product's own, with its own connections, credentials, journal and socket; what they share is a process, as no
 * machine here has room for a thousand.
 */

import { connect } from '../kube/client.ts';
import { systemClock, systemRandom } from '../kube/clock.ts';
import { silentLog } from '../kube/log.ts';
import { Agent, journalGauges, prepareStateDir } from '../plugin/agent/agent.ts';
import { openJournal } from '../plugin/agent/journal.ts';
import { AgentMetrics } from '../plugin/agent/metrics.ts';
import { serveSocket } from '../plugin/agent/server.ts';

/** One of the agents. */
export interface AgentPlace {
  readonly node: string;
  readonly kubeconfig: string;
  readonly socket: string;
  readonly stateDir: string;
}

/** What the process tells once all serve. */
export interface Started {
  /** Milliseconds from the start of all of them until each opened its socket. */
  readonly ms: readonly number[];
}

async function startAgent(place: AgentPlace, signal: AbortSignal, onServing: () => void): Promise<void> {
  const { node, kubeconfig, socket, stateDir } = place;
  prepareStateDir(stateDir);
  const journal = openJournal({
    stateDir,
    now: systemClock.now(),
    onDamage: (setAside, reason) => console.error(`${node}: ${setAside}: ${reason}`),
    onCompactionFailed: (error) => console.error(node, error),
  });
  const metrics = new AgentMetrics(journalGauges(journal));
  const api = await connect({ kubeconfig, userAgent: 'berth-agent/bench' });
  const agent = new Agent({
    node,
    socket,
    stateDir,
    api,
    journal,
    metrics,
    clock: systemClock,
    random: systemRandom,
    log: { ...silentLog, error: (fields, message) => console.error(node, message, fields) },
    serve: async (options) => {
      const server = await serveSocket(options);
      onServing();
      return server;
    },
  });
  try {
    await agent.run(signal);
  } finally {
    await api.close();
    journal.close();
  }
}

async function runAll(places: readonly AgentPlace[]): Promise<void> {
  const stop = new AbortController();
  // The parent has gone or wants no more.
  process.on('disconnect', () => stop.abort());
  const begun = performance.now();
  const ms: number[] = [];
  const onServing = (): void => {
    ms.push(performance.now() - begun);
    if (ms.length === places.length) process.send?.({ ms } satisfies Started);
  };
  await Promise.all(places.map((place) => startAgent(place, stop.signal, onServing)));
}

if (process.argv[1] === import.meta.filename) {
  process.once('message', (places) => {
    // Only manynodes.ts sends.
    runAll(places as AgentPlace[]).catch((error: unknown) => {
      console.error(error);
      process.exit(1);
    });
  });
}
