/** Counts the calls and what they answered. */
import type { FaultWindows, Place } from './windows.ts';

/** How a call went to the agent. */
export type Way = 'binary' | 'socket';

export interface AddRecord {
  readonly node: string;
  readonly way: Way;
  readonly from: number;
  readonly to: number;
  /** CNI error code; 0 is success. */
  readonly code: number;
  /** `msg` of a failure. */
  readonly message: string;
  /** It failed, as it must: its pod had been removed by force, and its kubelet did not know yet. */
  readonly isVain: boolean;
}

/** What runtimes may hear, because it is worth another try: docs/errors.md. */
export const EXPECTED_CODES: readonly number[] = [11, 101];

export interface AddTotals {
  readonly attempts: number;
  readonly successes: number;
  readonly byWay: Readonly<Record<Way, number>>;
  readonly failuresByCode: Readonly<Record<string, number>>;
  /** Those whose pod was gone. */
  readonly vain: number;
  /** All others. */
  readonly byPlace: Readonly<Record<Place, { readonly attempts: number; readonly successes: number }>>;
  /** Milliseconds of the successes beside all faults. */
  readonly calmMs: { readonly p50: number; readonly p99: number };
  /** Failures beside all faults, by code and the message without what differs each time. */
  readonly calmFailures: Readonly<Record<string, number>>;
  /** One line for each failure with a code that no ADD may answer. */
  readonly unexpected: readonly string[];
}

/** Failures of one kind under one line: names, addresses and numbers differ each time. */
function kindOf({ code, message }: AddRecord): string {
  const common = message
    .replace(/^pod \S+, interface \S+ /, '')
    .replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '<uid>')
    .replace(/\b(?:pod|node)-[\w-]+/g, '<name>')
    .replace(/\d+/g, '#');
  return `${code}: ${common.slice(0, 160)}`;
}

function percentile(sorted: readonly number[], part: number): number {
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0);
}

export class Tally {
  readonly #adds: AddRecord[] = [];
  #successes = 0;
  /** DELs that were answered. */
  dels = 0;
  /** One line for each DEL or repeated ADD that did not answer what it must. */
  readonly wrong: string[] = [];

  /** The first answer to an ADD, whatever it is; repeated ones of a live attachment do not count. */
  add(record: AddRecord): void {
    this.#adds.push(record);
    if (record.code === 0) this.#successes += 1;
  }

  /** The last failure, for whoever watches. */
  get lastFailure(): string {
    const last = this.#adds.findLast(({ code }) => code !== 0);
    return last === undefined ? '-' : kindOf(last);
  }

  get attempts(): number {
    return this.#adds.length;
  }

  get successes(): number {
    return this.#successes;
  }

  totals(windows: FaultWindows): AddTotals {
    const byWay = { binary: 0, socket: 0 };
    const failuresByCode: Record<string, number> = {};
    const byPlace = {
      calm: { attempts: 0, successes: 0 },
      recovery: { attempts: 0, successes: 0 },
      fault: { attempts: 0, successes: 0 },
    };
    const calmFailures: Record<string, number> = {};
    const times: number[] = [];
    let vain = 0;
    for (const record of this.#adds) {
      const place = windows.placeOf(record.node, record.from, record.to);
      const isCalm = place === 'calm';
      byWay[record.way] += 1;
      if (record.code !== 0) failuresByCode[record.code] = (failuresByCode[record.code] ?? 0) + 1;
      if (record.isVain) {
        vain += 1;
        continue;
      }
      byPlace[place].attempts += 1;
      if (record.code === 0) {
        byPlace[place].successes += 1;
        if (isCalm) times.push(record.to - record.from);
        continue;
      }
      if (isCalm) calmFailures[kindOf(record)] = (calmFailures[kindOf(record)] ?? 0) + 1;
    }
    times.sort((a, b) => a - b);
    const unexpected = this.#adds
      .filter(({ code }) => code !== 0 && !EXPECTED_CODES.includes(code))
      .map(({ node, code, message }) => `ADD on ${node}: code ${code}: ${message}`);
    return {
      attempts: this.attempts,
      successes: this.successes,
      byWay,
      failuresByCode,
      vain,
      byPlace,
      calmMs: { p50: percentile(times, 0.5), p99: percentile(times, 0.99) },
      calmFailures,
      unexpected,
    };
  }
}
