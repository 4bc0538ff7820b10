/** Memory of a process, as the kernel counts it (proc(5), /proc/pid/status). */
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
