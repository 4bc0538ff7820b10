import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AddressBitmap, planeBytes } from '../ipam/bitmap.ts';
import { parseRange } from '../ipam/range.ts';
import { RangeSet } from '../ipam/rangeset.ts';
import { decodeOccupancy, encodeOccupancy, MAX_PLANE_BYTES, mayHaveHint } from './occupancy.ts';
import type { Occupancy } from './types.ts';

const TIME = Date.parse('2026-01-01T00:00:00.250Z');

function ranges(...texts: string[]): RangeSet {
  const parsed = texts.map(parseRange);
  return RangeSet.of(parsed[0]?.family ?? 4, parsed);
}

function encoded(dynamic: RangeSet, members: readonly bigint[] = []): Occupancy {
  const bitmap = new AddressBitmap();
  for (const value of members) bitmap.set(value);
  const taken = bitmap.plane(dynamic);
  return encodeOccupancy({ taken, released: new Uint8Array(taken.length), time: TIME });
}

test('what is encoded is what is decoded, with its time', () => {
  const dynamic = ranges('10.0.0.3-10.0.3.250', '10.0.9.0/24');
  const member = fc.bigInt({ min: 0n, max: dynamic.size - 1n }).map((index) => dynamic.at(index));
  fc.assert(
    fc.property(fc.array(member), fc.array(member), (taken, released) => {
      const planes = [taken, released].map((values) => {
        const bitmap = new AddressBitmap();
        for (const value of values) bitmap.set(value);
        return bitmap.plane(dynamic);
      });
      const [a = new Uint8Array(), b = new Uint8Array()] = planes;
      const hint = decodeOccupancy(encodeOccupancy({ taken: a, released: b, time: TIME }), dynamic);
      expect([...(hint?.taken ?? [])]).toEqual([...a]);
      expect([...(hint?.released ?? [])]).toEqual([...b]);
      expect(hint?.time).toBe(TIME);
    }),
  );
});

test('the largest plane that does not compress fits into the field of the schema, and is decoded', () => {
  const dynamic = ranges('10.0.0.0/13');
  expect(planeBytes(dynamic)).toBe(BigInt(MAX_PLANE_BYTES));
  let state = 1;
  const noise = Uint8Array.from({ length: MAX_PLANE_BYTES }, () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state >>> 16;
  });
  const field = encodeOccupancy({ taken: noise, released: noise, time: TIME });
  expect(field.taken?.length).toBeLessThanOrEqual(131_072);
  expect(decodeOccupancy(field, dynamic)?.taken.length).toBe(MAX_PLANE_BYTES);
});

test('only ranges that are neither empty nor huge can have a hint', () => {
  expect(mayHaveHint(ranges('10.0.0.0/13'))).toBe(true);
  expect(mayHaveHint(ranges('10.0.0.0/12'))).toBe(false);
  expect(mayHaveHint(ranges('fd00::/64'))).toBe(false);
  expect(mayHaveHint(ranges('fd00::1:0-fd00::1:ffff'))).toBe(true);
  expect(mayHaveHint(RangeSet.of(4, []))).toBe(false);
  expect(decodeOccupancy(encoded(ranges('10.0.0.0/24')), ranges('fd00::/64'))).toBeUndefined();
});

describe('there is no hint, and no failure, where', () => {
  const dynamic = ranges('10.0.0.0/22');
  const good = encoded(dynamic, [dynamic.at(5n)]);
  const cases: [string, Occupancy | undefined][] = [
    ['the field is absent', undefined],
    ['the encoding is unknown', { ...good, encoding: 'roaring' }],
    [
      'the encoding is absent',
      { taken: good.taken ?? '', released: good.released ?? '', time: good.time ?? '' },
    ],
    ['a plane is absent', { encoding: good.encoding ?? '', taken: good.taken ?? '', time: good.time ?? '' }],
    ['the time is none', { ...good, time: 'yesterday' }],
    ['a plane is cut off', { ...good, taken: good.taken?.slice(0, 4) ?? '' }],
    ['a plane is no DEFLATE', { ...good, released: Buffer.alloc(60, 0xff).toString('base64') }],
    ['a plane is shorter than the ranges', encoded(ranges('10.0.0.0/23'))],
    ['a plane is longer than the ranges', encoded(ranges('10.0.0.0/21'))],
    [
      'a plane would inflate to far more',
      { ...good, taken: deflateRawSync(Buffer.alloc(100_000)).toString('base64') },
    ],
    ['a plane has more text than it can need', { ...good, taken: 'A'.repeat(131_072) }],
  ];
  test.each(cases)('%s', (_where, field) => {
    expect(decodeOccupancy(field, dynamic)).toBeUndefined();
  });

  test('the text is anything at all', () => {
    const anything = fc.record({
      encoding: fc.constant('bitmap+deflate+base64'),
      taken: fc.oneof(fc.string(), fc.base64String()),
      released: fc.oneof(fc.string(), fc.base64String()),
      time: fc.constantFrom('2026-01-01T00:00:00Z', ''),
    });
    fc.assert(
      fc.property(anything, (field) => {
        const hint = decodeOccupancy(field, dynamic);
        expect(hint === undefined || hint.taken.length === Number(planeBytes(dynamic))).toBe(true);
      }),
    );
  });
});
