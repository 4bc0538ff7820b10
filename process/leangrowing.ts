/**
 * `lean.ts` for a program that holds much, and reads it when it starts: with the settings of the agent the operator spends
 * three times the CPU until it has read 65,000 reservations, nearly all of it on collecting garbage, and its peak is no
 * lower (216 against 199 MB).
 */
import { startAgainWith } from './startagain.ts';

startAgainWith(['--max-semi-space-size=8', '--heap-growing-percent=40']);
