/** The binary alone: its process against a socket that only echoes, so that nothing of the agent is in the figures. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CniCall, cniEnv } from '../e2e/harness/cni.ts';
import { measure } from './load.ts';
import { launchAll } from './processes.ts';
import { SocketClient } from './socketclient.ts';
import { median, type Round } from './stats.ts';
import { peakRssMb } from './usage.ts';

/** Medians over rounds; times in milliseconds. */
export interface BinaryAlone {
  /** One request and its answer, without a process. */
  readonly roundTripMs: number;
  /** One process after the other. */
  readonly processMs: number;
  /** Fifty processes started at once, until the last has ended, on all cores. */
  readonly fiftyAtOnceMs: number;
  readonly rssMb: number;
}

const ROUNDS = 5;
const CALLS = 100;
const AT_ONCE = 50;

/** The next line of what the echo says. */
async function said(child: ChildProcess): Promise<void> {
  if (child.stdout === null) throw new Error('the echo has no stdout');
  await once(child.stdout, 'data');
}

async function echo(...args: string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'echo.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await said(child);
  return child;
}

async function stop(child: ChildProcess): Promise<void> {
  child.kill();
  await once(child, 'close');
}

function callTo(socket: string): CniCall {
  const ipam = { type: 'berth', socket };
  return {
    command: 'ADD',
    containerID: 'c0ffee',
    ifname: 'net1',
    config: { cniVersion: '1.1.0', name: 'bench', type: 'bridge', ipam },
  };
}

function fiftyAtOnce(binary: string, call: CniCall): number {
  // The shell starts them faster than Node could; its own time to do so is part of the figure.
  const script = `start=$EPOCHREALTIME; for i in {1..${AT_ONCE}}; do "$0" <<<"$1" >/dev/null & done; wait; echo "$start $EPOCHREALTIME"`;
  const output = execFileSync('bash', ['-c', script, binary, JSON.stringify(call.config)], {
    env: { ...process.env, ...cniEnv(call) },
    encoding: 'utf8',
  });
  const [start = 0, end = 0] = output.trim().replaceAll(',', '.').split(' ').map(Number);
  return (end - start) * 1000;
}

/** The memory of one process while it waits for its answer. */
async function rssOf(binary: string, directory: string): Promise<number> {
  const call = callTo(join(directory, 'silent.sock'));
  const server = await echo(join(directory, 'silent.sock'), 'silent');
  const child = spawn(binary, [], { env: cniEnv(call), stdio: ['pipe', 'ignore', 'inherit'] });
  child.stdin.end(JSON.stringify(call.config));
  await said(server);
  if (child.pid === undefined) throw new Error(`${binary} did not start`);
  const rss = peakRssMb(child.pid);
  child.kill();
  await once(child, 'close');
  await stop(server);
  return rss;
}

/** @throws Error with the output of a call that fails */
export async function measureBinary(binary: string): Promise<BinaryAlone> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-bench-binary-'));
  const socket = join(directory, 'echo.sock');
  const server = await echo(socket);
  try {
    const call = callTo(socket);
    const client = new SocketClient(socket);
    const roundTrips: Round[] = [];
    const processes: Round[] = [];
    const fifties: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      roundTrips.push(await measure(1, CALLS, async () => void (await client.call(call))));
      processes.push(await launchAll(binary, Array<CniCall>(CALLS).fill(call)));
      fifties.push(fiftyAtOnce(binary, call));
    }
    return {
      roundTripMs: median(roundTrips.map((each) => each.p50Ms)),
      processMs: median(processes.map((each) => each.p50Ms)),
      fiftyAtOnceMs: median(fifties),
      rssMb: await rssOf(binary, directory),
    };
  } finally {
    await stop(server);
    rmSync(directory, { recursive: true, force: true });
  }
}
