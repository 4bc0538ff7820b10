/**
 * Types of the kinds. Generated from crds/*.yaml by `npm run generate`: do not edit.
 *
 * Everything is read-only, since objects are shared with caches. A field with a default may be left out when an object
 * is written; the API server fills it in, so that it is there when the object is read.
 */
import type { ObjectMeta } from './meta.ts';

/**
 * A pool of IP addresses: one subnet of one family in one network, which of its addresses may be given out, and to whom.
 */
export interface IPPool {
  /**
   * Absent in the items of a list.
   */
  readonly apiVersion?: 'ipam.berth.dev/v1alpha1';
  /**
   * Absent in the items of a list.
   */
  readonly kind?: 'IPPool';
  readonly metadata: ObjectMeta;
  /**
   * What the pool consists of and who may use it.
   */
  readonly spec: IPPoolSpec;
  /**
   * What the operator has seen. Counts are decimal strings, since an IPv6 subnet does not fit into 64 bits.
   */
  readonly status?: IPPoolStatus;
}

/**
 * What the pool consists of and who may use it.
 */
export interface IPPoolSpec {
  /**
   * The space in which an address is unique. Two pools of one network never give the same address; two networks may. Immutable. At most 63 lower-case letters, digits and "-", no dots. Default: "default".
   */
  readonly network?: string;
  /**
   * The subnet as a CIDR in canonical form without host bits, such as 10.20.0.0/16 or fd00:10::/64. Its prefix length goes into every result. Immutable.
   */
  readonly subnet: string;
  /**
   * What dynamic allocation may use: addresses, CIDRs and first-last ranges (both ends included) inside subnet. Absent: all of subnet. An empty list: nothing, the pool serves requests by value only. May grow and shrink at any time; shrinking takes no address away. At most 64.
   *
   * Items: An address, a CIDR without host bits or first-last, in canonical form.
   */
  readonly ranges?: readonly string[];
  /**
   * What is never given, not even on request: addresses, CIDRs and first-last ranges inside subnet. Absent: nothing. At most 64.
   *
   * Items: An address, a CIDR without host bits or first-last, in canonical form.
   */
  readonly excludes?: readonly string[];
  /**
   * Gateway of the subnet, inside subnet, in canonical form. It goes into every result and is never given. Absent: results carry no gateway.
   */
  readonly gateway?: string;
  /**
   * Routes that go into every result, in this order. Absent: none. At most 64.
   *
   * Items: One route of the result. Fields beyond dst and gw need a network configuration of cniVersion 1.1.0.
   */
  readonly routes?: readonly Route[];
  /**
   * DNS settings that go into every result. Absent: none.
   */
  readonly dns?: DNS;
  /**
   * Labels of the nodes whose pods may use the pool. Absent or empty: every node.
   */
  readonly nodeSelector?: LabelSelector;
  /**
   * Labels of the namespaces whose pods may use the pool. Absent or empty: every namespace.
   */
  readonly namespaceSelector?: LabelSelector;
  /**
   * Labels of the pods that may use the pool. Absent or empty: every pod.
   */
  readonly podSelector?: LabelSelector;
  /**
   * Whether the pool is used when nothing else names one. Several defaults of one network are tried in the order of their names. Default: false.
   */
  readonly default?: boolean;
  /**
   * Whether the pool gives no new addresses. Those in use stay, and a pod that has one keeps it when its sandbox is restarted. Default: false.
   */
  readonly disabled?: boolean;
  /**
   * Whether a pod may ask for an address of this pool by value. Default: "Allow".
   */
  readonly staticRequests?: 'Allow' | 'Deny';
  /**
   * How long a released address rests before it is free again: whole numbers with the units ms, s, m and h, such as 30s or 1h30m. 0s: free at once. At most 24h. When nothing else is free, a resting address is given all the same. Default: "30s".
   */
  readonly cooldown?: string;
  /**
   * How a dynamic address is chosen. Random: spread over the pool, so that an address is seldom given again soon. Ascending: the lowest free one, as far as the agent knows. Default: "Random".
   */
  readonly allocation?: 'Random' | 'Ascending';
}

/**
 * One route of the result. Fields beyond dst and gw need a network configuration of cniVersion 1.1.0.
 */
