import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { Family } from './address.ts';
import { formatAddress, parseAddress } from './address.ts';
import { AddressBitmap } from './bitmap.ts';
import { Candidates } from './candidates.ts';
import type { CountedReservation } from './counts.ts';
import { isExhausted, poolCounts } from './counts.ts';
import { IpamError } from './errors.ts';
import type { Pool } from './pool.ts';
import { compilePool } from './pool.ts';
import { poolProblems } from './problems.ts';
import { parseRange } from './range.ts';
import { RangeSet } from './rangeset.ts';
import type { Command } from './testing/scenario.ts';
import { replay } from './testing/scenario.ts';

const directory = new URL('testdata/', import.meta.url);
const REWRITE = process.env['BERTH_REWRITE'] === '1';

/** One network, one agent: what the commands of a scenario work on. */
class World {
  readonly #pools = new Map<string, Pool>();
  readonly #taken: Record<Family, AddressBitmap> = { 4: new AddressBitmap(), 6: new AddressBitmap() };
  readonly #reservations: CountedReservation[] = [];
  readonly #rolls: number[] = [];
  readonly #candidates = new Candidates(() => {
    const roll = this.#rolls.shift();
    if (roll === undefined) throw new Error('the scenario rolled no number for this; add "roll"');
    return roll;
  });

  readonly #verbs: Readonly<Record<string, (command: Command) => string>> = {
    pool: ({ args, options }) => this.#compile(args[0] ?? '', options),
    roll: ({ args }) => `${this.#rolls.push(...args.map(Number))} to roll`,
    next: ({ args }) => this.#next(this.#pool(args[0]), Number(args[1] ?? 1)),
    jump: ({ args }) => {
      this.#candidates.jump(args[0] ?? '');
      return 'ok';
    },
    take: ({ args }) => this.#mark(args, (bitmap, value) => bitmap.set(value)),
    free: ({ args }) => this.#mark(args, (bitmap, value) => bitmap.clear(value)),
    reserve: ({ args, options }) => this.#reserve(args, options),
    counts: ({ args }) => {
      const counts = poolCounts(this.#pool(args[0]), this.#reservations);
      const fields = Object.entries(counts).map(([name, count]) => `${name} ${count}`);
      return fields.join(', ') + (isExhausted(counts) ? ': exhausted' : '');
    },
  };

  run(command: Command): string {
    const verb = this.#verbs[command.verb];
    if (verb === undefined)
      throw new Error(`no verb "${command.verb}"; there are ${Object.keys(this.#verbs).join(', ')}`);
    try {
      return verb(command);
    } catch (error) {
      if (error instanceof IpamError) return `${error.code}: ${error.message}`;
      throw error;
    }
  }

  #compile(
    name: string,
    { subnet = '', gateway, ranges, excludes, allocation }: Record<string, string>,
  ): string {
    const list = (text: string): string[] => text.split(',').filter((item) => item !== '');
    const pool = compilePool(name, {
      subnet,
      ...(gateway === undefined ? {} : { gateway }),
      ...(ranges === undefined ? {} : { ranges: list(ranges) }),
      ...(excludes === undefined ? {} : { excludes: list(excludes) }),
      allocation: allocation === 'Ascending' ? 'Ascending' : 'Random',
    });
    this.#pools.set(name, pool);
    const problems = poolProblems(pool).map(({ reason, message }) => `problem: ${reason}: ${message}`);
    return [
      `dynamic: ${pool.dynamic.toString()}`,
      `requestable: ${pool.requestable.toString()}`,
      `capacity: ${pool.capacity}`,
      ...problems,
    ].join('\n');
  }

  #next(pool: Pool, times: number): string {
    const taken = this.#taken[pool.family];
    const given = Array.from({ length: times }, () => {
      const value = this.#candidates.next(pool, taken);
      if (value === undefined) return 'none';
      taken.set(value);
      return formatAddress({ family: pool.family, value });
    });
    return given.join(' ');
  }

  #mark(texts: readonly string[], mark: (bitmap: AddressBitmap, value: bigint) => boolean): string {
    let changed = 0;
    for (const range of texts.map(parseRange)) {
      for (const { first, last } of RangeSet.of(range.family, [range]).ranges) {
        for (let value = first; value <= last; value++) if (mark(this.#taken[range.family], value)) changed++;
      }
    }
    return `${changed} changed`;
  }

  #reserve(texts: readonly string[], { pool = '', state }: Record<string, string>): string {
    const as = state === 'Held' || state === 'Released' ? state : 'Bound';
    for (const text of texts) this.#reservations.push({ address: parseAddress(text), pool, state: as });
    return `${this.#reservations.length} reservations`;
  }

  #pool(name: string | undefined): Pool {
    const pool = this.#pools.get(name ?? '');
    if (pool === undefined) throw new Error(`no pool "${name}"; make it with "pool"`);
    return pool;
  }
}

test.each(readdirSync(directory).filter((file) => file.endsWith('.txt')))('%s', (file) => {
  const path = new URL(file, directory);
  const expected = readFileSync(path, 'utf8');
  const world = new World();
  const actual = replay(expected, (command) => world.run(command));
  if (REWRITE) writeFileSync(path, actual);
  else expect(actual).toBe(expected);
});

test('a scenario whose expected output is wrong is noticed', () => {
  const text = 'pool p subnet=10.0.0.0/30\n----\ncapacity: 3\n';
  const world = new World();
  expect(replay(text, (command) => world.run(command))).toContain('capacity: 2');
  expect(() => replay('pool p', () => '')).toThrow('not followed by a line "----"');
  expect(() => world.run({ verb: 'nonsense', args: [], options: {} })).toThrow('no verb "nonsense"');
});
