import { expect, test } from 'vitest';
import { PoolTable, poolEntry } from './pools.ts';
import { aPool } from './testing/world.ts';

test('a pool that the operator has not looked at yet is Unknown', () => {
  const entry = poolEntry({ metadata: { name: 'a' }, spec: { subnet: '10.0.0.0/24' } });
  expect(entry).toMatchObject({
    name: 'a',
    network: 'default',
    ready: 'Unknown',
    hasFinalizer: false,
    deleting: false,
    invalid: undefined,
    heldForTruncated: false,
  });
});

test('a specification that can not be understood is kept with its reason', () => {
  const entry = poolEntry(aPool('a', { subnet: '10.0.0.1/24', network: 'storage' }));
  expect(entry.pool).toBeUndefined();
  expect(entry.invalid).toContain('spec.subnet');
  expect(entry.network).toBe('storage');
});

test('held addresses are found by their holder; what is no address is passed over', () => {
  const holders = [
    { holder: 'Pod/shop/a', address: '10.0.0.3' },
    { holder: 'Pod/shop/b', address: '10.0.0.4' },
    { holder: 'Pod/shop/a', address: '10.0.0.2' },
    { holder: 'Pod/shop/a', address: 'nonsense' },
  ];
  const { heldFor } = poolEntry(aPool('a', {}, { holders }));
  expect(Object.fromEntries(heldFor)).toEqual({
    'Pod/shop/a': ['10.0.0.3', '10.0.0.2'],
    'Pod/shop/b': ['10.0.0.4'],
  });
});

test('the table tells of each change, and has a cooldown of 0 for a pool that is gone or not understood', () => {
  const changed: string[] = [];
  const table = new PoolTable((name) => changed.push(name));
  table.set(aPool('a', { cooldown: '30s' }));
  table.set(aPool('b', { subnet: 'x' }));
  expect([table.cooldownMs('a'), table.cooldownMs('b'), table.cooldownMs('c')]).toEqual([30_000, 0, 0]);
  table.delete(aPool('a'));
  expect(table.cooldownMs('a')).toBe(0);
  expect([...table.entries.keys()]).toEqual(['b']);
  expect(changed).toEqual(['a', 'b', 'a']);
});
