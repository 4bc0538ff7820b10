/** Refusals of ranges and excludes. */
import type { PoolCase } from './case.ts';

const v4 = '10.20.0.0/16';
const v6 = 'fd00:10::/64';

function addresses(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `10.20.1.${i}`);
}

export const refusedRanges: readonly PoolCase[] = [
  {
    rule: 'a range lies inside the subnet',
    spec: { subnet: v4, ranges: ['10.20.1.1', '10.21.0.1'] },
    refused: { 'spec.ranges': 'must lie inside subnet 10.20.0.0/16; this one does not: 10.21.0.1' },
  },
  {
    rule: 'a range does not begin before the subnet',
    spec: { subnet: v4, ranges: ['10.19.255.255-10.20.0.9'] },
    refused: { 'spec.ranges': 'this one does not: 10.19.255.255-10.20.0.9' },
  },
  {
    rule: 'a range does not end after the subnet',
    spec: { subnet: v4, ranges: ['10.20.255.0-10.21.0.0'] },
    refused: { 'spec.ranges': 'this one does not: 10.20.255.0-10.21.0.0' },
  },
  {
    rule: 'a range is not larger than the subnet',
    spec: { subnet: v4, ranges: ['10.20.0.0/15'] },
    refused: { 'spec.ranges': 'this one does not: 10.20.0.0/15' },
  },
  {
    rule: 'an IPv6 range lies inside the subnet',
    spec: { subnet: v6, ranges: ['fd00:10:0:1::1-fd00:10:0:1::9'] },
    refused: { 'spec.ranges': 'inside subnet fd00:10::/64' },
  },
  {
    rule: 'a range has the family of the subnet',
    spec: { subnet: v4, ranges: ['fd00::1'] },
    refused: { 'spec.ranges': 'this one does not: fd00::1' },
  },
  {
    rule: 'a range has one family',
    spec: { subnet: v4, ranges: ['10.20.0.1-fd00::1'] },
    refused: { 'spec.ranges': 'this one does not', 'spec.ranges[0]': 'mixes IPv4 and IPv6' },
  },
  {
    rule: 'a range is not inverted (last number)',
    spec: { subnet: v4, ranges: ['10.20.1.10-10.20.1.9'] },
    refused: { 'spec.ranges[0]': '"10.20.1.10-10.20.1.9": first must not be after last' },
  },
  {
    rule: 'a range is not inverted (second number)',
    spec: { subnet: '10.0.0.0/8', ranges: ['10.100.0.0-10.20.255.255'] },
    refused: { 'spec.ranges[0]': 'first must not be after last' },
  },
  {
    rule: 'an IPv6 range is not inverted (last group)',
    spec: { subnet: v6, ranges: ['fd00:10::a-fd00:10::9'] },
    refused: { 'spec.ranges[0]': 'first must not be after last' },
  },
  {
    rule: 'an IPv6 range is not inverted (zeros in the middle)',
    spec: { subnet: v6, ranges: ['fd00:10:0:0:1::-fd00:10::ffff'] },
    refused: { 'spec.ranges[0]': 'first must not be after last' },
  },
  {
    rule: 'an IPv6 range is not inverted (first group)',
    spec: { subnet: '::/0', ranges: ['a::-9:ffff::'] },
    refused: { 'spec.ranges[0]': 'first must not be after last' },
  },
  {
    rule: 'an IPv6 range is not inverted (down to ::)',
    spec: { subnet: '::/0', ranges: ['::1-::'] },
    refused: { 'spec.ranges[0]': 'first must not be after last' },
  },
  {
    rule: 'an exclude is not inverted',
    spec: { subnet: v4, excludes: ['10.20.1.10-10.20.1.9'] },
    refused: { 'spec.excludes[0]': 'first must not be after last' },
  },
  {
    rule: 'an exclude lies inside the subnet',
    spec: { subnet: v4, excludes: ['10.21.0.0/24'] },
    refused: {
      'spec.excludes': 'every exclude must lie inside subnet 10.20.0.0/16; this one does not: 10.21.0.0/24',
    },
  },
  {
    rule: 'a CIDR in ranges has no host bits',
    spec: { subnet: v4, ranges: ['10.20.1.1/24'] },
    refused: { 'spec.ranges[0]': 'has host bits or is not canonical: write 10.20.1.0/24' },
  },
  {
    rule: 'a CIDR in excludes has no host bits',
    spec: { subnet: v6, excludes: ['fd00:10::1/80'] },
    refused: { 'spec.excludes[0]': 'write fd00:10::/80' },
  },
  {
    rule: 'a range has no leading zeros',
    spec: { subnet: v4, ranges: ['10.20.01.0-10.20.1.9'] },
    refused: { 'spec.ranges[0]': 'has leading zeros' },
  },
  {
    rule: 'the last number of a range has no leading zeros',
    spec: { subnet: v4, ranges: ['10.20.1.0-10.20.1.09'] },
    refused: { 'spec.ranges[0]': 'has leading zeros' },
  },
  {
    rule: 'an address in ranges has no zone',
    spec: { subnet: 'fe80::/64', ranges: ['fe80::1%eth0'] },
    refused: { 'spec.ranges[0]': 'has a zone: leave out "%"' },
  },
  {
    rule: 'an address in ranges is not IPv4-mapped',
    spec: { subnet: v4, ranges: ['::ffff:10.20.0.9'] },
    refused: { 'spec.ranges[0]': 'IPv4-mapped' },
  },
  {
    rule: 'an address in ranges is canonical',
    spec: { subnet: v6, ranges: ['fd00:10::0:1'] },
    refused: { 'spec.ranges[0]': 'is not in canonical form (RFC 5952): write fd00:10::1' },
  },
  {
    rule: 'a range has two ends',
    spec: { subnet: v4, ranges: ['10.20.0.1-10.20.0.2-10.20.0.3'] },
    refused: { 'spec.ranges[0]': 'must be an address, a CIDR without host bits or first-last' },
  },
  {
    rule: 'a range has both ends',
    spec: { subnet: v4, ranges: ['10.20.0.1-'] },
    refused: { 'spec.ranges[0]': 'must be an address' },
  },
  {
    rule: 'a range has no blanks',
    spec: { subnet: v4, ranges: ['10.20.0.1 - 10.20.0.9'] },
    refused: { 'spec.ranges[0]': 'must be an address' },
  },
  {
    rule: 'a range is not empty',
    spec: { subnet: v4, ranges: [''] },
    refused: { 'spec.ranges[0]': 'must be an address' },
  },
  {
    rule: 'an inverted range is refused in a change too',
    before: { subnet: v4 },
    spec: { subnet: v4, ranges: ['10.20.0.9-10.20.0.1'] },
    refused: { 'spec.ranges[0]': 'first must not be after last' },
  },
  {
    rule: 'at most 64 ranges',
    spec: { subnet: v4, ranges: addresses(65) },
    refused: { 'spec.ranges': 'must have at most 64 items' },
  },
  {
    rule: 'at most 64 excludes',
    spec: { subnet: v4, excludes: addresses(65) },
    refused: { 'spec.excludes': 'must have at most 64 items' },
  },
  {
    rule: 'ranges may shrink to nothing',
    before: { subnet: v4, ranges: ['10.20.1.0/24'] },
    spec: { subnet: v4, ranges: [] },
  },
];
