import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { IPReservationSpec } from '../crds/types.ts';
import { formatAddress, parseAddress } from '../ipam/address.ts';
import { AddressBitmap } from '../ipam/bitmap.ts';
import { poolCounts } from '../ipam/counts.ts';
import { compilePool } from '../ipam/pool.ts';
import { aPool, aReservation } from './testing/objects.ts';
import { UsageIndex } from './usageindex.ts';

const specs = {
  blue: aPool('blue', { subnet: '10.0.0.0/28', ranges: ['10.0.0.2-10.0.0.5'] }).spec,
  // Overlaps blue.
  green: aPool('green', { subnet: '10.0.0.0/28' }).spec,
  six: aPool('six', { subnet: 'fd00::/124' }).spec,
  other: aPool('other', { network: 'other', subnet: '10.0.0.0/28' }).spec,
};
type PoolName = keyof typeof specs;
const NAMES = Object.keys(specs).filter((name): name is PoolName => name in specs);

type Step =
  | { readonly do: 'put'; readonly spec: IPReservationSpec }
  | { readonly do: 'delete'; readonly spec: IPReservationSpec }
  | { readonly do: 'setPool'; readonly pool: PoolName; readonly ranges: readonly string[] | undefined };

const reservation = fc
  .record({
    network: fc.constantFrom('default', 'other'),
    address: fc.constantFrom('10.0.0.0', '10.0.0.2', '10.0.0.3', '10.0.0.9', '10.9.9.9', 'fd00::', 'fd00::2'),
    pool: fc.constantFrom<string>(...NAMES, 'unknown'),
    state: fc.constantFrom('Bound' as const, 'Held' as const, 'Released' as const),
    holder: fc.constantFrom(undefined, 'Pod/shop/a', 'Pod/shop/b'),
  })
  .map(
    ({ address, holder, ...rest }) =>
      aReservation(address, { ...rest, ...(holder === undefined ? {} : { holder }) }).spec,
  );
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('put' as const), spec: reservation }),
  fc.record({ do: fc.constant('delete' as const), spec: reservation }),
  fc.record({
    do: fc.constant('setPool' as const),
    pool: fc.constantFrom(...NAMES),
    ranges: fc.constantFrom(undefined, [], ['10.0.0.3']),
  }),
);

