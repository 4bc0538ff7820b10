/** `make quickstart-down`: removes every trace of the quickstart. Nothing there is no failure. */
import { cacheRoot } from '../controlplane/assetset.ts';
import { withLock } from '../controlplane/lock.ts';
import { Narrator, seconds } from './narrator.ts';
import { namespacesOf } from './network.ts';
import { type Places, placesOf } from './places.ts';
import { isThere, tearDown } from './teardown.ts';

function counted(count: number, one: string): string {
  return `${count} ${one}${count === 1 ? '' : 's'}`;
}

async function nothingThere(places: Places, say: Narrator): Promise<void> {
  say.line(`No quickstart is here (${places.directory}): nothing to remove.`);
  const others = process.getuid?.() === 0 ? [] : await namespacesOf(places.prefix);
  if (others.length > 0) {
    say.line(
      `The network namespaces ${others.join(', ')} are root's: run this command as root, who made them.`,
    );
  }
}

async function main(): Promise<void> {
  const say = new Narrator();
  const places = placesOf();
  const remove = async (): Promise<void> => {
    if (!(await isThere(places))) {
      await nothingThere(places, say);
      return;
    }
    const start = performance.now();
    const removed = await say.waiting('the processes to end', tearDown(places));
    const parts = [counted(removed.processes, 'process').replace('processs', 'processes')];
    if (removed.namespaces > 0)
      parts.push(`${counted(removed.namespaces, 'network namespace')} with their links`);
    if (removed.files) parts.push(places.directory);
    say.line(`Removed in ${seconds(performance.now() - start)}: ${parts.join(', ')}.`);
    say.line(`Kept for the next time: the programs in ${cacheRoot()}.`);
  };
  await withLock(places.directory, remove, () => say.line('Waiting for another quickstart command to end.'));
}

try {
  await main();
} catch (error) {
  console.error(
    `✗ The quickstart is not wholly removed: ${error instanceof Error ? error.message : String(error)}`,
  );
  console.error('  What is left is found again: remove the cause and run  make quickstart-down  once more.');
  process.exitCode = 1;
}
