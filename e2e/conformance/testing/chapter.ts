/** Tests that are named by the rules that they prove. */
import { expect, test } from 'vitest';
import { NEWEST_VERSION } from '../../../plugin/protocol.ts';
import type { Rule } from '../rule.ts';
import { CHAPTERS, type ChapterName } from '../rules.ts';

/** One test file's part of the rules. */
export class Chapter {
  readonly #rules: ReadonlyMap<string, Rule>;
  /** `id version` of what was proved. */
  readonly #proved = new Set<string>();

  constructor(name: ChapterName) {
    this.#rules = new Map(CHAPTERS[name].map((rule) => [rule.id, rule]));
  }

  /**
   * One test of the rule for each of its versions.
   * @throws Error for an id that is not in the chapter
   */
  rule(id: string, prove: (version: string) => Promise<void>): void {
    const rule = this.#rules.get(id);
    if (rule === undefined) throw new Error(`there is no rule ${id} in this chapter`);
    for (const version of versionsToTest(rule)) {
      test(`${id} [${version}]: ${rule.differs ?? rule.text}`, async () => {
        await prove(version);
        this.#proved.add(`${id} ${version}`);
      });
    }
  }

  /** The last test of the file: no rule of the chapter is without a test that ran and succeeded. */
  close(): void {
    test('every rule of the chapter is proved, in each of its versions', () => {
      const all = [...this.#rules.values()];
      const wanted = all.flatMap((rule) => versionsToTest(rule).map((version) => `${rule.id} ${version}`));
      expect(wanted.filter((name) => !this.#proved.has(name))).toEqual([]);
    });
  }
}

function versionsToTest({ versions = [NEWEST_VERSION] }: Rule): readonly string[] {
  return versions;
}
