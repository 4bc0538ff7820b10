/** What was measured, as tables on the terminal and as JSON. */
import { type Circumstances, circumstances as circumstancesOfNow } from '../e2e/harness/circumstances.ts';
import type { BinaryAlone } from './binary.ts';
import type { CallersResult } from './callers.ts';
import type { CrowdRow } from './crowd.ts';
import type { FlatnessRow } from './flatness.ts';
import type { ManyNodesResult } from './manynodes.ts';
import { PINNED, ROUNDS, say } from './setup.ts';
import type { Row } from './stats.ts';
import type { TrafficResult } from './traffic.ts';

/** One run. What was not asked for is absent. */
export interface Result extends Circumstances {
  readonly rounds: number;
  /** etcd and the API server had the first core, everything else the second. */
  readonly pinned: boolean;
  readonly binaryAlone?: BinaryAlone;
  readonly callers?: CallersResult;
  readonly flatness?: readonly FlatnessRow[];
  readonly shapes?: readonly Row[];
  readonly crowd?: readonly CrowdRow[];
  readonly traffic?: TrafficResult;
  readonly manyNodes?: ManyNodesResult;
}

/** Where and of what it was measured. */
export function circumstances(): Result {
  return {
    ...circumstancesOfNow(),
    rounds: ROUNDS,
    pinned: PINNED,
  };
}

/** Prints rows whose columns stand under each other. */
export function table(cells: readonly (readonly (string | number)[])[]): void {
  const widths = (cells[0] ?? []).map((_, column) =>
    Math.max(...cells.map((row) => String(row[column] ?? '').length)),
  );
  for (const row of cells) {
    say(
      row
        .map((cell, i) => String(cell).padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  }
  say('');
}

const COLUMNS = ['rate/s', 'p50 ms', 'p99 ms', 'ratio', 'lowest to highest/s'];
const cellsOf = (r: Row): (string | number)[] => [
  r.rate,
  r.p50_ms,
  r.p99_ms,
  r.ratio ?? '-',
  r.spread.join(' to '),
];

export function print({ callers, flatness, shapes, crowd, traffic, manyNodes, binaryAlone }: Result): void {
  say('');
  if (callers !== undefined) printCallers(callers);
  if (flatness !== undefined) {
    table([['allocated', 'name', ...COLUMNS], ...flatness.map((r) => [r.allocated, r.name, ...cellsOf(r)])]);
    table([
      ['allocated', 'CPU ms each', ...Object.keys(flatness[0]?.cpuMs ?? {})],
      ...flatness.map((r) => [r.allocated, r.name, ...Object.values(r.cpuMs)]),
    ]);
  }
  if (shapes !== undefined) {
    table([['name', 'callers', ...COLUMNS], ...shapes.map((r) => [r.name, r.callers, ...cellsOf(r)])]);
  }
  if (crowd !== undefined) {
    table([
      [
        '',
        'pods',
        's',
        'failed first',
        'failed',
        'p50 ms',
        'p99 ms',
        'slowest ms',
        'retried for ms',
        'requests per ADD',
      ],
      ...crowd.map((r) => [
        r.name,
        r.pods,
        r.seconds,
        r.failedFirst,
        r.failed,
        r.p50_ms,
        r.p99_ms,
        r.slowest_ms,
        r.slowestRetried_ms,
        r.requestsPerAdd,
      ]),
    ]);
  }
  if (traffic !== undefined) {
    const { addsPerSecond, seconds, bytesPerAdd, idleBytesPerMinute, poolWrites } = traffic;
    say(`bytes for each ADD: ${bytesPerAdd.sent} sent, ${bytesPerAdd.received} received, TLS included`);
    say(
      `an idle agent receives ${idleBytesPerMinute.median} bytes a minute (at most ${idleBytesPerMinute.most}) while another makes ${addsPerSecond} ADDs a second for ${seconds} s; ${poolWrites} writes of the pool's status`,
    );
  }
  if (manyNodes !== undefined) printManyNodes(manyNodes);
  if (binaryAlone !== undefined) {
    const { roundTripMs, processMs, fiftyAtOnceMs, rssMb } = binaryAlone;
    say(
      `binary alone: ${processMs.toFixed(1)} ms, a bare round trip ${roundTripMs.toFixed(2)} ms; 50 at once ${fiftyAtOnceMs.toFixed(0)} ms; RSS ${rssMb} MB`,
    );
  }
  say(PINNED ? 'etcd and API server on core 0, everything else on core 1' : 'all share all cores');
}

function printManyNodes(many: ManyNodesResult): void {
  const { nodes, startSeconds, addsPerSecond, rows } = many;
  table([['name', 'callers', ...COLUMNS], ...rows.map((r) => [r.name, r.callers, ...cellsOf(r)])]);
  say(
    `${nodes} agents at once: half serve after ${startSeconds.half} s, all after ${startSeconds.last} s; ${many.startRequests} requests and ${many.startApiServerCpuMs} ms of the API server's CPU each`,
  );
  say(`memory for each: ${many.apiServerMbPerAgent} MB of the API server, ${many.agentMb} MB of the agents`);
  say(
    `idle while another makes ${addsPerSecond} ADDs a second: ${many.idleBytesPerMinute} bytes and ${many.idleCpuMsPerMinute} ms of CPU a minute`,
  );
}

function printCallers({
  rows,
  cpuMs,
  requestsPerAdd,
  requestsPerDel,
  agentRssMb,
  operatorRssMb,
}: CallersResult): void {
  table([['name', 'callers', ...COLUMNS], ...rows.map((r) => [r.name, r.callers, ...cellsOf(r)])]);
  table([
    ['CPU ms each, 32 callers', ...Object.keys(cpuMs.add)],
    ...(['create', 'add', 'del', 'floor'] as const).map((name) => [name, ...Object.values(cpuMs[name])]),
  ]);
  say(`API requests: ${requestsPerAdd} per ADD, ${requestsPerDel} per DEL`);
  say(
    `RSS: agent ${agentRssMb.rest} MB at rest, ${agentRssMb.peak} MB at its peak; operator ${operatorRssMb} MB at its peak`,
  );
  const create = rows.find((r) => r.name === 'create' && r.callers === 1);
  const binary = rows.find((r) => r.name === 'add/binary');
  if (create !== undefined && binary !== undefined) {
    const more = (binary.p50_ms - create.p50_ms).toFixed(1);
    say(`ADD through the binary adds ${more} ms to a raw create (medians)`);
  }
}
