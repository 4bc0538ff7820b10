import { expect, test } from 'vitest';
import { type AddRecord, Tally } from './tally.ts';
import { FaultWindows, RECOVERY_MS } from './windows.ts';

let now = 0;

/** A fault of node-1 from 100 to 200, and one of all nodes from 100,000 on. */
function windows(): FaultWindows {
  const all = new FaultWindows(() => now);
  now = 100;
  const window = all.open('kill agent', 'node-1');
  now = 200;
  all.close(window);
  now = 100_000;
  all.open('kill API server');
  return all;
}

const add = (node: string, from: number, to: number, code = 0): AddRecord => {
  return {
    node,
    from,
    to,
    code,
    way: 'socket',
    isVain: false,
    message: code === 0 ? '' : 'pod chaos/pod-1, interface net1: 10.1.0.7',
  };
};

test.each([
  ['before', 'node-1', 0, 99, 'calm'],
  ['into it', 'node-1', 0, 100, 'fault'],
  ['all through it', 'node-1', 0, 300, 'fault'],
  ['out of it', 'node-1', 200, 300, 'fault'],
  ['soon after', 'node-1', 201, 300, 'recovery'],
  ['later', 'node-1', 201 + RECOVERY_MS, 99_999, 'calm'],
  ["beside another node's", 'node-2', 0, 99_999, 'calm'],
  ['in one that has not ended', 'node-2', 0, 100_000, 'fault'],
] as const)('an ADD %s', (_, node, from, to, place) => {
  expect(windows().placeOf(node, from, to)).toBe(place);
});

test('ADDs are counted by where they lie and what they answered', () => {
  const tally = new Tally();
  for (const record of [
    add('node-1', 0, 10),
    add('node-1', 20, 50, 11),
    add('node-1', 150, 160, 11),
    add('node-2', 150, 160, 101),
    add('node-1', 300, 310, 999),
    { ...add('node-1', 20, 50, 11), isVain: true },
  ]) {
    tally.add(record);
  }
  expect(tally.totals(windows())).toEqual({
    attempts: 6,
    successes: 1,
    vain: 1,
    byWay: { binary: 0, socket: 6 },
    failuresByCode: { 11: 3, 101: 1, 999: 1 },
    byPlace: {
      calm: { attempts: 3, successes: 1 },
      recovery: { attempts: 1, successes: 0 },
      fault: { attempts: 1, successes: 0 },
    },
    calmMs: { p50: 10, p99: 10 },
    calmFailures: { '11: #.#.#.#': 1, '101: #.#.#.#': 1 },
    unexpected: ['ADD on node-1: code 999: pod chaos/pod-1, interface net1: 10.1.0.7'],
  });
});

test('the calm share is that of all nodes', () => {
  const all = windows();
  expect(all.calmShare(['node-1'], 0, 100)).toBe(1);
  expect(all.calmShare(['node-1'], 100, 300, 10)).toBe(0);
  expect(all.calmShare(['node-1', 'node-2'], 100, 200, 10)).toBe(0.5);
});
