import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Attachment,
  type AttachmentOwner,
  applyRecord,
  attachmentOf,
  type Claim,
  emptyState,
  hasClaim,
  type Intent,
  type JournalRecord,
  otherSandbox,
  parseRecord,
  recordsOf,
  type State,
} from './state.ts';

function owner(containerID: string, ifname = 'eth0', uid = 'u1'): AttachmentOwner {
  return {
    kind: 'Pod',
    namespace: 'shop',
    name: 'web',
    uid,
    node: 'n',
    containerID,
    ifname,
    cniNetwork: 'net',
  };
}

function claim(address: string): Claim {
  return {
    name: `default.${address}`,
    network: 'default',
    address,
    pool: 'blue',
    since: '2026-01-01T00:00:00Z',
  };
}

function attachment(containerID: string, addresses: readonly string[], addedAt = 1): Attachment {
  return { owner: owner(containerID), claims: addresses.map(claim), addedAt };
}

function intent(containerID: string, address: string): Intent {
  const { name, network, pool } = claim(address);
  return { name, network, address, pool, origin: 'created', owner: owner(containerID) };
}

function fold(...records: JournalRecord[]): State {
  const state = emptyState();
  for (const record of records) applyRecord(state, record);
  return state;
}

describe('the fold', () => {
  test('an answer resolves the intents of its attachment but for those in doubt', () => {
    const state = fold(
      { t: 'intent', intent: intent('c1', '10.0.0.1') },
      { t: 'intent', intent: intent('c1', '10.0.0.2') },
      { t: 'intent', intent: intent('c2', '10.0.0.1') },
      { t: 'bound', attachment: attachment('c1', ['10.0.0.1']), doubts: ['default.10.0.0.2'] },
    );
    expect([...state.intents.keys()]).toEqual(['c1/eth0 default.10.0.0.2', 'c2/eth0 default.10.0.0.1']);
    expect([...state.attachments.keys()]).toEqual(['c1/eth0']);
  });

  test('a failed ADD leaves only its doubts, and each is resolved by itself', () => {
    const state = fold(
      { t: 'intent', intent: intent('c1', '10.0.0.1') },
      { t: 'intent', intent: intent('c1', '10.0.0.2') },
      { t: 'failed', key: 'c1/eth0', doubts: ['default.10.0.0.2'] },
    );
    expect([...state.intents.keys()]).toEqual(['c1/eth0 default.10.0.0.2']);
    applyRecord(state, { t: 'resolved', intent: 'c1/eth0 default.10.0.0.2' });
    expect(state.intents.size).toBe(0);
  });

  test('a reservation belongs to whoever got it last; what has none left is no attachment', () => {
    const other = { ...attachment('c2', ['10.0.0.1']), owner: owner('c2', 'eth0', 'u2') };
    const state = fold(
      { t: 'bound', attachment: attachment('c1', ['10.0.0.1', '10.0.0.2']) },
      { t: 'bound', attachment: other },
    );
    expect(attachmentOf(state, 'default.10.0.0.1')).toBe(other);
    expect(state.attachments.get('c1/eth0')?.claims).toEqual([claim('10.0.0.2')]);
    applyRecord(state, { t: 'bound', attachment: { ...other, claims: [claim('10.0.0.2')] } });
    expect([...state.attachments.keys()]).toEqual(['c2/eth0']);
    expect(otherSandbox(state, owner('c9'))).toBeUndefined();
    expect(attachmentOf(state, 'default.10.0.0.1')).toBeUndefined();
    applyRecord(state, { t: 'dropped', key: 'c2/eth0' });
    expect(state).toEqual(emptyState());
  });

  test('an attachment is releasing from the acceptance of its DEL until the API has it', () => {
    const state = fold(
      { t: 'bound', attachment: attachment('c1', ['10.0.0.1']) },
      { t: 'release', key: 'c1/eth0' },
    );
    expect(state.attachments.size).toBe(0);
    expect(state.releasing.get('c1/eth0')?.claims).toEqual([claim('10.0.0.1')]);
    expect(hasClaim(state, 'c1/eth0', 'default.10.0.0.1')).toBe(true);
    applyRecord(state, { t: 'released', key: 'c1/eth0' });
    expect(hasClaim(state, 'c1/eth0', 'default.10.0.0.1')).toBe(false);
    expect(state.releasing.size).toBe(0);
  });

  test('a second release of the same attachment does not forget the first', () => {
    const state = fold(
      { t: 'bound', attachment: attachment('c1', ['10.0.0.1']) },
      { t: 'release', key: 'c1/eth0' },
      { t: 'bound', attachment: attachment('c1', ['10.0.0.2']) },
      { t: 'release', key: 'c1/eth0' },
    );
    expect(state.releasing.get('c1/eth0')?.claims.map((c) => c.address)).toEqual(['10.0.0.1', '10.0.0.2']);
  });

  test('a rebind replaces the old attachment in one record', () => {
    const state = fold(
      { t: 'bound', attachment: attachment('c1', ['10.0.0.1']) },
      { t: 'bound', attachment: attachment('c2', ['10.0.0.1']), replaces: 'c1/eth0' },
    );
    expect([...state.attachments.keys()]).toEqual(['c2/eth0']);
    expect(otherSandbox(state, owner('c3'))).toBe('c2/eth0');
  });

  test('records of things that are not there change nothing', () => {
    const state = fold(
      { t: 'release', key: 'x/y' },
      { t: 'released', key: 'x/y' },
      { t: 'dropped', key: 'x/y' },
      { t: 'failed', key: 'x/y', doubts: [] },
      { t: 'resolved', intent: 'x' },
    );
    expect(state).toEqual(emptyState());
  });
});

