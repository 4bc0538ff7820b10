/** Whole processes: a plugin's binary started for each call, as a runtime does. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { type CniCall, cniEnv } from '../e2e/harness/cni.ts';
import { type Round, roundOf } from './stats.ts';

/** Between the fields of a call: unlike a tab, the shell does not take two of them for one. */
const SEPARATOR = '\u001f';

/** What became of the calls. */
export interface ProcessRound {
  /** Of those that succeeded; undefined if none did. */
  readonly round: Round | undefined;
  /** What the others answered. */
  readonly failures: readonly string[];
}

/** One shell that makes the calls one after the other. @returns its lines, see launch.bash */
function shell(program: string, calls: readonly CniCall[]): Promise<string[]> {
  const lines = calls.map((call) => {
    const env = cniEnv(call);
    const fields = ['CNI_COMMAND', 'CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_ARGS'].map(
      (name) => env[name] ?? '',
    );
    return [...fields, JSON.stringify(call.config)].join(SEPARATOR);
  });
  return new Promise((resolve, reject) => {
    const child = spawn('bash', [join(import.meta.dirname, 'launch.bash'), program], {
      // What a plugin logs is part of its answer's details, and not of the figures.
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
    child.on('error', reject);
    child.on('close', () => resolve(output.split('\n').filter((line) => line !== '')));
    child.stdin.end(`${lines.join('\n')}\n`);
  });
}

/** Makes the calls with so many callers, each a shell of its own, in their order where there is one caller. */
export async function launch(
  program: string,
  calls: readonly CniCall[],
  callers: number,
): Promise<ProcessRound> {
  const shares = Array.from({ length: Math.min(callers, calls.length) }, (_, i) =>
    calls.filter((_call, n) => n % callers === i),
  );
  const begun = performance.now();
  const lines = (await Promise.all(shares.map((share) => shell(program, share)))).flat();
  const seconds = (performance.now() - begun) / 1000;
  if (lines.length !== calls.length) {
    throw new Error(`${program}: ${lines.length} answers to ${calls.length} calls`);
  }
  const failures = lines.filter((line) => line.startsWith('failed'));
  const times = lines.filter((line) => !line.startsWith('failed')).map(Number);
  return { round: times.length === 0 ? undefined : roundOf(times, seconds), failures };
}

/** One after the other, none of which may fail. @throws Error with the output of the first that does */
export async function launchAll(program: string, calls: readonly CniCall[], callers = 1): Promise<Round> {
  const { round, failures } = await launch(program, calls, callers);
  if (round === undefined || failures.length > 0) throw new Error(`${program}: ${failures[0] ?? 'no calls'}`);
  return round;
}

/** The reference plugin for one node, with files: the floor for any plugin that is a process. */
export function hostLocalCalls(
  dataDir: string,
  command: 'ADD' | 'DEL',
  first: number,
  operations: number,
): CniCall[] {
  const config = {
    cniVersion: '1.0.0',
    name: 'bench',
    type: 'bridge',
    ipam: { type: 'host-local', dataDir, ranges: [[{ subnet: '10.96.0.0/12' }]] },
  };
  return Array.from({ length: operations }, (_, index) => ({
    command,
    containerID: `h${first + index}`,
    ifname: 'eth0',
    config,
  }));
}

/** Calls of a process that does nothing: what any plugin pays here. */
export function nothingCalls(operations: number): CniCall[] {
  return Array.from({ length: operations }, () => ({
    command: 'ADD',
    containerID: 'none',
    ifname: 'eth0',
    config: {},
  }));
}
