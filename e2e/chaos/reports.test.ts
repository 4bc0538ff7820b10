import { expect, test } from 'vitest';
import type { Event } from '../../kube/core.ts';
import { conflictOf } from './reports.ts';

/** As the agent tells it: `plugin/agent/conflicts.test.ts` holds it to that. */
function event(type: Event['type'], about: 'IPReservation' | 'Pod'): Event {
  return {
    metadata: {},
    involvedObject: { kind: 'Pod', name: 'web', uid: 'uid-web' },
    related: { kind: about, name: 'other' },
    reason: 'AddressConflict',
    message: 'address 10.1.0.7 …',
    type,
  };
}

test('of the two pods of a conflict, the person who reads of it deletes the one without the reservation', () => {
  expect(conflictOf(event('Warning', 'IPReservation'))).toMatchObject({
    uid: 'uid-web',
    isWithoutReservation: true,
  });
  expect(conflictOf(event('Warning', 'Pod')).isWithoutReservation).toBe(false);
});

test('and none once it is over', () => {
  expect(conflictOf(event('Normal', 'IPReservation')).isWithoutReservation).toBe(false);
});
