import { expect, test } from 'vitest';
import { operatorMetrics } from './metrics.ts';

test("the names and labels are the contract's", async () => {
  const metrics = operatorMetrics();
  metrics.poolAddresses.set({ pool: 'blue', state: 'free' }, 1);
  metrics.hintAge.published('blue', 0);
  const text = await metrics.registry.metrics();
  const series = text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.replaceAll(/"[^"]*"/g, '""').replace(/ [^ ]*$/, ''));
  expect([...new Set(series)].toSorted()).toEqual([
    'berth_audit_findings{kind=""}',
    'berth_operator_leader',
    'berth_operator_orphans{phase=""}',
    'berth_operator_released_total{reason=""}',
    'berth_pool_addresses{pool="",state=""}',
    'berth_pool_hint_age_seconds{pool=""}',
  ]);
});

test('phases, findings and reasons start at 0, so that a rise from nothing is seen', async () => {
  const text = await operatorMetrics().registry.metrics();
  expect(text).toContain('berth_operator_orphans{phase="candidate"} 0');
  expect(text).toContain('berth_audit_findings{kind="OwnerMismatch"} 0');
  expect(text).toContain('berth_operator_released_total{reason="PodDeleted"} 0');
  expect(text).toContain('berth_operator_released_total{reason="CooldownOver"} 0');
});

test('the age of a hint is that of the moment in which it is asked for, and gone with the hint', async () => {
  let now = 10_000;
  const metrics = operatorMetrics({ now: () => now });
  metrics.hintAge.published('blue', 9_000);
  now = 12_500;
  expect(await metrics.registry.metrics()).toContain('berth_pool_hint_age_seconds{pool="blue"} 3.5');
  metrics.hintAge.published('blue', undefined);
  expect(await metrics.registry.metrics()).not.toContain('pool="blue"');
});
