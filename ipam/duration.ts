/** Durations as pools write them: Go's syntax, whole numbers of ms, s, m and h, as in "1h30m". */

import { IpamError, quote } from './errors.ts';

const UNITS: readonly (readonly [unit: string, ms: number])[] = [
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
];

/**
 * Milliseconds of a text such as "30s", "1h30m" or "250ms".
 * @throws IpamError InvalidDuration
 */
export function parseDuration(text: string): number {
  if (!/^([0-9]+(ms|s|m|h))+$/.test(text)) {
    throw refusal(text, 'is not a duration', 'write whole numbers with ms, s, m or h, such as 30s or 1h30m');
  }
  let total = 0;
  for (const [, digits, unit] of text.matchAll(/([0-9]+)(ms|s|m|h)/g)) {
    total += Number(digits) * (UNITS.find(([name]) => name === unit)?.[1] ?? Number.NaN);
  }
  if (!Number.isSafeInteger(total))
    throw refusal(text, 'is too long', 'write at most some hundred thousand years');
  return total;
}

/**
 * The text of whole milliseconds, without zero parts: 90,000 is "1m30s", 0 is "0s".
 * @throws IpamError OutOfRange for a negative number or a fraction
 */
export function formatDuration(ms: number): string {
  if (!Number.isSafeInteger(ms) || ms < 0) {
    throw new IpamError('OutOfRange', `${ms}`, `${ms} ms is no duration; give whole milliseconds, 0 or more`);
  }
  let rest = ms;
  let text = '';
  for (const [unit, length] of UNITS) {
    const count = Math.floor(rest / length);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * length;
  }
  return text === '' ? '0s' : text;
}

function refusal(text: string, reason: string, cure: string): IpamError {
  return new IpamError('InvalidDuration', text, `${quote(text)} ${reason}; ${cure}`);
}
