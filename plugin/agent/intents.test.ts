import { describe, expect, test } from 'vitest';
import { doubtsOf, givingBack, interruptedRebinds, undoneTo } from './intents.ts';
import {
  type AttachmentOwner,
  applyRecord,
  emptyState,
  type Intent,
  intentsOf,
  type JournalRecord,
} from './state.ts';

const ADDRESS = { name: 'default.10.0.0.1', network: 'default', address: '10.0.0.1', pool: 'blue' } as const;

function owner(containerID: string): AttachmentOwner {
  return {
    kind: 'Pod',
    namespace: 'shop',
    name: 'web',
    uid: 'u1',
    node: 'n',
    containerID,
    ifname: 'eth0',
    cniNetwork: 'net',
  };
}

/** The sandbox c2 was about to get the address that c1 has. */
const rebind: Intent = { ...ADDRESS, origin: 'rebound', owner: owner('c2'), from: owner('c1') };
const bound = (containerID: string): JournalRecord => ({
  t: 'bound',
  attachment: {
    owner: owner(containerID),
    claims: [{ ...ADDRESS, since: '2026-01-01T00:00:00Z' }],
    addedAt: 1,
  },
});

function fold(...records: readonly JournalRecord[]): ReturnType<typeof emptyState> {
  const state = emptyState();
  for (const record of records) applyRecord(state, record);
  return state;
}

test('intents belong to the attachment that announced them', () => {
  const state = fold(bound('c1'), { t: 'intent', intent: rebind });
  expect(intentsOf(state, 'c2/eth0')).toEqual([rebind]);
  expect(doubtsOf(state, 'c2/eth0')).toEqual([ADDRESS.name]);
  expect(doubtsOf(state, 'c1/eth0')).toEqual([]);
});

describe('the undo of a rebind', () => {
  test('goes back to the old sandbox while that is an attachment', () => {
    expect(undoneTo(fold(bound('c1')), rebind)).toEqual(owner('c1'));
    expect(undoneTo(fold(), rebind)).toBeUndefined();
  });

  test('goes to none whose DEL was accepted: nobody would release the address a second time', () => {
    const state = fold(bound('c1'), { t: 'release', key: 'c1/eth0' });
    expect(undoneTo(state, rebind)).toBeUndefined();
  });

  test('is announced once', () => {
    const state = fold({ t: 'intent', intent: rebind });
    const announced = givingBack(state, owner('c2'), ADDRESS.name);
    expect(announced).toEqual([{ t: 'intent', intent: { ...rebind, isGivenBack: true } }]);
    for (const record of announced) applyRecord(state, record);
    expect(givingBack(state, owner('c2'), ADDRESS.name)).toEqual([]);
    expect(givingBack(state, owner('c3'), ADDRESS.name)).toEqual([]);
  });
});

test('a rebind is interrupted until it is answered', () => {
  const state = fold(bound('c1'), { t: 'intent', intent: rebind });
  expect(interruptedRebinds(state, ADDRESS.name, owner('c1'))).toEqual([rebind]);
  expect(interruptedRebinds(state, 'default.10.0.0.2', owner('c1'))).toEqual([]);
  applyRecord(state, bound('c2'));
  expect(interruptedRebinds(state, ADDRESS.name, owner('c1'))).toEqual([]);
});
