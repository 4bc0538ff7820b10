/** Refusals of names and addresses of reservations. */
import type { ReservationCase } from './case.ts';
import { bound, boundV6, nameInFull } from './examples.ts';

const wrongV6 = {
  'metadata.name': 'must be "default." and fd00:10::11 in full: eight groups of four lower-case digits',
};

export const refusedAddresses: readonly ReservationCase[] = [
  // Names.
  {
    rule: 'the name is network and address',
    name: 'storage.10.20.1.8',
    spec: bound,
    refused: { 'metadata.name': '"storage.10.20.1.8" must be "storage.10.20.1.7"' },
  },
  {
    rule: 'the name has the network',
    name: 'other.10.20.1.7',
    spec: bound,
    refused: { 'metadata.name': 'must be "storage.10.20.1.7"' },
  },
  {
    rule: 'the name is not the address alone',
    name: '10.20.1.7',
    spec: bound,
    refused: { 'metadata.name': 'must be "storage.10.20.1.7"' },
  },
  {
    rule: 'nothing follows the address',
    name: 'storage.10.20.1.7.x',
    spec: bound,
    refused: { 'metadata.name': 'must be "storage.10.20.1.7"' },
  },
  {
    rule: 'an IPv6 name is not shortened',
    name: 'default.fd00-10--11',
    spec: boundV6('fd00:10::11'),
    refused: wrongV6,
  },
  {
    rule: 'an IPv6 name has leading zeros',
    name: 'default.fd00-10-0-0-0-0-0-11',
    spec: boundV6('fd00:10::11'),
    refused: wrongV6,
  },
  {
    rule: 'an IPv6 name has its groups apart',
    name: 'default.fd000010000000000000000000000011',
    spec: boundV6('fd00:10::11'),
    refused: wrongV6,
  },
  {
    rule: 'an IPv6 name has dashes, not dots',
    name: 'default.fd00.0010.0000.0000.0000.0000.0000.0011',
    spec: boundV6('fd00:10::11'),
    refused: wrongV6,
  },
  {
    rule: 'an IPv6 name has eight groups',
    name: 'default.fd00-0010-0000-0000-0000-0000-0011',
    spec: boundV6('fd00:10::11'),
    refused: wrongV6,
  },
  {
    rule: 'an IPv6 name has hexadecimal digits',
    name: 'default.gd00-0010-0000-0000-0000-0000-0000-0011',
    spec: boundV6('fd00:10::11'),
    refused: wrongV6,
  },
  {
    rule: 'an IPv6 name says the same address',
    name: 'default.fd00-0010-0000-0000-0000-0000-0000-0012',
    spec: boundV6('fd00:10::11'),
    refused: wrongV6,
  },
  {
    rule: 'an IPv6 name has the network',
    name: 'storage.fd00-0010-0000-0000-0000-0000-0000-0011',
    spec: boundV6('fd00:10::11'),
    refused: wrongV6,
  },
  {
    rule: 'an IPv6 name is lower case',
    name: 'default.FD00-0010-0000-0000-0000-0000-0000-0011',
    spec: boundV6('fd00:10::11'),
    refused: { 'metadata.name': ['lowercase RFC 1123 subdomain', wrongV6['metadata.name']] },
  },
  {
    rule: 'a name longer than any address is refused',
    name: `${'n'.repeat(104)}`,
    spec: bound,
    refused: { 'metadata.name': 'may not be more than 103' },
  },

  // Addresses.
  {
    rule: 'an address is canonical (upper case)',
    name: nameInFull,
    spec: boundV6('FD00:10::11'),
    refused: { 'spec.address': '"FD00:10::11": is not in canonical form (RFC 5952): write fd00:10::11' },
  },
  {
    rule: 'an address is canonical (in full)',
    name: nameInFull,
    spec: boundV6('fd00:0010:0000:0000:0000:0000:0000:0011'),
    refused: { 'spec.address': 'write fd00:10::11' },
  },
  {
    rule: 'an address is canonical (zeros not shortened)',
    name: nameInFull,
    spec: boundV6('fd00:10:0:0:0:0:0:11'),
    refused: { 'spec.address': 'write fd00:10::11' },
  },
  {
    rule: 'an address is canonical (wrong run shortened)',
    name: 'default.fd00-0000-0000-0001-0000-0000-0000-0001',
    spec: boundV6('fd00::1:0:0:0:1'),
    refused: { 'spec.address': 'write fd00:0:0:1::1' },
  },
  {
    rule: 'an address is canonical (dotted end)',
    name: 'default.0064-ff9b-0000-0000-0000-0000-0a00-0001',
    spec: boundV6('64:ff9b::10.0.0.1'),
    refused: { 'spec.address': 'write 64:ff9b::a00:1' },
  },
  {
    rule: 'an address is not IPv4-mapped',
    name: 'default.0000-0000-0000-0000-0000-ffff-0a14-0107',
    spec: boundV6('::ffff:10.20.1.7'),
    refused: { 'spec.address': 'is an IPv4-mapped IPv6 address: write the IPv4 address itself' },
  },
  {
    rule: 'an address is not IPv4-mapped in hexadecimal',
    name: 'default.0000-0000-0000-0000-0000-ffff-0a14-0107',
    spec: boundV6('::ffff:a14:107'),
    refused: { 'spec.address': 'is an IPv4-mapped IPv6 address' },
  },
  {
    rule: 'an address has no zone',
    name: 'default.fe80-0000-0000-0000-0000-0000-0000-0001',
    spec: boundV6('fe80::1%eth0'),
    refused: { 'spec.address': 'has a zone: leave out "%" and what follows' },
  },
  {
    rule: 'an address has no leading zeros',
    name: 'storage.10.20.1.07',
    spec: { ...bound, address: '10.20.1.07' },
    refused: { 'spec.address': 'has leading zeros' },
  },
  {
    rule: 'an address has no prefix length',
    name: 'storage.10.20.1.7',
    spec: { ...bound, address: '10.20.1.7/16' },
    refused: { 'spec.address': 'has a prefix length' },
  },
  {
    rule: 'an address is one',
    name: 'storage.web',
    spec: { ...bound, address: 'web' },
    refused: { 'spec.address': 'is not an IP address' },
  },
  {
    rule: 'an address has four numbers',
    name: 'storage.10.20.1',
    spec: { ...bound, address: '10.20.1' },
    refused: { 'spec.address': 'is not an IP address' },
  },
];
