/** Observable behaviours of the reference plugins `host-local` and `static`, and of Cilium as a caller. */
import type { Rule } from './rule.ts';

export const referenceRules: readonly Rule[] = [
  {
    id: 'host-local-families',
    source: 'host-local, `ranges`',
    text: 'A range set of each family gives one address of each, with its gateway and the prefix of its subnet',
  },
  {
    id: 'host-local-range-sets',
    source: 'host-local, `ranges`',
    text: 'Each range set gives an address: two of one family give two',
    differs:
      'Pools of one family stand in for each other: the first with room gives one. Several addresses of one family are asked for by value',
  },
  {
    id: 'host-local-ip-ranges',
    source: 'host-local, capability `ipRanges`; CNI conventions',
    text: 'The runtime may pass ranges for one call, which come before those of the configuration',
    differs:
      'Code 2 with key and value: ranges are those of the pools, for the whole cluster. To pass them over would give an address that the runtime did not mean',
  },
  {
    id: 'host-local-next-range',
    source: 'host-local, `ranges`',
    text: 'When the first range of a set is full, the next one gives',
  },
  {
    id: 'host-local-range-bounds',
    source: 'host-local, `rangeStart`, `rangeEnd`',
    text: 'Both ends of a range are given, and nothing outside it; then it is full',
  },
  {
    id: 'host-local-network-addresses',
    source: 'host-local, `Canonicalize`',
    text: 'The network and broadcast address of an IPv4 subnet and the anycast address of an IPv6 subnet are not given',
  },
  {
    id: 'host-local-small-subnets',
    source: 'host-local, `Canonicalize`',
    text: 'A /31, /32, /127 or /128 is refused as too small',
    differs:
      'Every address of them is given: point-to-point links (RFC 3021, RFC 6164) and single addresses are in use',
  },
  {
    id: 'host-local-gateway',
    source: 'host-local, `gateway`',
    text: 'The gateway is never given, not even on request',
  },
  {
    id: 'host-local-default-gateway',
    source: 'host-local, `gateway`',
    text: 'Without `gateway` the first address of the subnet is the gateway',
    differs:
      'Without `spec.gateway` there is none, and the first address is given: many secondary networks have no router',
  },
  {
    id: 'host-local-no-immediate-reuse',
    source: 'host-local, `GetIter`',
    text: 'An address that was given back is not given again while others are free',
  },
  {
    id: 'host-local-routes',
    source: 'host-local and static, `routes`',
    text: 'Routes of the configuration are in the result',
    differs:
      'Routes are those of the pools (`spec.routes`), the same on all nodes; `ipam.routes` is an unknown key',
  },
  {
    id: 'host-local-dns',
    source: 'host-local, `resolvConf`; static, `dns`',
    text: 'DNS settings of a file or of the configuration are in the result',
    differs: 'They are those of the pools (`spec.dns`), the same on all nodes; both keys are unknown',
  },
  {
    id: 'host-local-missing-ipam',
    source: 'host-local and static, `LoadIPAMConfig`',
    text: 'A configuration without `ipam` is an error, also where addresses are asked for by value',
  },
  {
    id: 'host-local-args',
    source: 'host-local and static, CNI_ARGS',
    text: 'Unknown keys of CNI_ARGS are an error unless IgnoreUnknown is set',
    differs:
      'They are tolerated: runtimes and Multus add their own, and IPAM has no say in what others understand',
  },
  {
    id: 'host-local-networks-apart',
    source: 'host-local, `dataDir`',
    text: 'One container and interface has an address in each network, by the name of the configuration',
    differs:
      'An attachment is (CNI_CONTAINERID, CNI_IFNAME), as the spec says: another name gets the answer of before',
  },
  {
    id: 'request-channels',
    source: 'host-local and static, `IP`, `ips`; CNI conventions',
    text: 'An address is asked for by CNI_ARGS `IP`, `args.cni.ips` or `runtimeConfig.ips`, and exactly it is given',
  },
  {
    id: 'request-prefix',
    source: 'static, `address`; CNI conventions',
    text: 'static demands a prefix length with each address, and gives whatever it says; host-local ignores it',
    differs: "It may be left out, and is that of the pool's subnet; another one is 103",
  },
  {
    id: 'request-precedence',
    source: 'static, `LoadIPAMConfig`; CNI conventions',
    text: '`runtimeConfig.ips` replaces `args.cni.ips`, which replaces `IP`',
    differs:
      'What all of them ask for is given, the same address once: Multus passes one request through two of them, and no request is lost silently',
  },
  {
    id: 'request-families',
    source: 'host-local, requested addresses of several protocols',
    text: 'Addresses of both families can be asked for at once',
  },
  {
    id: 'request-malformed',
    source: 'static, invalid CIDR in each channel',
    text: 'What is no address is an error in each channel',
  },
  {
    id: 'request-elsewhere',
    source: 'host-local, "failed to allocate all requested IPs"',
    text: 'An address that no range has is an error, and what was taken before is given back',
  },
  {
    id: 'request-outside-ranges',
    source: 'host-local, `RangeFor`',
    text: 'An address outside the ranges, inside the subnet, is an error',
    differs: 'It is given: what lies inside the subnet and outside `spec.ranges` is its static part',
  },
  {
    id: 'request-taken',
    source: 'host-local, "not available in range set"',
    text: "An address that is somebody else's is an error",
  },
  {
    id: 'static-same-twice',
    source: 'static',
    text: 'static gives the same address to everybody who asks for it',
    differs: 'The second one gets 102, which says whose it is: an address is unique in its network',
  },
  {
    id: 'static-addresses',
    source: 'static, `addresses`',
    text: 'Addresses stand in the configuration',
    differs:
      '`ipam.addresses` is an unknown key (7): one configuration serves many pods, so they ask by value',
  },
  {
    id: 'static-gateway',
    source: 'static, CNI_ARGS `GATEWAY`',
    text: 'The gateway can be set for one call',
    differs: "It is the pool's, for all who use it; `GATEWAY` is passed over like any unknown key",
  },
  {
    id: 'cilium-node-owner',
    source: 'Cilium, delegated IPAM (cniVersion 0.3.1)',
    text: 'An ADD for a pod that does not exist, without UID and in the namespace of the host, is served; the owner is the node',
  },
  {
    id: 'cilium-every-start',
    source: 'Cilium, delegated IPAM',
    text: 'The ADD is repeated at every start, and gets the same addresses: also from an agent that has restarted',
  },
  {
    id: 'cilium-lost-state',
    source: 'Cilium, delegated IPAM',
    text: 'It gets the same addresses even from an agent that has lost its state directory',
  },
  {
    id: 'cilium-del',
    source: 'Cilium, delegated IPAM',
    text: 'DEL gives them back; a DEL of what was never added succeeds',
  },
];
