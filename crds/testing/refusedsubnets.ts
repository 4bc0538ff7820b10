/** Refusals of subnets, networks and gateways. */
import type { PoolCase } from './case.ts';

const v4 = '10.20.0.0/16';
const v6 = 'fd00:10::/64';

export const refusedSubnets: readonly PoolCase[] = [
  // Subnets.
  { rule: 'a subnet is required', spec: {}, refused: { 'spec.subnet': 'Required value' } },
  {
    rule: 'a subnet has a prefix length',
    spec: { subnet: '10.20.0.0' },
    refused: { 'spec.subnet': 'must be a CIDR such as 10.20.0.0/16' },
  },
  {
    rule: 'a subnet has no host bits (IPv4)',
    spec: { subnet: '10.20.0.1/16' },
    refused: { 'spec.subnet': '"10.20.0.1/16": has host bits or is not canonical: write 10.20.0.0/16' },
  },
  {
    rule: 'a subnet has no host bits (IPv6)',
    spec: { subnet: 'fd00:10::1/64' },
    refused: { 'spec.subnet': 'write fd00:10::/64' },
  },
  {
    rule: 'a subnet is canonical (upper case)',
    spec: { subnet: 'FD00:10::/64' },
    refused: { 'spec.subnet': 'write fd00:10::/64' },
  },
  {
    rule: 'a subnet is canonical (zeros written out)',
    spec: { subnet: 'fd00:0010:0:0::/64' },
    refused: { 'spec.subnet': 'write fd00:10::/64' },
  },
  {
    rule: 'a subnet has no leading zeros',
    spec: { subnet: '010.20.0.0/16' },
    refused: { 'spec.subnet': 'no leading zeros' },
  },
  {
    rule: 'a prefix length has no leading zero',
    spec: { subnet: '10.0.0.0/08' },
    refused: { 'spec.subnet': 'must be a CIDR' },
  },
  {
    rule: 'a prefix length fits the family',
    spec: { subnet: '10.0.0.0/33' },
    refused: { 'spec.subnet': 'must be a CIDR' },
  },
  {
    rule: 'a subnet is not IPv4-mapped',
    spec: { subnet: '::ffff:10.0.0.0/104' },
    refused: { 'spec.subnet': 'not IPv4-mapped' },
  },
  { rule: 'a subnet has no zone', spec: { subnet: 'fe80::%eth0/64' }, refused: { 'spec.subnet': 'no zone' } },
  {
    rule: 'a subnet is not longer than a CIDR can be',
    spec: { subnet: `${'f'.repeat(44)}` },
    refused: { 'spec.subnet': 'Too long' },
  },
  {
    rule: 'subnet cannot change',
    before: { subnet: v4 },
    spec: { subnet: '10.21.0.0/16' },
    refused: { 'spec.subnet': 'is immutable and stays 10.20.0.0/16: make a new pool for 10.21.0.0/16' },
  },
  {
    rule: 'subnet cannot grow',
    before: { subnet: v4 },
    spec: { subnet: '10.20.0.0/15' },
    refused: { 'spec.subnet': 'is immutable and stays 10.20.0.0/16' },
  },

  // Networks and names.
  {
    rule: 'network cannot change',
    before: { network: 'a', subnet: v4 },
    spec: { network: 'b', subnet: v4 },
    refused: { 'spec.network': 'is immutable and stays "a": make a new pool for "b"' },
  },
  {
    rule: 'leaving network out is a change to the default',
    before: { network: 'a', subnet: v4 },
    spec: { subnet: v4 },
    refused: { 'spec.network': 'stays "a": make a new pool for "default"' },
  },
  {
    rule: 'a network has no dots',
    spec: { network: 'a.b', subnet: v4 },
    refused: { 'spec.network': 'without dots' },
  },
  {
    rule: 'a network is not empty',
    spec: { network: '', subnet: v4 },
    refused: { 'spec.network': 'must be lower-case letters' },
  },
  {
    rule: 'a network is lower case',
    spec: { network: 'Storage', subnet: v4 },
    refused: { 'spec.network': '"Storage": must be lower-case letters' },
  },
  {
    rule: 'a network does not end with a dash',
    spec: { network: 'a-', subnet: v4 },
    refused: { 'spec.network': 'ending with a letter or digit' },
  },
  {
    rule: 'a network has at most 63 characters',
    spec: { network: 'n'.repeat(64), subnet: v4 },
    refused: { 'spec.network': 'may not be more than 63' },
  },
  {
    rule: 'a pool name has at most 63 characters',
    name: 'p'.repeat(64),
    spec: { subnet: v4 },
    refused: { 'metadata.name': 'may not be more than 63' },
  },

  // Gateway.
  {
    rule: 'the gateway lies inside the subnet',
    spec: { subnet: v4, gateway: '10.21.0.1' },
    refused: { 'spec.gateway': 'gateway 10.21.0.1 must lie inside subnet 10.20.0.0/16' },
  },
  {
    rule: 'the gateway has the family of the subnet',
    spec: { subnet: v4, gateway: 'fd00::1' },
    refused: { 'spec.gateway': 'gateway fd00::1 must lie inside subnet 10.20.0.0/16' },
  },
  {
    rule: 'the gateway is canonical',
    spec: { subnet: v6, gateway: 'FD00:10::1' },
    refused: { 'spec.gateway': '"FD00:10::1": is not in canonical form (RFC 5952): write fd00:10::1' },
  },
  {
    rule: 'the gateway has no leading zeros',
    spec: { subnet: v4, gateway: '10.20.0.01' },
    refused: { 'spec.gateway': 'has leading zeros' },
  },
  {
    rule: 'the gateway has no zone',
    spec: { subnet: 'fe80::/64', gateway: 'fe80::1%eth0' },
    refused: { 'spec.gateway': 'has a zone' },
  },
  {
    rule: 'the gateway is not IPv4-mapped',
    spec: { subnet: v4, gateway: '::ffff:10.20.0.1' },
    refused: { 'spec.gateway': 'is an IPv4-mapped IPv6 address: write the IPv4 address itself' },
  },
  {
    rule: 'the gateway has no prefix length',
    spec: { subnet: v4, gateway: '10.20.0.1/16' },
    refused: { 'spec.gateway': 'has a prefix length: write the address alone' },
  },
  {
    rule: 'the gateway is an address',
    spec: { subnet: v4, gateway: 'router' },
    refused: { 'spec.gateway': 'is not an IP address: write it like 10.20.1.7' },
  },
];
