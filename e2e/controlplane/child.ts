/**
 * Server processes that never outlive their owner, unless they are meant to.
 *
 * - An owned child is killed by the kernel when its parent dies (`setpriv --pdeathsig`), and by an exit hook.
 * - A detached child stays after its parent; it is found again by pid and start time, so that a pid that the
 *   machine has given to somebody else is never signalled.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, closeSync, constants, openSync, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Names one process for all time: pids are used again, the pair with the start time is not. */
export interface ProcessId {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of /proc/<pid>/stat (proc(5)). */
  readonly startTime: string;
}

/** How a server process is started. */
export interface ServerOptions {
  readonly command: string;
  readonly args: readonly string[];
  /** stdout and stderr are appended here. */
  readonly logFile: string;
  /** CPU list as `taskset -c` takes it; absent: any. */
  readonly cpus?: string | undefined;
  /** True: the process stays when this one ends. */
  readonly detached: boolean;
}

const owned = new Set<ProcessId>();
let hooked = false;

function onPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch (error) {
      if (error instanceof Error) return false;
      throw error;
    }
  });
}

function read<T>(reading: () => T): T | undefined {
  try {
    return reading();
  } catch (error) {
    // The process or thread is gone.
    if (error instanceof Error) return undefined;
    throw error;
  }
}

/** Fields of a `stat` file of proc(5), from the third one on: the state. */
function statFields(file: string): string[] | undefined {
  const text = read(() => readFileSync(file, 'utf8'));
  // The second field is the name in brackets and may itself contain anything.
  return text?.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** Whether a thread besides the dead main one lives: until it ends too, files, locks and sockets stay open. */
function hasLivingThread(pid: number): boolean {
  const tasks = read(() => readdirSync(`/proc/${pid}/task`)) ?? [];
  return tasks.some((task) => {
    const state = statFields(`/proc/${pid}/task/${task}/stat`)?.[0];
    return state !== undefined && state !== 'Z' && state !== 'X';
  });
}

/** The start time of a running process; undefined where there is none or it is a zombie. */
function startTimeOf(pid: number): string | undefined {
  const fields = statFields(`/proc/${pid}/stat`);
  if (fields === undefined || (fields[0] === 'Z' && !hasLivingThread(pid))) return undefined;
  return fields[19];
}

/** Whether the very process is still there. */
export function isRunning(id: ProcessId): boolean {
  return startTimeOf(id.pid) === id.startTime;
}

/** The identity of the process that has this pid now; undefined where there is none. */
export function identify(pid: number): ProcessId | undefined {
  const startTime = startTimeOf(pid);
  return startTime === undefined ? undefined : { pid, startTime };
}

/** Whether a process of that pid is there at all. */
export function isPidRunning(pid: number): boolean {
  return startTimeOf(pid) !== undefined;
}

/** Sends a signal unless the process is gone. */
export function signalServer(id: ProcessId, name: NodeJS.Signals): void {
  if (!isRunning(id)) return;
  try {
    process.kill(id.pid, name);
  } catch (error) {
    // It may have ended between the look and the signal.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

function launch(options: ServerOptions): { command: string; args: string[] } {
  const words = [options.command, ...options.args];
  if (options.cpus !== undefined) words.unshift('taskset', '-c', options.cpus);
  if (!options.detached && onPath('setpriv')) words.unshift('setpriv', '--pdeathsig', 'KILL', '--');
  const [command = options.command, ...args] = words;
  return { command, args };
}

function spawned(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('spawn', () => {
      if (child.pid === undefined) reject(new Error('a spawned process has no pid'));
      else resolve(child.pid);
    });
  });
}

/** Starts a server process. @throws Error where its program or a wrapper (taskset) cannot be started */
export async function startServer(options: ServerOptions): Promise<ProcessId> {
  const { command, args } = launch(options);
  const log = openSync(options.logFile, 'a');
  let child: ChildProcess;
  let pid: number;
  try {
    child = spawn(command, args, { stdio: ['ignore', log, log], detached: options.detached });
    pid = await spawned(child);
  } finally {
    closeSync(log);
  }
  child.unref();
  // One that has ended already gets a start time that no process has: the caller sees that it is not running.
  const id = { pid, startTime: startTimeOf(pid) ?? 'ended' };
  if (!options.detached) {
    owned.add(id);
    child.once('exit', () => owned.delete(id));
    if (!hooked) {
      hooked = true;
      process.once('exit', () => {
        for (const left of owned) signalServer(left, 'SIGKILL');
      });
    }
  }
  return id;
}

/** Waits until the process is gone. @returns false if it is still there after `ms` */
async function gone(id: ProcessId, ms: number): Promise<boolean> {
  const deadline = performance.now() + ms;
  while (isRunning(id)) {
    if (performance.now() > deadline) return false;
    await sleep(20);
  }
  return true;
}

/** SIGKILL, and waits for the end. */
export async function killServer(id: ProcessId): Promise<void> {
  signalServer(id, 'SIGKILL');
  if (!(await gone(id, 30_000))) throw new Error(`process ${id.pid} did not end within 30 s of SIGKILL`);
}

/** SIGTERM, after `graceMs` SIGKILL, and waits for the end. */
export async function stopServer(id: ProcessId, graceMs = 10_000): Promise<void> {
  signalServer(id, 'SIGTERM');
  // A stopped process (SIGSTOP) does not see SIGTERM.
  signalServer(id, 'SIGCONT');
  if (!(await gone(id, graceMs))) await killServer(id);
}
