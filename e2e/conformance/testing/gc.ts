/** The rules about GC: each call takes away of a set of old attachments what the next tests no longer need. */
import { afterEach, beforeAll, describe, expect } from 'vitest';
import type { CniOutcome } from '../../harness/cni.ts';
import type { Chapter } from './chapter.ts';
import { bindOld, isOld } from './old.ts';
import { bareCall, expectError, NETWORK_NAME, SILENCE, type Subject } from './subject.ts';

/** A network with one old attachment, for a later test. */
export const LATER_NETWORK = 'later-network';

/**
 * Registers the tests.
 * @param tidy called after each of them
 */
export function proveGcRules(chapter: Chapter, subject: () => Subject, tidy: () => Promise<void>): void {
  describe('GC', () => {
    const gc = (more: Readonly<Record<string, unknown>>): Promise<CniOutcome> =>
      bareCall('GC', subject().configuration(more), { CNI_PATH: '/opt/cni/bin' });
    /** Attachments that are older than the 10 minutes that GC spares, by container ID. */
    const OLD = ['a', 'b', 'c', 'd', 'e', 'f'].map((letter) => `old-${letter}`);
    /** Those that no list of the network is about. */
    const REST = ['old-later', 'old-network', 'old-node'];
    const asList = (ids: readonly string[]): object[] =>
      ids.map((containerID) => ({ containerID, ifname: 'net1' }));
    /** Container IDs of the old attachments that have their reservation. */
    const kept = async (): Promise<string[]> => {
      const specs = [...(await subject().cluster.reservations()).values()].map(({ spec }) => spec);
      return specs.flatMap((spec) => (isOld(spec) ? (spec.owner?.containerID ?? '') : [])).toSorted();
    };

    beforeAll(async () => {
      await bindOld(subject(), [
        ...OLD.map((containerID) => ({ containerID, cniNetwork: NETWORK_NAME })),
        { containerID: 'old-network', cniNetwork: 'another-network' },
        { containerID: 'old-later', cniNetwork: LATER_NETWORK },
        { containerID: 'old-node', cniNetwork: NETWORK_NAME, ofNode: true },
      ]);
    });

    afterEach(tidy);

    chapter.rule('gc-since', async (version) => {
      const list = { cniVersion: version, 'cni.dev/valid-attachments': [] };
      expectError(await gc(list), 1, `"${version}" does not allow GC`);
      expect(await kept()).toHaveLength(9);
    });

    chapter.rule('gc-parameters', async () => {
      const outcome = await bareCall('GC', subject().configuration({ 'cni.dev/valid-attachments': [] }));
      expectError(outcome, 4, 'CNI_PATH');
      expect(await kept()).toHaveLength(9);
    });

    chapter.rule('gc-no-list', async () => {
      const without: Record<string, unknown>[] = [
        {},
        { 'cni.dev/valid-attachments': null },
        { 'cni.dev/attachments': [] },
        { 'cni.dev/valid-attachments': null, 'cni.dev/attachments': asList(OLD) },
        { 'cni.dev/valid-attachments': {} },
      ];
      for (const more of without) expectError(await gc(more), 7, 'cni.dev/valid-attachments');
      expect(await kept()).toHaveLength(9);
    });

    chapter.rule('gc-listed', async () => {
      const list = { 'cni.dev/valid-attachments': asList(OLD.slice(1)) };
      expect(await gc(list)).toEqual(SILENCE);
      expect(await kept()).toEqual([...OLD.slice(1), ...REST]);
      expect(await gc(list)).toEqual(SILENCE);
    });

    chapter.rule('gc-both-keys', async () => {
      const list = {
        'cni.dev/valid-attachments': asList(['old-c', 'old-d']),
        'cni.dev/attachments': asList(['old-d', 'old-e', 'old-f']),
      };
      expect(await gc(list)).toEqual(SILENCE);
      expect(await kept()).toEqual([...OLD.slice(2), ...REST]);
    });

    chapter.rule('gc-foreign-list', async () => {
      const foreign = [...asList(['somebody-else']), { containerID: 'old-c', ifname: 'eth7' }];
      const list = { 'cni.dev/valid-attachments': [...foreign, ...asList(OLD.slice(3))] };
      expect(await gc(list)).toEqual(SILENCE);
      // The same container's other interface is another attachment.
      expect(await kept()).toEqual([...OLD.slice(3), ...REST]);
    });

    chapter.rule('gc-by-reference-plugins', async () => {
      expect(await gc({ 'cni.dev/valid-attachments': asList(OLD.slice(4)) })).toEqual(SILENCE);
      expect(await kept()).toEqual([...OLD.slice(4), ...REST]);
    });

    chapter.rule('gc-spares-young', async () => {
      const { pod } = await subject().add({ ipam: { pools: ['v4', 'v6'] } });
      expect(await gc({ 'cni.dev/valid-attachments': asList(OLD) })).toEqual(SILENCE);
      expect(await subject().reservationsOf(pod)).toHaveLength(2);
    });

    chapter.rule('gc-empty-list', async () => {
      expect(await gc({ 'cni.dev/valid-attachments': [] })).toEqual(SILENCE);
      expect(await kept()).toEqual(REST);
    });

    chapter.rule('gc-other-networks', async () => {
      const list = { 'cni.dev/valid-attachments': [] };
      expect(await gc(list)).toEqual(SILENCE);
      expect(await kept()).toContain('old-network');
      expect(await gc({ ...list, name: 'another-network' })).toEqual(SILENCE);
      expect(await kept()).not.toContain('old-network');
    });

    chapter.rule('gc-no-pod', async () => {
      expect(await gc({ 'cni.dev/valid-attachments': [] })).toEqual(SILENCE);
      expect(await kept()).toContain('old-node');
    });
  });
}
