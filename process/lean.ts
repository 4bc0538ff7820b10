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
 * - `--min-semi-space-size` and `--max-semi-space-size`, in MiB: the young generation would grow to 48 MiB under load, and with
 *   the maximum alone it stays at 1: it is collected eight times as often, each time for what is under way, which is not dead yet.
 * - `--heap-growing-percent`: the old generation is collected before it has doubled.
 *
 * Not `--optimize-for-size`: it would save 1 to 5 MB, and cost 15 to 40 % more CPU for each ADD (docs/benchmarks.md, which also
 * has what a larger young generation would save and cost).
 *
 * A program whose heap grows by a hundred megabytes while it starts imports `leangrowing.ts` instead.
 */
import { startAgainWith } from './startagain.ts';

startAgainWith(['--min-semi-space-size=8', '--max-semi-space-size=8', '--heap-growing-percent=20']);