export interface Route {
  /**
   * Destination as a CIDR without host bits, of the subnet's family; 0.0.0.0/0 or ::/0 is the default route.
   */
  readonly dst: string;
  /**
   * Next hop, of the subnet's family, in canonical form. Absent: the main plugin takes the gateway.
   */
  readonly gw?: string;
  /**
   * MTU of the route in bytes. Absent: the interface's.
   */
  readonly mtu?: number;
  /**
   * Maximum segment size to advertise to the destination, in bytes. Absent: the kernel's choice.
   */
  readonly advmss?: number;
  /**
   * Priority (metric) of the route; lower wins. Absent: the kernel's default.
   */
  readonly priority?: number;
  /**
   * Routing table to add the route to. Absent: the main table.
   */
  readonly table?: number;
  /**
   * Scope of the destinations that the route covers: 0 global, 253 link, 254 host. Absent: the kernel's choice.
   */
  readonly scope?: number;
}

/**
 * DNS settings that go into every result. Absent: none.
 */
export interface DNS {
  /**
   * Addresses of name servers, of either family, in order of preference. At most 16.
   *
   * Items: Address of a name server, in canonical form.
   */
  readonly nameservers?: readonly string[];
  /**
   * Local domain for short host names.
   */
  readonly domain?: string;
  /**
   * Search domains for short host names, in order of preference. At most 32.
   *
   * Items: A search domain.
   */
  readonly search?: readonly string[];
  /**
   * Options for the resolver, as in resolv.conf. At most 32.
   *
   * Items: A resolver option such as ndots:5.
   */
  readonly options?: readonly string[];
}

/**
 * A Kubernetes label selector: matchLabels and matchExpressions must all hold; an empty one matches everything.
 */
export interface LabelSelector {
  /**
   * Labels that must all be present with exactly these values. At most 32.
   */
  readonly matchLabels?: {
    /**
     * The value that the label must have.
     */
    readonly [k: string]: string;
  };
  /**
   * Requirements that must all hold. At most 32.
   *
   * Items: One requirement on the value of one label.
   */
  readonly matchExpressions?: readonly LabelSelectorRequirement[];
}

/**
 * One requirement on the value of one label.
 */
export interface LabelSelectorRequirement {
  /**
   * The label's key.
   */
  readonly key: string;
  /**
   * How the label's value is compared with values. NotIn and DoesNotExist also match an absent label.
   */
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  /**
   * Values for In and NotIn, at least one; empty for Exists and DoesNotExist. At most 64.
   *
   * Items: A label value.
   */
  readonly values?: readonly string[];
}

/**
 * What the operator has seen. Counts are decimal strings, since an IPv6 subnet does not fit into 64 bits.
 */
export interface IPPoolStatus {
  /**
   * The metadata.generation of the spec that this status is about.
   */
  readonly observedGeneration?: number;
  /**
   * Number of usable addresses in ranges, excludes and gateway left out.
   */
  readonly capacity?: string;
  /**
   * Number of Bound reservations of this pool, also of those outside ranges.
   */
  readonly bound?: string;
  /**
   * Number of Held reservations of this pool, also of those outside ranges.
   */
  readonly held?: string;
  /**
   * Number of Released reservations of this pool (cooling down), also of those outside ranges.
   */
  readonly released?: string;
  /**
   * Number of usable addresses in ranges that have no reservation in the network. It need not add up with the other counts, since pools may overlap and ranges may shrink.
   */
  readonly free?: string;
  /**
   * A hint for agents which addresses of ranges are taken. It is there while the pool is at least half full (with allocation Ascending always) and not huge. It may be stale and is never the truth; an unknown encoding means that there is no hint.
   */
  readonly occupancy?: Occupancy;
  /**
   * Addresses of this pool that are Held for a named holder. At most 500, see holdersTruncated.
   *
   * Items: One held address.
   */
  readonly holders?: readonly HeldAddress[];
  /**
   * Whether there are more held addresses than holders lists. Absent: no.
   */
  readonly holdersTruncated?: boolean;
  /**
   * Ready: agents may use the pool. Exhausted: no address is free or cooling down. Drained: no reservation lies outside ranges. Conflict: an address is in use by somebody who does not own it.
   *
   * Items: One aspect of the pool's state.
   */
  readonly conditions?: readonly Condition[];
}

/**
 * A hint for agents which addresses of ranges are taken. It is there while the pool is at least half full (with allocation Ascending always) and not huge. It may be stale and is never the truth; an unknown encoding means that there is no hint.
 */
