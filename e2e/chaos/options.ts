/** How long and how hard a chaos run is. */
import { parseArgs } from 'node:util';
import type { Peace } from './faults.ts';
import type { OperatorTimes } from './stage.ts';

export interface ChaosOptions {
  /** Of load and faults; what is waited for afterwards comes on top. */
  readonly minutes: number;
  /** Decides which faults come, and what pods and runtimes do. */
  readonly seed: number;
  readonly nodes: number;
  readonly podsPerNode: number;
  /** Milliseconds that a sandbox lives, on average, and a pod. */
  readonly sandboxMs: number;
  readonly podMs: number;
  /** Share of calls through the binary, 0 to 1. */
  readonly binaryShare: number;
  /** How often etcd is restored. */
  readonly restores: number;
  readonly snapshotAgeMs: number;
  readonly peace: Peace;
  readonly times: OperatorTimes;
  /** What must be reached; 0 where the run is too short to mean anything. */
  readonly adds: number;
}

/** The run of `make chaos`. */
export const FULL: Omit<ChaosOptions, 'seed'> = {
  minutes: 20,
  nodes: 10,
  podsPerNode: 15,
  sandboxMs: 12_000,
  podMs: 30_000,
  binaryShare: 0.2,
  restores: 2,
  snapshotAgeMs: 45_000,
  peace: { agents: 5_000, operators: 60_000, servers: 40_000 },
  times: { orphanGrace: 10, scanInterval: 30 },
  adds: 20_000,
};

export const HELP = `make chaos [MINUTES=20] [SEED=n] [JSON=file]
node e2e/chaos/main.ts [--minutes 20] [--seed n] [--restores n] [--json file]
     [--logs directory] [--help]

10 agents, two operators, etcd and kube-apiserver for real; pods that come, go, move and are removed by force, while
programs and servers are killed (-9) and stopped, and etcd is restored from older snapshots. Afterwards everything is
compared with what the runtimes know.

  --minutes n   how long there are load and faults, 0.5 to 240 (environment: BERTH_CHAOS_MINUTES; default 20).
                20,000 ADDs are asked for in 20 minutes, and in proportion in other runs.
  --seed n      the same faults and pods once more (BERTH_CHAOS_SEED; default: a new one each time)
  --restores n  how often etcd is restored (BERTH_CHAOS_RESTORES; default: once in ten minutes of a run of 20 or more, else
                not at all, as what an older state brings back may rest for ten minutes)
  --json file   where the result goes as JSON too (BERTH_CHAOS_JSON)
  --logs dir    where the logs of all programs are kept (BERTH_CHAOS_LOGS; default: nowhere)

Ends with 0 if everything held, with 1 if not, with 2 for a wrong option. About two cores and 2 GB of memory.
`;

/** A wrong option: its message names option, value and cure. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface Arguments {
  readonly help: boolean;
  readonly options: ChaosOptions;
  /** Paths. */
  readonly json: string | undefined;
  readonly logs: string | undefined;
}

/**
 * @param newSeed used where none is given
 * @throws UsageError
 */
export function parseArguments(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  newSeed: number,
): Arguments {
  const { values } = parse(argv);
  const given = (name: 'minutes' | 'seed' | 'restores' | 'json' | 'logs'): string | undefined => {
    const text = values[name] ?? env[`BERTH_CHAOS_${name.toUpperCase()}`];
    return text === '' ? undefined : text;
  };
  const minutes = numberIn('minutes', given('minutes') ?? String(FULL.minutes), 0.5, 240);
  const seed = numberIn('seed', given('seed') ?? String(newSeed), 0, 2 ** 31 - 1);
  const usual = String(minutes < FULL.minutes ? 0 : Math.floor(minutes / 10));
  const restores = numberIn('restores', given('restores') ?? usual, 0, 20);
  for (const [name, value] of Object.entries({ seed, restores })) {
    if (!Number.isInteger(value)) throw new UsageError(`--${name} is ${value}: give a whole number`);
  }
  return {
    help: values.help,
    json: given('json'),
    logs: given('logs'),
    options: {
      ...FULL,
      minutes,
      seed,
      restores,
      snapshotAgeMs: Math.min(FULL.snapshotAgeMs, minutes * 60_000 * 0.2),
      adds: Math.floor((FULL.adds / FULL.minutes) * minutes),
    },
  };
}

function parse(argv: readonly string[]): {
  values: { minutes?: string; seed?: string; restores?: string; json?: string; logs?: string; help: boolean };
} {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        minutes: { type: 'string' },
        seed: { type: 'string' },
        restores: { type: 'string' },
        json: { type: 'string' },
        logs: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    throw new UsageError(
      `${error instanceof Error ? error.message : String(error)}; --help shows the options`,
      {
        cause: error,
      },
    );
  }
}

function numberIn(name: string, text: string, from: number, to: number): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= from && value <= to)) {
    throw new UsageError(`--${name} is ${JSON.stringify(text)}: give a number from ${from} to ${to}`);
  }
  return value;
}