describe('otherSandbox', () => {
  test('is the newest of the same pod, interface and network, never the attachment itself', () => {
    const state = fold(
      { t: 'bound', attachment: attachment('new', ['10.0.0.1'], 9) },
      { t: 'bound', attachment: attachment('old', ['10.0.0.2'], 5) },
    );
    expect(otherSandbox(state, owner('c'))).toBe('new/eth0');
    expect(otherSandbox(state, owner('new'))).toBe('old/eth0');
    expect(otherSandbox(state, owner('c', 'net1'))).toBeUndefined();
    expect(otherSandbox(state, owner('c', 'eth0', 'u2'))).toBeUndefined();
    expect(otherSandbox(state, { ...owner('c'), cniNetwork: 'other' })).toBeUndefined();
    expect(
      otherSandbox(state, { kind: 'Node', node: 'n', containerID: 'c', ifname: 'eth0' }),
    ).toBeUndefined();
    applyRecord(state, { t: 'dropped', key: 'new/eth0' });
    expect(otherSandbox(state, owner('c'))).toBe('old/eth0');
  });
});

describe('parseRecord', () => {
  test.each(['', '{}', 'null', '5', '[]', '{"t":"future"}', '{"t":"bound"'])('%j is none', (line) => {
    expect(() => parseRecord(line)).toThrow();
  });
});

const containers = fc.constantFrom('c1', 'c2', 'c3');
const addresses = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3');
const keys = containers.map((c) => `${c}/eth0`);
const names = fc.array(
  addresses.map((a) => `default.${a}`),
  { maxLength: 3 },
);
const attachments = fc
  .tuple(containers, fc.uniqueArray(addresses, { minLength: 1 }), fc.nat(3))
  .map(([c, list, at]) => attachment(c, list, at));

const records: fc.Arbitrary<JournalRecord> = fc.oneof(
  fc.tuple(containers, addresses).map(([c, a]): JournalRecord => ({ t: 'intent', intent: intent(c, a) })),
  fc.tuple(attachments, fc.option(names, { nil: undefined }), fc.option(keys, { nil: undefined })).map(
    ([a, doubts, replaces]): JournalRecord => ({
      t: 'bound',
      attachment: a,
      ...(doubts !== undefined && { doubts }),
      ...(replaces !== undefined && { replaces }),
    }),
  ),
  fc.tuple(keys, names).map(([key, doubts]): JournalRecord => ({ t: 'failed', key, doubts })),
  fc
    .tuple(keys, addresses)
    .map(([key, a]): JournalRecord => ({ t: 'resolved', intent: `${key} default.${a}` })),
  keys.map((key): JournalRecord => ({ t: 'release', key })),
  keys.map((key): JournalRecord => ({ t: 'released', key })),
  keys.map((key): JournalRecord => ({ t: 'dropped', key })),
  fc.constant<JournalRecord>({ t: 'complete' }),
);

test('replaying recordsOf(state) gives the same state', () => {
  fc.assert(
    fc.property(fc.array(records, { maxLength: 40 }), (history) => {
      const state = fold(...history);
      expect(fold(...recordsOf(state))).toEqual(state);
    }),
    { numRuns: 500 },
  );
});

test('records survive being written as JSON', () => {
  fc.assert(
    fc.property(fc.array(records, { maxLength: 20 }), (history) => {
      expect(fold(...history.map((record) => parseRecord(JSON.stringify(record))))).toEqual(fold(...history));
    }),
  );
});