describe('usage of pools', () => {
  test('is what counting everything anew says, after any sequence of changes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const index = new UsageIndex(() => undefined);
        const pools = new Map(NAMES.map((name) => [name, compilePool(name, specs[name])]));
        const model = new Map<string, IPReservationSpec>();
        for (const [name, pool] of pools) index.setPool(name, pool);
        for (const each of steps) {
          if (each.do === 'setPool') {
            const isFour = each.pool !== 'six';
            const ranges = isFour && each.ranges !== undefined ? { ranges: each.ranges } : {};
            const pool = compilePool(each.pool, { ...specs[each.pool], ...ranges });
            pools.set(each.pool, pool);
            index.setPool(each.pool, pool);
            continue;
          }
          const key = aReservation(each.spec.address, { network: each.spec.network }).metadata.name ?? '';
          if (each.do === 'put') {
            index.put(key, each.spec);
            model.set(key, each.spec);
          } else {
            index.delete(key);
            model.delete(key);
          }
        }
        for (const [name, pool] of pools) {
          const network = [...model.values()].filter((spec) => spec.network === pool.network);
          const counted = poolCounts(
            pool,
            network.map((spec) => ({
              address: parseAddress(spec.address),
              pool: spec.pool,
              state: spec.state,
            })),
          );
          const own = [...model.values()].filter((spec) => spec.pool === name);
          const inRanges = (spec: IPReservationSpec): boolean => {
            const { family, value } = parseAddress(spec.address);
            return spec.network === pool.network && family === pool.family && pool.dynamic.contains(value);
          };
          const stateCount = (state: string): number => own.filter((spec) => spec.state === state).length;
          const usage = index.usage(name);
          expect(usage).toEqual({
            bound: stateCount('Bound'),
            held: stateCount('Held'),
            released: stateCount('Released'),
            taken: Number(counted.capacity - counted.free),
            outside: own.filter((spec) => !inRanges(spec)).length,
          });
          const inNetwork = network.filter(inRanges);
          const planeOf = (specs: readonly IPReservationSpec[]): Uint8Array => {
            const bitmap = new AddressBitmap();
            for (const { address } of specs) bitmap.set(parseAddress(address).value);
            return bitmap.plane(pool.dynamic);
          };
          // Fewer than 64 rest: all of them are in the plane.
          expect(index.planes(name)).toEqual({
            taken: planeOf(inNetwork),
            released: planeOf(inNetwork.filter((spec) => spec.state === 'Released')),
          });
          const waiting = own.filter((spec) => spec.state === 'Held' && spec.holder !== undefined);
          expect(
            index
              .waiting(name)
              .map(({ address, holder }) => `${address} ${holder}`)
              .toSorted(),
          ).toEqual(waiting.map(({ address, holder }) => `${address} ${holder}`).toSorted());
        }
      }),
    );
  });

  test('a change tells the pool it names and every pool whose ranges contain it, and no other', () => {
    const told: string[] = [];
    const index = new UsageIndex((pool) => told.push(pool));
    for (const name of NAMES) index.setPool(name, compilePool(name, specs[name]));
    index.put('default.10.0.0.3', aReservation('10.0.0.3', { pool: 'blue' }).spec);
    expect(told.toSorted()).toEqual(['blue', 'green']);
  });

  test('the same state again tells nobody', () => {
    const told: string[] = [];
    const index = new UsageIndex((pool) => told.push(pool));
    index.put('default.10.0.0.3', aReservation('10.0.0.3').spec);
    told.length = 0;
    index.put('default.10.0.0.3', aReservation('10.0.0.3').spec);
    expect(told).toEqual([]);
  });

  test('a reservation of a gateway tells the pool of the gateway', () => {
    const told: string[] = [];
    const index = new UsageIndex((pool) => told.push(pool));
    index.setPool('blue', compilePool('blue', { ...specs.blue, gateway: '10.0.0.1' }));
    index.put('default.10.0.0.1', aReservation('10.0.0.1', { pool: 'unknown' }).spec);
    expect(told).toContain('blue');
    expect(index.isBound('default.10.0.0.1')).toBe(true);
  });

  test('an address that does not parse changes nothing', () => {
    const index = new UsageIndex(() => undefined);
    index.put('default.10.0.0.3', aReservation('10.0.0.3').spec);
    expect(() => index.put('default.10.0.0.3', { ...aReservation('10.0.0.3').spec, address: 'x' })).toThrow(
      /x/,
    );
    expect(index.usage('blue').bound).toBe(1);
  });

  test('of many that rest, the half that was seen first is in the plane, and at least 64', () => {
    const index = new UsageIndex(() => undefined);
    const pool = compilePool('blue', aPool('blue', { subnet: '10.0.0.0/22' }).spec);
    index.setPool('blue', pool);
    const put = (n: number): void => {
      const address = formatAddress({ family: 4, value: pool.dynamic.at(BigInt(n)) });
      index.put(`default.${address}`, aReservation(address, { state: 'Released' }).spec);
    };
    const inPlane = (): number[] => {
      const bitmap = new AddressBitmap();
      bitmap.setPlane(pool.dynamic, index.planes('blue')?.released ?? new Uint8Array());
      return Array.from({ length: 300 }, (_, n) => n).filter((n) => bitmap.has(pool.dynamic.at(BigInt(n))));
    };
    for (let n = 99; n >= 0; n -= 1) put(n);
    expect(inPlane()).toEqual(Array.from({ length: 64 }, (_, n) => n + 36));
    for (let n = 100; n < 300; n += 1) put(n);
    expect(inPlane()).toEqual(Array.from({ length: 150 }, (_, n) => n));
  });

  test('the number of changes grows with what is taken or rests in the ranges, and with nothing else', () => {
    const index = new UsageIndex(() => undefined);
    index.setPool('blue', compilePool('blue', specs.blue));
    const seen = [index.changes('blue')];
    const step = (address: string, spec: Partial<IPReservationSpec>): void => {
      index.put(`default.${address}`, aReservation(address, spec).spec);
      seen.push(index.changes('blue'));
    };
    step('10.0.0.3', { pool: 'green' });
    step('10.0.0.3', { pool: 'green', since: '2026-02-01T00:00:00Z' });
    step('10.0.0.9', {});
    step('10.0.0.3', { pool: 'green', state: 'Released' });
    const grew = seen.slice(1).map((changes, i) => changes > (seen[i] ?? 0));
    expect(grew).toEqual([true, false, false, true]);
  });
});
