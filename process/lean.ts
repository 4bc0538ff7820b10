/**
 * Starts the program once more with settings that keep its memory small; they can only be given at start.
 *
 * Import it first: what is imported after it is then loaded once only. The process is replaced (execve), so its pid,
 * its parent and its open files stay. Where that is not possible the program runs on as it is.
 *
 * What an ADD leaves behind is dead within milliseconds, but V8 and malloc both keep room for more of it than a process
 * on every node of a cluster should:
 * - `MALLOC_ARENA_MAX=1`: glibc gives every thread an arena of its own (mallopt(3)); the threads of node hardly allocate.
 * - `MALLOC_TRIM_THRESHOLD_`, in bytes: what the compiler used at start goes back to the system.
 * - `--max-semi-space-size`, in MiB: the young generation would grow to 48 MiB under load.
 * - `--heap-growing-percent`, `--optimize-for-size`: the old generation is collected before it has doubled.
 */
import process from 'node:process';

/** Set in the environment of the second start. */
const MARK = 'BERTH_LEAN_START';
const NODE_FLAGS = ['--max-semi-space-size=2', '--heap-growing-percent=20', '--optimize-for-size'];
const ENVIRONMENT = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '131072' };

if (process.env[MARK] === undefined && typeof process.execve === 'function') {
  process.execve(
    process.execPath,
    [process.execPath, ...NODE_FLAGS, ...process.execArgv, ...process.argv.slice(1)],
    // The caller's own choice wins.
    { ...ENVIRONMENT, ...process.env, [MARK]: '1' },
  );
}
