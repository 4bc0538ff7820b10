/** Waits until nothing is missing and nothing is left over, and says how long that took. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ledger } from './ledger.ts';
import { type Differences, differences } from './oracle.ts';
import { attempt } from './pods.ts';
import type { Stage } from './stage.ts';

export interface Rest {
  /** Milliseconds until the reservations were the live attachments exactly; until it was given up, if they were not. */
  readonly ms: number;
  /** Live attachments at the end. */
  readonly live: number;
  /** One line for each thing that was not as it must be. */
  readonly left: readonly string[];
}

const EVERY_MS = 500;

/** Compares until both are equal, or until it is given up. */
export async function whenAtRest(
  stage: Stage,
  ledger: Ledger,
  giveUpMs: number,
  say: (line: string) => void,
): Promise<Rest> {
  const began = performance.now();
  let found: Differences = { missing: [], leaked: ['the API server has not answered'] };
  let said = began;
  for (;;) {
    const reservations = await attempt(stage.cluster.reservations());
    if (reservations !== undefined) found = differences(ledger.live(), reservations.values());
    const ms = performance.now() - began;
    const left = [...found.missing.map(({ line }) => `missing: ${line}`), ...found.leaked];
    if (left.length === 0 || ms >= giveUpMs) return { ms, live: ledger.live().length, left };
    if (performance.now() - said > 10_000) {
      said = performance.now();
      say(`coming to rest for ${Math.round(ms / 1000)} s: ${left.length} differences, such as ${left[0]}`);
    }
    await sleep(EVERY_MS);
  }
}
