/** One rule that a caller may expect to hold. */
import { SUPPORTED_VERSIONS } from '../../plugin/protocol.ts';

export interface Rule {
  /** Name of the rule and of its tests. */
  readonly id: string;
  /** Where it comes from. */
  readonly source: string;
  /** What the source says. */
  readonly text: string;
  /** The versions of the spec that have it: one test for each. Absent: any, and the test is of the newest. */
  readonly versions?: readonly string[];
  /** Where Berth differs on purpose: what it does instead, and why. This is then what the test proves. */
  readonly differs?: string;
}

/** In words, for the document and for titles. */
export function versionsOf({ versions }: Rule): string {
  if (versions === undefined) return 'any';
  return versions.length === SUPPORTED_VERSIONS.length ? 'all' : versions.join(', ');
}
