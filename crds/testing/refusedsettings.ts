/** Refusals of a pool's routes, DNS, selectors and behaviour. */
import type { PoolCase } from './case.ts';

const v4 = '10.20.0.0/16';
const v6 = 'fd00:10::/64';

export const refusedSettings: readonly PoolCase[] = [
  // Routes and DNS.
  {
    rule: 'a route has a destination',
    spec: { subnet: v4, routes: [{ gw: '10.20.0.1' }] },
    refused: { 'spec.routes[0].dst': 'Required value' },
  },
  {
    rule: 'a destination has the family of the subnet',
    spec: { subnet: v4, routes: [{ dst: '10.0.0.0/8' }, { dst: '::/0' }] },
    refused: {
      'spec.routes':
        'must be of the family of subnet 10.20.0.0/16, put the others on a pool of their family: ::/0',
    },
  },
  {
    rule: 'a next hop has the family of the subnet',
    spec: { subnet: v6, routes: [{ dst: '::/0', gw: '10.0.0.1' }] },
    refused: { 'spec.routes': 'must be of the family of subnet fd00:10::/64' },
  },
  {
    rule: 'a destination has no host bits',
    spec: { subnet: v4, routes: [{ dst: '10.96.0.1/12' }] },
    refused: { 'spec.routes[0].dst': 'write 10.96.0.0/12' },
  },
  {
    rule: 'a destination is a CIDR',
    spec: { subnet: v4, routes: [{ dst: 'default' }] },
    refused: { 'spec.routes[0].dst': 'must be a CIDR such as 10.96.0.0/12' },
  },
  {
    rule: 'a next hop is canonical',
    spec: { subnet: v6, routes: [{ dst: '::/0', gw: 'fd00:10:0::1' }] },
    refused: { 'spec.routes[0].gw': 'write fd00:10::1' },
  },
  {
    rule: 'an MTU is not negative',
    spec: { subnet: v4, routes: [{ dst: '0.0.0.0/0', mtu: -1 }] },
    refused: { 'spec.routes[0].mtu': 'should be greater than or equal to 0' },
  },
  {
    rule: 'a scope fits one byte',
    spec: { subnet: v4, routes: [{ dst: '0.0.0.0/0', scope: 256 }] },
    refused: { 'spec.routes[0].scope': 'should be less than or equal to 255' },
  },
  {
    rule: 'at most 64 routes',
    spec: { subnet: v4, routes: Array.from({ length: 65 }, (_, i) => ({ dst: `10.${i}.0.0/16` })) },
    refused: { 'spec.routes': 'must have at most 64 items' },
  },
  {
    rule: 'a name server is an address',
    spec: { subnet: v4, dns: { nameservers: ['ns.example.com'] } },
    refused: { 'spec.dns.nameservers[0]': 'is not an IP address' },
  },

  // Selectors.
  {
    rule: 'a label key is a qualified name',
    spec: { subnet: v4, nodeSelector: { matchLabels: { 'a b': 'x' } } },
    refused: { 'spec.nodeSelector.matchLabels': 'keys must be qualified label names' },
  },
  {
    rule: 'a label value is one',
    spec: { subnet: v4, podSelector: { matchLabels: { app: 'a b' } } },
    refused: { 'spec.podSelector.matchLabels.app': 'should match' },
  },
  {
    rule: 'In needs values',
    spec: { subnet: v4, namespaceSelector: { matchExpressions: [{ key: 'team', operator: 'In' }] } },
    refused: {
      'spec.namespaceSelector.matchExpressions[0]': 'values must be set for In and NotIn, and only for them',
    },
  },
  {
    rule: 'Exists has no values',
    spec: {
      subnet: v4,
      podSelector: { matchExpressions: [{ key: 'app', operator: 'Exists', values: ['x'] }] },
    },
    refused: {
      'spec.podSelector.matchExpressions[0]': 'values must be set for In and NotIn, and only for them',
    },
  },
  {
    rule: 'an operator is one of four',
    spec: { subnet: v4, podSelector: { matchExpressions: [{ key: 'app', operator: 'Gt', values: ['1'] }] } },
    refused: { 'spec.podSelector.matchExpressions[0].operator': 'Unsupported value: "Gt"' },
  },
  {
    rule: 'a key of an expression is a qualified name',
    spec: { subnet: v4, podSelector: { matchExpressions: [{ key: '-', operator: 'Exists' }] } },
    refused: { 'spec.podSelector.matchExpressions[0].key': 'must be a qualified label name' },
  },

  // Behaviour.
  {
    rule: 'a cooldown is at most 24 h',
    spec: { subnet: v4, cooldown: '24h1ms' },
    refused: {
      'spec.cooldown': '"24h1ms": must be a duration such as 30s or 1h30m (units ms, s, m, h), at most 24h',
    },
  },
  {
    rule: 'a cooldown has a unit',
    spec: { subnet: v4, cooldown: '30' },
    refused: { 'spec.cooldown': 'must be a duration' },
  },
  {
    rule: 'a cooldown is not negative',
    spec: { subnet: v4, cooldown: '-1s' },
    refused: { 'spec.cooldown': 'must be a duration' },
  },
  {
    rule: 'a cooldown is in whole numbers',
    spec: { subnet: v4, cooldown: '1.5h' },
    refused: { 'spec.cooldown': 'must be a duration' },
  },
  {
    rule: 'a cooldown that overflows is refused as one too long',
    spec: { subnet: v4, cooldown: '99999999999999h' },
    refused: { 'spec.cooldown': 'at most 24h' },
  },
  {
    rule: 'an allocation is Random or Ascending',
    spec: { subnet: v4, allocation: 'Descending' },
    refused: { 'spec.allocation': 'Unsupported value: "Descending"' },
  },
  {
    rule: 'static requests are allowed or denied',
    spec: { subnet: v4, staticRequests: 'Maybe' },
    refused: { 'spec.staticRequests': 'Unsupported value: "Maybe"' },
  },
  {
    rule: 'several mistakes are reported at once',
    spec: { subnet: v4, gateway: '10.21.0.1', cooldown: '2d' },
    refused: { 'spec.gateway': 'must lie inside', 'spec.cooldown': 'must be a duration' },
  },
];
