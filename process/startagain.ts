/** What `lean.ts` and `leangrowing.ts` do at their import: see there. */
import process from 'node:process';

/** Set in the environment of the second start. */
const MARK = 'BERTH_LEAN_START';
const ENVIRONMENT = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '131072' };

/** Replaces this process by the same program with these flags of node, unless it is that one already. */
export function startAgainWith(flags: readonly string[]): void {
  if (process.env[MARK] !== undefined || typeof process.execve !== 'function') {
    return;
  }
  process.execve(
    process.execPath,
    [process.execPath, ...flags, ...process.execArgv, ...process.argv.slice(1)],
    // The caller's own choice wins.
    { ...ENVIRONMENT, ...process.env, [MARK]: '1' },
  );
}
