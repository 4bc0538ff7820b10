import { expect, test } from 'vitest';
import { operatorMetrics } from './metrics.ts';

test("the names and labels are the contract's", async () => {
  const metrics = operatorMetrics();
  metrics.poolAddresses.set({ pool: 'blue', state: 'free' }, 1);
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
  ]);
});

test('phases, findings and reasons start at 0, so that a rise from nothing is seen', async () => {
  const text = await operatorMetrics().registry.metrics();
  expect(text).toContain('berth_operator_orphans{phase="candidate"} 0');
  expect(text).toContain('berth_audit_findings{kind="OwnerMismatch"} 0');
  expect(text).toContain('berth_operator_released_total{reason="PodDeleted"} 0');
  expect(text).toContain('berth_operator_released_total{reason="CooldownOver"} 0');
});
