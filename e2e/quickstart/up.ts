/** `make quickstart`: see README.md beside this file. */
import { existsSync, readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { withLock } from '../controlplane/lock.ts';
import { tail } from '../controlplane/run.ts';
import { Narrator } from './narrator.ts';
import { type Places, placesOf } from './places.ts';
import { readState } from './record.ts';
import { showSummary } from './summary.ts';
import { isThere, tearDown } from './teardown.ts';
import { tour } from './tour.ts';

async function replaceOld(places: Places, say: Narrator): Promise<void> {
  if (!(await isThere(places))) return;
  const state = await readState(places);
  const what =
    state?.complete === true ? 'The quickstart that is running' : 'What is left of an earlier quickstart';
  say.line(`${what} is removed first and begun anew (make quickstart-down removes it for good).`);
  await say.waiting('the old processes to end', tearDown(places));
}

/** Our own programs log JSON: the time, the level and the words are enough here. */
function readable(line: string): string {
  if (!line.startsWith('{')) return line;
  try {
    // Fields of process/log.ts; a torn or foreign line is shown as it is.
    const { time, level, msg, error } = JSON.parse(line) as Record<string, unknown>;
    const { message } = (error ?? {}) as { message?: unknown };
    const more = typeof message === 'string' ? `: ${message}` : '';
    return typeof msg === 'string' ? `${String(time).slice(11, 23)} ${String(level)} ${msg}${more}` : line;
  } catch (failure) {
    if (failure instanceof SyntaxError) return line;
    throw failure;
  }
}

/** The ends of the logs of operator and agents. */
async function logTails(places: Places): Promise<string[]> {
  const lines: string[] = [];
  const names = existsSync(places.directory) ? await readdir(places.directory) : [];
  for (const name of names.filter((each) => each.endsWith('.log')).toSorted()) {
    const path = join(places.directory, name);
    lines.push(`  The end of ${path}:`);
    for (const line of tail(readFileSync(path, 'utf8'), 5).split('\n')) {
      lines.push(`    ${readable(line).slice(0, 300)}`);
    }
  }
  if (existsSync(places.controlPlane)) lines.push(`  etcd and kube-apiserver log in ${places.controlPlane}.`);
  return lines;
}

async function explain(places: Places, say: Narrator, error: unknown): Promise<void> {
  const message = error instanceof Error ? error.message : String(error);
  const cause = error instanceof Error && error.cause instanceof Error ? ` (${error.cause.message})` : '';
  say.line();
  const [first, ...rest] = message.split('\n').map(readable);
  say.line(`✗ Failed at ${say.current ?? 'the start'}: ${first}${cause}`);
  for (const line of rest) say.line(`    ${line}`);
  for (const line of await logTails(places)) say.line(line);
  say.line();
  say.line('What was started is still there, for you to look at.');
  if (existsSync(places.envFile))
    say.line(`  . ${places.envFile}   gives a shell its kubectl and KUBECONFIG`);
  say.line('  make quickstart-down   removes it');
  say.line('  make quickstart        removes it and tries again');
}

async function main(): Promise<void> {
  const start = performance.now();
  const say = new Narrator();
  const places = placesOf();
  const stop = (signal: NodeJS.Signals): void => {
    say.line();
    say.line(`Stopped by ${signal}. What was started is still there:  make quickstart-down  removes it.`);
    process.exit(130);
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  say.line(
    'Berth quickstart: two simulated nodes on this machine, and pods that get cluster-unique addresses by CNI.',
  );
  say.line(`What it makes is in ${places.directory}, or its name begins with ${places.prefix}.`);
  const body = async (): Promise<void> => {
    try {
      await replaceOld(places, say);
      showSummary(await tour(places, say), performance.now() - start);
    } catch (error) {
      process.exitCode = 1;
      await explain(places, say, error);
    }
  };
  await withLock(places.directory, body, () => say.line('Waiting for another quickstart command to end.'));
}

await main();
