/**
 * Loaded before the built agent (`node --import`): on SIGUSR2 it collects garbage and writes what memory is then in use
 * to `<state-dir>-memory`. The product knows nothing of it.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const stateDir = process.argv.find((arg) => arg.startsWith('--state-dir='))?.slice('--state-dir='.length);
if (stateDir === undefined) throw new Error('heap.ts needs an agent with --state-dir=<directory>');
const file = `${stateDir}-memory`;

setFlagsFromString('--expose-gc');
// The flag makes it a global of new contexts.
const collect = runInNewContext('gc') as () => void;

process.on('SIGUSR2', () => {
  collect();
  const { rss, heapUsed, external } = process.memoryUsage();
  writeFileSync(`${file}.tmp`, JSON.stringify({ rss, heap: heapUsed + external }));
  renameSync(`${file}.tmp`, file);
});
