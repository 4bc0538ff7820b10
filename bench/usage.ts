/** Memory and CPU of a process, as the kernel counts them (proc(5): /proc/pid/status, /proc/pid/stat). */
import { readFileSync } from 'node:fs';

function field(pid: number, name: string): number {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  if (match === null) throw new Error(`/proc/${pid}/status has no ${name}`);
  return Math.round(Number(match[1]) / 1024);
}

/** Resident set size now, in MiB. */
export function rssMb(pid: number): number {
  return field(pid, 'VmRSS');
}

/** The largest resident set size so far, in MiB. */
export function peakRssMb(pid: number): number {
  return field(pid, 'VmHWM');
}

/** CPU time of the process so far, user and system, in milliseconds; the kernel counts it in steps of 10. */
export function cpuMs(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field is the command in parentheses, with anything in it: utime and stime are the 12th and 13th after it.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Adds up what processes spend on the operations of several rounds. */
export class CpuMeter {
  readonly #pids: Readonly<Record<string, number>>;
  readonly #spent = new Map<string, number>();
  #operations = 0;

  /** @param pids by the name under which each is reported */
  constructor(pids: Readonly<Record<string, number>>) {
    this.#pids = pids;
  }

  async around<R>(operations: number, work: () => Promise<R>): Promise<R> {
    const all = Object.entries(this.#pids).map(([name, pid]) => ({ name, pid, before: cpuMs(pid) }));
    const result = await work();
    for (const { name, pid, before } of all) {
      this.#spent.set(name, (this.#spent.get(name) ?? 0) + cpuMs(pid) - before);
    }
    this.#operations += operations;
    return result;
  }

  /** CPU milliseconds for each operation, by process; the same number is CPU seconds for 1,000 of them. */
  perOperation(): Record<string, number> {
    return Object.fromEntries(
      [...this.#spent].map(([name, ms]) => [name, Number((ms / this.#operations).toFixed(2))]),
    );
  }
}
