/** Pools that the API server accepts. */
import type { PoolCase } from './case.ts';

const v4 = '10.20.0.0/16';
const v6 = 'fd00:10::/64';
const v6End = 'fd00:10::ffff:ffff:ffff:ffff';

function addresses(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `10.20.1.${i}`);
}

export const acceptedPools: readonly PoolCase[] = [
  { rule: 'a subnet alone is a pool', spec: { subnet: v4 } },
  { rule: 'an IPv6 subnet alone is a pool', spec: { subnet: v6 } },
  {
    rule: 'every field of the example in the documentation',
    name: 'storage-v4',
    spec: {
      network: 'storage',
      subnet: v4,
      ranges: ['10.20.1.0-10.20.9.255', '10.20.16.0/20', '10.20.200.7'],
      excludes: ['10.20.1.0/28', '10.20.9.9'],
      gateway: '10.20.0.1',
      routes: [
        { dst: '0.0.0.0/0', gw: '10.20.0.1', mtu: 1500, advmss: 1460, priority: 100, table: 100, scope: 0 },
      ],
      dns: {
        nameservers: ['10.20.0.2'],
        domain: 'cluster.local',
        search: ['svc.cluster.local'],
        options: [],
      },
      nodeSelector: { matchLabels: { 'example.com/rack': 'r1' } },
      namespaceSelector: { matchExpressions: [{ key: 'team', operator: 'In', values: ['shop', 'web'] }] },
      podSelector: { matchExpressions: [{ key: 'app', operator: 'Exists' }] },
      default: false,
      disabled: false,
      staticRequests: 'Allow',
      cooldown: '30s',
      allocation: 'Random',
    },
  },
  { rule: 'an empty list of ranges: static requests only', spec: { subnet: v4, ranges: [] } },
  { rule: 'a subnet of one IPv4 address', spec: { subnet: '10.20.0.7/32' } },
  { rule: 'a point-to-point IPv6 subnet', spec: { subnet: 'fd00::2/127' } },
  { rule: 'the whole of IPv4', spec: { subnet: '0.0.0.0/0' } },
  { rule: 'the whole of IPv6', spec: { subnet: '::/0' } },
  { rule: 'a range of one address', spec: { subnet: v4, ranges: ['10.20.1.1-10.20.1.1'] } },
  {
    rule: 'a range that is all of the subnet',
    spec: { subnet: v4, ranges: ['10.20.0.0-10.20.255.255', v4] },
  },
  {
    rule: 'IPv4 ends are compared as numbers',
    spec: { subnet: v4, ranges: ['10.20.9.255-10.20.10.0', '10.20.1.9-10.20.1.10'] },
  },
  {
    rule: 'IPv6 ends are compared as numbers, however they are shortened',
    spec: {
      subnet: v6,
      ranges: [
        `fd00:10::-${v6End}`,
        'fd00:10::9-fd00:10::a',
        'fd00:10::ff-fd00:10::1:0',
        'fd00:10:0:0:1::-fd00:10::1:0:0:1',
        'fd00:10::5-fd00:10::5',
      ],
    },
  },
  {
    rule: 'IPv6 ends whose first group differs',
    spec: { subnet: '::/0', ranges: ['::-::1', '::1-1::', '9::-a::', '1:2:3:4:5:6:7:8-1:2:3:4:5:6:7:9'] },
  },
  {
    rule: 'IPv6 ranges, CIDRs and excludes',
    spec: { subnet: v6, ranges: ['fd00:10::/80'], excludes: ['fd00:10::1', 'fd00:10::10-fd00:10::1f'] },
  },
  { rule: '64 ranges and 64 excludes', spec: { subnet: v4, ranges: addresses(64), excludes: addresses(64) } },
  {
    rule: '64 routes',
    spec: { subnet: v4, routes: Array.from({ length: 64 }, (_, i) => ({ dst: `10.${i}.0.0/16` })) },
  },
  { rule: 'IPv6 routes in an IPv6 pool', spec: { subnet: v6, routes: [{ dst: '::/0', gw: 'fe80::1' }] } },
  {
    rule: 'name servers of either family',
    spec: { subnet: v4, dns: { nameservers: ['10.20.0.2', 'fd00::53'] } },
  },
  { rule: 'no cooldown', spec: { subnet: v4, cooldown: '0s' } },
  { rule: 'the longest cooldown', spec: { subnet: v4, cooldown: '24h' } },
  { rule: 'the longest cooldown in other units', spec: { subnet: v4, cooldown: '23h59m59s1000ms' } },
  { rule: 'the longest cooldown in milliseconds', spec: { subnet: v4, cooldown: '86400000ms' } },
  {
    rule: 'Ascending, and no static requests',
    spec: { subnet: v4, allocation: 'Ascending', staticRequests: 'Deny' },
  },
  { rule: 'a network of 63 characters', spec: { network: 'n'.repeat(63), subnet: v4 } },
  { rule: 'a pool name of 63 characters', name: 'p'.repeat(63), spec: { subnet: v4 } },
  {
    rule: 'empty selectors',
    spec: {
      subnet: v4,
      nodeSelector: {},
      namespaceSelector: { matchLabels: {} },
      podSelector: { matchExpressions: [] },
    },
  },
];