export interface Occupancy {
  /**
   * How the planes are encoded. bitmap+deflate+base64: for each range of usable addresses of the observed spec the bytes that hold it, address a as bit a mod 8; DEFLATE (RFC 1951); base64.
   */
  readonly encoding?: string;
  /**
   * Plane of the addresses that have a reservation in the network.
   */
  readonly taken?: string;
  /**
   * Plane of the addresses whose reservation is Released; where there are many, of the half that was released first.
   */
  readonly released?: string;
  /**
   * When the planes were true (RFC 3339).
   */
  readonly time?: string;
}

/**
 * One held address.
 */
export interface HeldAddress {
  /**
   * The holder, as in spec.holder of the reservation.
   */
  readonly holder: string;
  /**
   * The address that waits for it.
   */
  readonly address: string;
}

/**
 * One aspect of the pool's state.
 */
export interface Condition {
  /**
   * Ready, Exhausted, Drained or Conflict.
   */
  readonly type: string;
  /**
   * Whether the condition holds.
   */
  readonly status: 'True' | 'False' | 'Unknown';
  /**
   * The metadata.generation of the spec that the condition is about.
   */
  readonly observedGeneration?: number;
  /**
   * When status last changed (RFC 3339).
   */
  readonly lastTransitionTime: string;
  /**
   * Why, as one CamelCase word for programs.
   */
  readonly reason: string;
  /**
   * Why, in a sentence for people.
   */
  readonly message: string;
}

/**
 * One IP address of a network that is not free, and whose it is. The name is the lock: it is made of network and address, so that no address is reserved twice.
 */
export interface IPReservation {
  /**
   * Absent in the items of a list.
   */
  readonly apiVersion?: 'ipam.berth.dev/v1alpha1';
  /**
   * Absent in the items of a list.
   */
  readonly kind?: 'IPReservation';
  readonly metadata: ObjectMeta;
  /**
   * The address and whose it is.
   */
  readonly spec: IPReservationSpec;
}

/**
 * The address and whose it is.
 */
export interface IPReservationSpec {
  /**
   * Network in which the address is unique, as in the pool. Immutable.
   */
  readonly network: string;
  /**
   * The address, IPv4 or IPv6, in canonical form (RFC 5952), without a prefix length. Immutable.
   */
  readonly address: string;
  /**
   * Pool that the address was given from and is counted in. A pool that does not contain the address is accepted and reported.
   */
  readonly pool: string;
  /**
   * Bound: an owner has the address. Released: given back, cooling down, can be taken again when nothing else is free. Held: nobody is on it, it waits for its holder or is used by something outside the cluster.
   */
  readonly state: 'Bound' | 'Released' | 'Held';
  /**
   * Who has the address. Of a Released or Held reservation that Berth made: who had it last. A Held one that a person asked for has none, and is never collected. Required with state Bound.
   */
  readonly owner?: ReservationOwner;
  /**
   * Whom a Held address waits for, or a Bound one returns to: Pod/<namespace>/<name> or StatefulSet/<namespace>/<set>/<ordinal>. When its holder's pod ends, the reservation goes back to Held. Absent: nobody.
   */
  readonly holder?: string;
  /**
   * When the reservation entered its state: RFC 3339 in UTC, whole seconds, such as 2026-01-31T10:00:00Z. Absent: unknown, as of one that a person made.
   */
  readonly since?: string;
}

/**
 * Who has the address. Of a Released or Held reservation that Berth made: who had it last. A Held one that a person asked for has none, and is never collected. Required with state Bound.
 */
export interface ReservationOwner {
  /**
   * Pod: one interface of a pod. Node: something on the node itself, such as an ingress of the CNI. External: something outside the cluster, with state Held only.
   */
  readonly kind: 'Pod' | 'Node' | 'External';
  /**
   * Namespace of the pod.
   */
  readonly namespace?: string;
  /**
   * Name of the pod, or of what has the address outside the cluster.
   */
  readonly name?: string;
  /**
   * UID of the pod as the container runtime gave it (K8S_POD_UID); of a static pod that is the kubelet's hash and not the UID of the mirror pod.
   */
  readonly uid?: string;
  /**
   * Name of the node.
   */
  readonly node?: string;
  /**
   * Container ID of the CNI request, that is the pod's sandbox.
   */
  readonly containerID?: string;
  /**
   * Name of the interface inside the pod, such as eth0 or net1.
   */
  readonly ifname?: string;
  /**
   * Name of the CNI network configuration that the request came from.
   */
  readonly cniNetwork?: string;
}
