/** The agent's metrics: names are contract (docs/operations.md). */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { RequestInfo } from '../../kube/client.ts';
import type { Clock } from '../../kube/clock.ts';

/** What the gauges read when they are scraped. */
export interface AgentGauges {
  attachments(): number;
  journalPending(): number;
}

/** What the map has for the key; made when it is asked for first. */
function remembered<V>(map: Map<string, V>, key: string, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

export class AgentMetrics {
  readonly registry: Registry = new Registry();
  readonly #requests: Counter<'command' | 'code'>;
  readonly #seconds: Histogram<'command'>;
  readonly #apiRequests: Counter<'verb' | 'resource' | 'code'>;
  readonly #conflicts: Counter;
  readonly #addressConflicts: Counter;
  readonly #lastSync: Gauge;
  /** Counters and histograms with their labels: to look one up by labels costs more than to count. */
  readonly #counters = new Map<string, Counter.Internal>();
  readonly #observers = new Map<string, Histogram.Internal<'command'>>();
  /** Replaced when there are pools to read. */
  #hintAges: () => Iterable<[pool: string, seconds: number]> = () => [];

  constructor(gauges: AgentGauges) {
    const registers = [this.registry];
    this.#requests = new Counter({
      name: 'berth_agent_requests_total',
      help: 'CNI requests answered, by command and CNI error code (0: success)',
      labelNames: ['command', 'code'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'berth_agent_request_seconds',
      help: 'Seconds from a CNI request to its answer',
      labelNames: ['command'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25],
      registers,
    });
    this.#apiRequests = new Counter({
      name: 'berth_agent_api_requests_total',
      help: 'Requests to the API server, by verb, resource and HTTP status (error: no answer)',
      labelNames: ['verb', 'resource', 'code'],
      registers,
    });
    this.#conflicts = new Counter({
      name: 'berth_agent_create_conflicts_total',
      help: 'Candidates that somebody else had taken first',
      registers,
    });
    this.#addressConflicts = new Counter({
      name: 'berth_address_conflicts_total',
      help: 'Addresses of live attachments that are reserved for somebody else',
      registers,
    });
    this.#lastSync = new Gauge({
      name: 'berth_agent_last_sync_timestamp_seconds',
      help: 'When attachments were last compared with the reservations in the API, in seconds since the Unix epoch',
      registers,
    });
    const hintAges = (): Iterable<[string, number]> => this.#hintAges();
    new Gauge({
      name: 'berth_pool_hint_age_seconds',
      help: 'Seconds since what the hint in the pool status says was true. Grows also while nothing changes. Absent: no hint.',
      labelNames: ['pool'],
      registers,
      collect() {
        this.reset();
        for (const [pool, seconds] of hintAges()) this.set({ pool }, seconds);
      },
    });
    new Gauge({
      name: 'berth_agent_attachments',
      help: 'Attachments on this node that have addresses',
      registers,
      collect() {
        this.set(gauges.attachments());
      },
    });
    new Gauge({
      name: 'berth_agent_journal_pending',
      help: 'Releases and doubtful writes that the API does not have yet',
      registers,
      collect() {
        this.set(gauges.journalPending());
      },
    });
  }

  /** @param times reads the pools that have a hint, and its time in milliseconds since the Unix epoch */
  watchHints(times: () => Iterable<[pool: string, time: number]>, clock: Pick<Clock, 'now'>): void {
    this.#hintAges = () =>
      [...times()].map(([pool, time]) => [pool, Math.max(0, clock.now() - time) / 1_000]);
  }

  answered(command: string, code: number, seconds: number): void {
    const counted = `requests ${command} ${code}`;
    remembered(this.#counters, counted, () => this.#requests.labels(command, String(code))).inc();
    remembered(this.#observers, command, () => this.#seconds.labels(command)).observe(seconds);
  }

  apiRequest({ verb, resource, code }: RequestInfo): void {
    const counted = `${verb} ${resource} ${code}`;
    remembered(this.#counters, counted, () => this.#apiRequests.labels(verb, resource, String(code))).inc();
  }

  conflict(): void {
    this.#conflicts.inc();
  }

  addressConflict(): void {
    this.#addressConflicts.inc();
  }

  synced(nowMs: number): void {
    this.#lastSync.set(nowMs / 1000);
  }
}
