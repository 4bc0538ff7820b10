/**
 * Planted bugs, each a change of the product's source that a tired person might make. The test applies them to a copy
 * (mutate.ts): the product has no switch for any of them.
 */

import type { Action } from './schedule.ts';

/** Two operators that lead at the same time. */
const TWO_LEADERS: readonly Action['do'][] = ['secondOperator', 'pauseOperator'];

export interface Mutation {
  /** What is wrong with it, in a few words. */
  readonly name: string;
  /** Relative to the root. */
  readonly file: string;
  /** Must be there exactly once. */
  readonly find: string;
  readonly replace: string;
  /** One of the seeds that find it, to be looked at first: it only saves time. */
  readonly seed: number;
  /** Found only in a schedule with such steps: without them it must break no promise. */
  readonly onlyWith?: readonly Action['do'][];
}

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'collection by name: whichever pod has the name counts as the owner',
    file: 'operator/liveness.ts',
    find: 'return hasUid(pod.metadata, uid);',
    replace: 'return hasUid(pod.metadata, uid) || pod.metadata.name !== undefined;',
    seed: 61,
  },
  {
    name: 'collection without a live read',
    file: 'operator/orphans.ts',
    find: 'const reason = await this.#reads.whyGone(subjectOf(reservation.spec), question, signal);',
    replace: 'const reason: GoneReason | undefined = seeming;',
    seed: 184,
  },
  {
    name: 'collection without a grace, and without a live read',
    file: 'operator/orphans.ts',
    find: 'const rest = candidate.since + graceMs - clock.monotonic();',
    replace: 'const rest = 0;',
    seed: 3,
  },
  {
    name: 'deletes with the uid but without the resourceVersion (operator: cooldown over)',
    file: 'operator/sweep.ts',
    find: '{ preconditions: { uid, resourceVersion }, signal }',
    replace: '{ preconditions: { uid }, signal }',
    seed: 135,
  },
  {
    name: 'with two leaders: what is taken back is deleted without preconditions',
    file: 'operator/orphans.ts',
    find: '{ preconditions: { uid, resourceVersion }, signal }',
    replace: '{ signal }',
    seed: 11,
    onlyWith: TWO_LEADERS,
  },
  {
    name: 'rebind does not test the containerID, nor release',
    file: 'ipam/reservation.ts',
    find: "    { op: 'test', path: '/spec/owner/containerID', value: owner.containerID },\n",
    replace: '',
    seed: 124,
  },
  {
    name: 'a release tests only that it is Bound: DEL without a check of the owner',
    file: 'ipam/reservation.ts',
    find: "  return [\n    stateIs('Bound'),\n    ...who,",
    replace:
      "  if (step === 'release') return [stateIs('Bound')];\n  return [\n    stateIs('Bound'),\n    ...who,",
    seed: 16,
  },
  {
    name: 'deletes without preconditions (agent)',
    file: 'plugin/agent/giveback.ts',
    find: '{ preconditions, timeoutMs: WRITE_TIMEOUT_MS }',
    replace: '{ timeoutMs: WRITE_TIMEOUT_MS }',
    seed: 15,
  },
  {
    name: 'the intent is not journalled before the write',
    file: 'plugin/agent/writer.ts',
    find: "this.#options.journal.append({ t: 'intent', intent });",
    replace: '',
    seed: 105,
  },
  {
    name: 'a release that the API has not got is forgotten',
    file: 'plugin/agent/release.ts',
    find: '    if (!finished) {\n      this.#queue.addAfter(key, FIRST_RETRY_MS);\n    }',
    replace: '',
    seed: 27,
  },
  {
    name: 'the journal is written after the answer',
    file: 'plugin/agent/outcome.ts',
    find: '      this.#options.journal.append({',
    // A process that is dead by then writes nothing.
    replace: `      ((record: JournalRecord) => setImmediate(() => {
        try {
          this.#options.journal.append(record);
        } catch {}
      }))({`,
    seed: 1,
  },
  {
    name: 'the answer is not journalled',
    file: 'plugin/agent/outcome.ts',
    find: '      this.#options.journal.append({',
    replace: "      if (Number('1') === 0) this.#options.journal.append({",
    seed: 1,
  },
  {
    name: 'a create that timed out is followed by another candidate',
    file: 'plugin/agent/settle.ts',
    find: '        context.doubts.add(intent.name);\n        return { failure: error };',
    replace: '        return { settled: undefined };',
    seed: 2,
  },
  {
    name: 'no doubt list',
    file: 'plugin/agent/doubts.ts',
    find: '      await this.#alsoLocking(intent.from, () => this.#undo(intent, watched));\n',
    replace: '',
    seed: 15,
  },
  {
    name: 'what a failed ADD has is not given back',
    file: 'plugin/agent/outcome.ts',
    find: 'ok: await giveBack.undo(claim, context.owner, origin, backTo(claim.name)),',
    replace:
      'ok: origin === "created" || (await giveBack.undo(claim, context.owner, origin, backTo(claim.name))),',
    seed: 58,
  },
  {
    name: 'a surplus is never released',
    file: 'plugin/agent/leftovers.ts',
    find: 'if (rest > 0) {',
    replace: 'if (rest > Number.NEGATIVE_INFINITY) {',
    seed: 2,
  },
  {
    name: 'a surplus that is too young waits for a comparison that finds it old enough',
    file: 'plugin/agent/leftovers.ts',
    find: '      this.#queue.addAfter(name, ms);',
    replace: '',
    seed: 86,
  },
  {
    name: 'static pods are judged by metadata.uid',
    file: 'operator/liveness.ts',
    find: 'return hasUid(pod.metadata, uid);',
    replace: 'return pod.metadata.uid === uid;',
    seed: 2,
  },
  {
    name: 'a pod on a deleted node counts as gone',
    file: 'operator/liveness.ts',
    find: '  if (pod.metadata.deletionTimestamp === undefined) {\n    return undefined;\n  }',
    replace:
      '  if (pod.metadata.deletionTimestamp === undefined && node !== undefined) {\n    return undefined;\n  }',
    seed: 157,
  },
  {
    name: 'held addresses are released as if they had no holder',
    file: 'ipam/reservation.ts',
    find: "if (spec.holder !== undefined && spec.holder !== '') return leave(spec, guards, 'Held', now);",
    replace: '',
    seed: 1,
  },
  {
    name: "a person's hold keeps its last owner, as if it were Berth's own",
    file: 'ipam/reservation.ts',
    find: "    patch.push({ op: 'remove', path: '/spec/owner' });\n",
    replace: '',
    seed: 1,
  },
  {
    name: 'a cooldown is not waited for',
    file: 'ipam/reservation.ts',
    find: "return spec.state === 'Released' && now - firstSeen >= cooldownMs;",
    replace: "return spec.state === 'Released' && now - firstSeen >= cooldownMs / 10;",
    seed: 19,
  },
  {
    name: 'a torn last line is not cut off',
    file: 'plugin/agent/journal.ts',
    find: '    if (this.#isTorn) {\n      fs.ftruncateSync',
    replace: '    if (this.#isTorn && this.#bytes < 0) {\n      fs.ftruncateSync',
    seed: 3,
  },
  {
    name: 'releases that the journal has are not taken up again',
    file: 'plugin/agent/release.ts',
    find: '    for (const key of journal.state.releasing.keys()) {\n      this.#queue.add(key);\n    }',
    replace: '',
    seed: 14,
  },
  {
    name: 'the canary is content with a reservation of the same uid',
    file: 'plugin/agent/canary.ts',
    find: "if (isAsWritten && live !== undefined && this.#isOurs(live, owner)) return 'there';",
    replace: "if (uid === claim.uid) return 'there';",
    seed: 91,
  },
  {
    name: 'the canary does not sing: a broken watch is no reason to look',
    file: 'plugin/agent/canary.ts',
    find: '    this.#suspicions += 1;',
    replace: '    this.#suspicions += 0;',
    seed: 91,
  },
  {
    name: 'what a restore has lost is not written again',
    file: 'plugin/agent/sync.ts',
    find: '      } else if (mayAssert(life)) {',
    replace: "      } else if (mayAssert(life) && Number('1') === 0) {",
    seed: 17,
  },
  {
    name: 'a rebind that was interrupted is not taken on by the next sandbox',
    file: 'plugin/agent/rebind.ts',
    find: '      present = await this.#whoHas(claim, oldOwner);',
    replace: '      present = undefined;',
    seed: 8,
  },
];
