import { expect, test } from 'vitest';
import { MIRROR_ANNOTATION, type Pod } from '../../kube/core.ts';
import { EndedPods } from './endedpods.ts';
import { podFacts } from './owners.ts';
import { type AttachmentOwner, applyRecord, emptyState, type State } from './state.ts';

const pod = (name: string, uid: string, annotations: Record<string, string> = {}): Pod => ({
  metadata: { namespace: 'shop', name, uid, annotations },
});

const ownerOf = (name: string, uid: string): AttachmentOwner => ({
  kind: 'Pod',
  namespace: 'shop',
  name,
  uid,
  node: 'n',
  containerID: `c-${name}`,
  ifname: 'eth0',
});

function stateOf(...owners: readonly AttachmentOwner[]): State {
  const state = emptyState();
  for (const owner of owners)
    applyRecord(state, { t: 'bound', attachment: { owner, claims: [], addedAt: 1 } });
  return state;
}

const WEB = ownerOf('web', 'u1');
const DB = ownerOf('db', 'u2');

function endedPods(state: State, there: readonly Pod[] = []): EndedPods {
  return new EndedPods({
    state,
    cachedPod: (namespace, name) => {
      const found = there.find(({ metadata }) => metadata.namespace === namespace && metadata.name === name);
      return found && podFacts(found);
    },
  });
}

test('a pod that a watch says is deleted has ended, and no other', () => {
  const ended = endedPods(stateOf(WEB, DB));
  ended.deleted(pod('web', 'u1'));
  expect([WEB, DB].map((owner) => ended.has(owner))).toEqual([true, false]);
});

test('a pod that a complete list lacks has ended, also where another one has its name', () => {
  const node: AttachmentOwner = { kind: 'Node', node: 'n', containerID: 'c', ifname: 'eth0' };
  const ended = endedPods(stateOf(WEB, DB, node), [pod('web', 'u1'), pod('db', 'u9')]);
  ended.complete();
  expect([WEB, DB, node].map((owner) => ended.has(owner))).toEqual([false, true, false]);
});

test('a mirror pod may be deleted, and a static pod that is seen again has not ended', () => {
  const owner = ownerOf('static-n', 'hash');
  const mirror = pod('static-n', 'u3', { [MIRROR_ANNOTATION]: 'hash' });
  const ended = endedPods(stateOf(owner));
  ended.deleted(mirror);
  expect(ended.has(owner)).toBe(false);
  ended.complete();
  expect(ended.has(owner)).toBe(true);
  ended.seen(mirror);
  expect(ended.has(owner)).toBe(false);
});

test('a pod without an attachment is forgotten', () => {
  const state = stateOf(WEB, DB);
  const ended = endedPods(state);
  ended.deleted(pod('web', 'u1'));
  applyRecord(state, { t: 'dropped', key: 'c-web/eth0' });
  ended.deleted(pod('db', 'u2'));
  expect([WEB, DB].map((owner) => ended.has(owner))).toEqual([false, true]);
});
