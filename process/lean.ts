/**
 * Starts the program once more with settings that keep its memory small; they can only be given at start.
 *
 * Import it first: what is imported after it is then loaded once only. The process is replaced (execve), so its pid,
 * its parent and its open files stay. Where that is not possible the program runs on as it is.
 *
 * - `MALLOC_ARENA_MAX=1`: glibc gives every thread an arena of its own, which costs 10 to 15 MB here and gains
 *   nothing, as the threads of node hardly allocate (mallopt(3)).
 * - `--max-semi-space-size=2` (MiB): V8 lets the young generation grow to 48 MiB under load, where what an ADD leaves
 *   behind is dead within milliseconds.
 */
import process from 'node:process';

/** Set in the environment of the second start. */
const MARK = 'BERTH_LEAN_START';
const NODE_FLAGS = ['--max-semi-space-size=2'];
const ENVIRONMENT = { MALLOC_ARENA_MAX: '1', [MARK]: '1' };

if (process.env[MARK] === undefined && typeof process.execve === 'function') {
  process.execve(
    process.execPath,
    [process.execPath, ...NODE_FLAGS, ...process.execArgv, ...process.argv.slice(1)],
    // The caller's own choice wins.
    { ...ENVIRONMENT, ...process.env, [MARK]: '1' },
  );
}
