import { describe, expect, test } from 'vitest';
import type { IPPoolSpec } from '../crds/types.ts';
import { compilePool } from '../ipam/pool.ts';
import { dueAfter, type Waiting, wantsHint } from './hint.ts';
import { aPool } from './testing/objects.ts';

describe('a pool has a hint', () => {
  const cases: [string, Partial<IPPoolSpec>, number, boolean][] = [
    ['from half full on', { subnet: '10.0.0.0/24' }, 127, true],
    ['not before', { subnet: '10.0.0.0/24' }, 126, false],
    ['always if it is Ascending', { subnet: '10.0.0.0/24', allocation: 'Ascending' }, 0, true],
    ['never if it is a huge IPv6 one', { subnet: 'fd00::/64', allocation: 'Ascending' }, 5, false],
    ['if it is an IPv6 one of few addresses', { subnet: 'fd00::/112' }, 40_000, true],
    ['never if it is larger than the field', { subnet: '10.0.0.0/12' }, 1_000_000, false],
    ['never if it gives nothing by itself', { subnet: '10.0.0.0/24', ranges: [] }, 0, false],
  ];
  test.each(cases)('%s', (_when, spec, taken, wanted) => {
    expect(wantsHint(compilePool('blue', aPool('blue', spec).spec), { taken })).toBe(wanted);
  });
});

describe('a status write is due', () => {
  const usual: Waiting = {
    urgency: 'later',
    hintChanged: true,
    free: 20_000n,
    capacity: 65_534n,
    changes: 10,
    bytes: 2_048,
  };
  const cases: [string, Partial<Waiting>, number | undefined][] = [
    ['never for nothing', { urgency: 'never', hintChanged: false }, undefined],
    ['at once for Ready, however large it is', { urgency: 'now', bytes: 200_000 }, 0],
    ['a second after the last one for a condition or a holder', { urgency: 'soon', bytes: 200_000 }, 1_000],
    ['5 s after it for counts alone', { hintChanged: false }, 5_000],
    ['later for counts of a pool that is large to send', { hintChanged: false, bytes: 20_480 }, 20_000],
    ['a second for each kilobyte after it for a hint', {}, 2_000],
    ['never sooner than a second after it', { bytes: 300 }, 1_000],
    ['even where no count has changed', { urgency: 'never', bytes: 20_480 }, 20_000],
    ['a second after it where the last twentieth moves', { bytes: 20_480, free: 100n }, 1_000],
    ['not sooner where a full pool stands nearly still', { bytes: 20_480, free: 101n }, 20_000],
    ['not sooner where a twentieth is not yet all', { bytes: 20_480, free: 3_277n, changes: 5_000 }, 20_000],
  ];
  test.each(cases)('%s', (_when, more, due) => {
    expect(dueAfter({ ...usual, ...more })).toBe(due);
  });
});
