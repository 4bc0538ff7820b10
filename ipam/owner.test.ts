import { describe, expect, test } from 'vitest';
import type { HolderSource, Owner } from './owner.ts';
import { checkOwner, holdersOf, ownerIs } from './owner.ts';
import { refusal } from './testing/refusal.ts';

const podOwner: Owner = {
  kind: 'Pod',
  namespace: 'shop',
  name: 'web-1',
  uid: 'u1',
  node: 'n1',
  containerID: 'c1',
  ifname: 'net1',
};

describe('checkOwner', () => {
  test('accepts what the CRD accepts', () => {
    for (const owner of [podOwner, { kind: 'Node', node: 'n1' }, { kind: 'External' }] satisfies Owner[])
      checkOwner(owner);
  });

  test.each(['namespace', 'name', 'uid', 'node', 'containerID', 'ifname'] as const)(
    'a Pod needs %s',
    (field) => {
      const { [field]: _dropped, ...without } = podOwner;
      for (const owner of [without, { ...podOwner, [field]: '' }]) {
        const error = refusal(() => checkOwner(owner));
        expect(error.code).toBe('InvalidOwner');
        expect(error.message).toContain(`an owner of kind Pod has no ${field}; set namespace, name, uid`);
      }
    },
  );

  test('a Node needs node', () => {
    expect(refusal(() => checkOwner({ kind: 'Node' })).message).toContain('has no node');
  });
});

describe('ownerIs', () => {
  const attachment = { containerID: 'c1', ifname: 'net1', node: 'n1', uid: 'u1' };
  const { uid: _uid, ...withoutUid } = attachment;
  const nodeOwner: Owner = { kind: 'Node', node: 'n1', containerID: 'c1', ifname: 'net1' };

  test.each<[string, Owner | undefined, typeof attachment | typeof withoutUid, boolean]>([
    ['the same', podOwner, attachment, true],
    ['without a UID to compare', podOwner, withoutUid, true],
    ['another container', podOwner, { ...attachment, containerID: 'c2' }, false],
    ['another interface', podOwner, { ...attachment, ifname: 'net2' }, false],
    ['another node', podOwner, { ...attachment, node: 'n2' }, false],
    ['another UID', podOwner, { ...attachment, uid: 'u2' }, false],
    ['a Node owner of that attachment', nodeOwner, withoutUid, true],
    ['a Node owner, where a pod UID is asked for', nodeOwner, attachment, false],
    ['an External owner', { ...podOwner, kind: 'External' }, attachment, false],
    ['nobody', undefined, attachment, false],
  ])('%s', (_name, owner, asked, expected) => {
    expect(ownerIs(owner, asked)).toBe(expected);
  });
});

describe('holdersOf', () => {
  const set = { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', controller: true };
  const pod = (
    name: string,
    ...ownerReferences: HolderSource['metadata']['ownerReferences'] & {}
  ): HolderSource => ({
    metadata: { namespace: 'shop', name, ownerReferences },
  });

  test.each<[string, HolderSource, string[]]>([
    ['a bare pod', { metadata: { namespace: 'shop', name: 'vip' } }, ['Pod/shop/vip']],
    ['a pod of a set', pod('db-2', set), ['Pod/shop/db-2', 'StatefulSet/shop/db/2']],
    [
      'a set with a dash in its name',
      pod('db-1-0', { ...set, name: 'db-1' }),
      ['Pod/shop/db-1-0', 'StatefulSet/shop/db-1/0'],
    ],
    ['a name that only looks like one', pod('db-2'), ['Pod/shop/db-2']],
    ['a reference that is no controller', pod('db-2', { ...set, controller: false }), ['Pod/shop/db-2']],
    ['a controller of another kind', pod('db-2', { ...set, kind: 'ReplicaSet' }), ['Pod/shop/db-2']],
    [
      'a StatefulSet of another group',
      pod('db-2', { ...set, apiVersion: 'example.org/v1' }),
      ['Pod/shop/db-2'],
    ],
    ["another set's name", pod('web-2', set), ['Pod/shop/web-2']],
    ['no ordinal', pod('db-x', set), ['Pod/shop/db-x']],
    ['an ordinal with a leading zero', pod('db-02', set), ['Pod/shop/db-02']],
    ['the name of the set itself', pod('db', set), ['Pod/shop/db']],
  ])('%s', (_name, source, holders) => {
    expect(holdersOf(source)).toEqual(holders);
  });

  test('a pod without a name or namespace has none', () => {
    for (const metadata of [{ name: 'a' }, { namespace: 'b' }, {}]) {
      expect(refusal(() => holdersOf({ metadata })).code).toBe('InvalidOwner');
    }
  });
});
