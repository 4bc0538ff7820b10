import { describe, expect, test } from 'vitest';
import { parseAddress } from '../../ipam/address.ts';
import { AddressBitmap } from '../../ipam/bitmap.ts';
import { compilePool } from '../../ipam/pool.ts';
import { RestingAddresses } from './resting.ts';

const POOL = compilePool('blue', { subnet: '10.0.0.0/24' });
const OTHER = compilePool('red', { subnet: '10.0.1.0/24' });

const valueOf = (text: string): bigint => parseAddress(text).value;
const valuesOf = (hosts: readonly number[]): bigint[] => hosts.map((host) => valueOf(`10.0.0.${host}`));

function planeOf(hosts: readonly number[]): AddressBitmap {
  const plane = new AddressBitmap();
  for (const value of valuesOf(hosts)) plane.set(value);
  return plane;
}

/** What is taken one after the other, each as the last part of its address, until nothing is left. */
function takeAll(resting: RestingAddresses, now: number, pool = POOL): number[] {
  const taken: number[] = [];
  for (
    let value = resting.take(pool, () => 0, now);
    value !== undefined;
    value = resting.take(pool, () => 0, now)
  ) {
    taken.push(Number(value & 255n));
  }
  return taken;
}

/** Known: 2, 3 and 4 from a list at 0; the agent itself released 9 at 10 and 8 at 20. */
function withOwn(): RestingAddresses {
  const resting = new RestingAddresses();
  resting.learnList({ 4: valuesOf([2, 3, 4]), 6: [] }, 0);
  resting.noteReleased(4, valueOf('10.0.0.9'), 10);
  resting.noteReleased(4, valueOf('10.0.0.8'), 20);
  return resting;
}

test('what has rested longest comes first, what the agent released itself in its place among them', () => {
  expect(takeAll(withOwn(), 100)).toEqual([2, 3, 4, 9, 8]);
});

describe('for 3 s after somebody else was first', () => {
  test('what the agent released itself comes first, the longest first', () => {
    const resting = withOwn();
    resting.noteLost(1_000);
    expect(takeAll(resting, 3_999)).toEqual([9, 8, 2, 3, 4]);
  });

  test('it also comes before what a hint names', () => {
    const resting = withOwn();
    resting.learnHint(POOL, planeOf([2, 3]), 5);
    resting.noteLost(1_000);
    expect(takeAll(resting, 1_000)).toEqual([9, 8, 2, 3]);
  });

  test('it comes only from the ranges of the pool that is asked', () => {
    const resting = withOwn();
    resting.noteReleased(4, valueOf('10.0.1.7'), 30);
    resting.noteLost(1_000);
    expect(takeAll(resting, 1_000, OTHER)).toEqual([7]);
  });
});

test('3 s after that the longest come first again', () => {
  const resting = withOwn();
  resting.noteLost(1_000);
  expect(takeAll(resting, 4_000)).toEqual([2, 3, 4, 9, 8]);
});

describe('what the agent released itself is still its own to take first', () => {
  test('after a list that has it as Released', () => {
    const resting = withOwn();
    resting.learnList({ 4: valuesOf([8, 2, 9]), 6: [] }, 50);
    resting.noteLost(60);
    expect(takeAll(resting, 60)).toEqual([9, 8, 2]);
  });

  test('after a hint that has it as Released', () => {
    const resting = withOwn();
    resting.learnHint(POOL, planeOf([2, 8, 9]), 50);
    resting.noteLost(60);
    expect(takeAll(resting, 60)).toEqual([9, 8, 2]);
  });

  test('after a list or a hint that is older than the release', () => {
    const resting = withOwn();
    resting.learnList({ 4: valuesOf([2]), 6: [] }, 15);
    resting.noteLost(60);
    expect(takeAll(resting, 60)).toEqual([8, 2]);
    resting.noteReleased(4, valueOf('10.0.0.5'), 70);
    resting.learnHint(POOL, planeOf([2]), 65);
    expect(takeAll(resting, 80)).toEqual([5, 2]);
  });
});

describe('what the agent released itself is not given', () => {
  test.each([
    ['a newer list', (resting: RestingAddresses) => resting.learnList({ 4: valuesOf([2]), 6: [] }, 50)],
    ['a newer hint', (resting: RestingAddresses) => resting.learnHint(POOL, planeOf([2]), 50)],
  ])('once %s does not have it as Released', (_what, learn) => {
    const resting = withOwn();
    learn(resting);
    resting.noteLost(60);
    expect(takeAll(resting, 60)).toEqual([2]);
  });

  test('once it was seen to be something else', () => {
    const resting = withOwn();
    resting.forget(4, valueOf('10.0.0.9'));
    resting.noteLost(60);
    expect(takeAll(resting, 60)).toEqual([8, 2, 3, 4]);
  });
});

test('what is released several times is given once, as of the last time', () => {
  const resting = withOwn();
  resting.noteReleased(4, valueOf('10.0.0.9'), 30);
  expect(takeAll(resting, 100)).toEqual([2, 3, 4, 8, 9]);
});
