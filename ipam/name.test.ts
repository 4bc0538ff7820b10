import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseAddress } from './address.ts';
import { parseReservationName, reservationName } from './name.ts';
import { addresses } from './testing/arbitraries.ts';
import { refusal } from './testing/refusal.ts';

test.each([
  ['storage', '10.20.1.7', 'storage.10.20.1.7'],
  ['default', 'fd00:10::11', 'default.fd00-0010-0000-0000-0000-0000-0000-0011'],
  ['a-1', '::', 'a-1.0000-0000-0000-0000-0000-0000-0000-0000'],
])('%s and %s make %s, and back', (network, address, name) => {
  expect(reservationName(network, parseAddress(address))).toBe(name);
  expect(parseReservationName(name)).toEqual({ network, address: parseAddress(address) });
});

describe('parseReservationName', () => {
  test.each([
    ['', 'has "" for a network'],
    ['storage', 'has "" for a network'],
    ['.10.20.1.7', 'has "" for a network'],
    ['Storage.10.20.1.7', 'has "Storage" for a network'],
    ['-a.10.20.1.7', 'has "-a" for a network'],
    ['10.20.1.7', 'has "20.1.7" for an address'],
    ['storage.', 'has "" for an address'],
    ['storage.10.20.1', 'has "10.20.1" for an address'],
    ['storage.010.20.1.7', 'has "010.20.1.7" for an address'],
    ['a.b.10.20.1.7', 'has "b.10.20.1.7" for an address'],
    ['storage.fd00--11', 'has "fd00--11" for an address'],
    ['storage.fd00::11', 'has "fd00::11" for an address'],
    ['storage.FD00-0010-0000-0000-0000-0000-0000-0011', 'for an address'],
    ['storage.fd00-10-0-0-0-0-0-11', 'for an address'],
    ['storage.0000-0000-0000-0000-0000-ffff-0a00-0001', 'mapped into IPv6'],
  ])('refuses %j', (name, reason) => {
    const error = refusal(() => parseReservationName(name));
    expect(error.code).toBe('InvalidName');
    expect(error.message).toContain(reason);
  });
});

test.each(['', 'A', 'a.b', '-a', 'a-', 'a_b', 'a/b', 'x'.repeat(64)])(
  'no name is made for network %j',
  (network) => {
    expect(refusal(() => reservationName(network, parseAddress('10.0.0.1'))).code).toBe('InvalidName');
  },
);

test('every network and address has exactly one name, which leads back to it', () => {
  const networks = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);
  fc.assert(
    fc.property(networks, addresses, addresses, (network, a, b) => {
      const name = reservationName(network, a);
      expect(parseReservationName(name)).toEqual({ network, address: a });
      expect(name === reservationName(network, b)).toBe(a.family === b.family && a.value === b.value);
      // What Kubernetes takes as an object's name (RFC 1123 subdomain), and the CRD's limit.
      expect(name).toMatch(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);
      expect(name.length).toBeLessThanOrEqual(103);
    }),
  );
});
