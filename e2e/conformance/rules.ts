/**
 * What a caller may expect of Berth: the rules of the CNI spec and the observable behaviours of the reference IPAM
 * plugins, as data. Each rule has a test of its name, and a line in docs/conformance.md.
 */
import { addRules } from './addrules.ts';
import { referenceRules } from './referencerules.ts';
import type { Rule } from './rule.ts';
import { verbRules } from './verbrules.ts';

/** One test file for each chapter, `<chapter>.test.ts`. */
export const CHAPTERS: Readonly<Record<'add' | 'verbs' | 'reference', readonly Rule[]>> = {
  add: addRules,
  verbs: verbRules,
  reference: referenceRules,
};

export type ChapterName = keyof typeof CHAPTERS;
