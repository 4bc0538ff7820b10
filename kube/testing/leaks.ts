/** Fails tests that leave something running behind them. */
import { afterEach, expect } from 'vitest';
import { settle, takePendingTimers } from './fakeclock.ts';

/** Call once at the top of a test file: a test that leaves a pending timer on a FakeClock fails. */
export function failOnLeakedTimers(): void {
  afterEach(async () => {
    await settle();
    expect(takePendingTimers(), 'timers that the test left pending on its FakeClock').toBe(0);
  });
}
