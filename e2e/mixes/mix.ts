/** A mix as data: what is in the cluster, and who asks for what. Plain texts, as users write them. */

/** A label selector, as Kubernetes has it. */
export interface Selector {
  readonly matchLabels?: Record<string, string>;
  readonly matchExpressions?: {
    readonly key: string;
    readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
    readonly values?: string[];
  }[];
}

export interface Route {
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly priority?: number;
}

/** `spec` of an IPPool; an absent field has the default of the reference. */
export interface PoolSpec {
  readonly network: string;
  readonly subnet: string;
  readonly ranges?: string[];
  readonly excludes?: string[];
  readonly gateway?: string;
  readonly routes?: Route[];
  readonly dns?: {
    readonly nameservers?: string[];
    readonly domain?: string;
    readonly search?: string[];
    readonly options?: string[];
  };
  readonly nodeSelector?: Selector;
  readonly namespaceSelector?: Selector;
  readonly podSelector?: Selector;
  readonly default?: boolean;
  readonly disabled?: boolean;
  readonly staticRequests?: 'Allow' | 'Deny';
  readonly cooldown?: string;
  readonly allocation?: 'Random' | 'Ascending';
}

export interface MixPool {
  readonly name: string;
  readonly spec: PoolSpec;
  /** It has a deletionTimestamp, and a reservation that keeps it there. */
  readonly deleting: boolean;
}

export interface MixNamespace {
  readonly name: string;
  readonly labels: Record<string, string>;
  readonly annotations: Record<string, string>;
}

export interface MixPod {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly labels: Record<string, string>;
  readonly annotations: Record<string, string>;
}

/** A reservation, there before the first ADD or found after the last. */
export interface MixReservation {
  readonly network: string;
  readonly address: string;
  readonly pool: string;
  readonly state: 'Bound' | 'Released' | 'Held';
  readonly holder?: string | undefined;
  /** The attachment that has it, or had it last; absent where it was made for nobody that Berth starts. */
  readonly attachment?: string | undefined;
}

/** One ADD. */
export interface MixAdd {
  readonly container: string;
  readonly ifname: string;
  readonly node: string;
  /** The pod that CNI_ARGS name; absent: they name none. */
  readonly pod?: MixPod | undefined;
  /** K8S_POD_UID: the pod's, another one's, or not sent. */
  readonly uid: 'right' | 'wrong' | 'absent';
  readonly cniVersion: string;
  readonly cniNetwork: string;
  /** `ipam.network`. */
  readonly network?: string | undefined;
  /** `ipam.pools`. */
  readonly pools?: string[] | undefined;
  /** `args.cni.pools`. */
  readonly argPools?: string | string[] | undefined;
  /** `runtimeConfig.ips`. */
  readonly runtimeIps?: string[] | undefined;
  /** `args.cni.ips`. */
  readonly argIps?: string[] | undefined;
  /** `IP=` of CNI_ARGS. */
  readonly cniArgsIp?: string[] | undefined;
}

/** How an attachment is told from others. */
export function attachmentOf({ container, ifname }: Pick<MixAdd, 'container' | 'ifname'>): string {
  return `${container}/${ifname}`;
}

export interface Mix {
  readonly id: string;
  readonly pools: readonly MixPool[];
  readonly namespaces: readonly MixNamespace[];
  readonly pods: readonly MixPod[];
  readonly reservations: readonly MixReservation[];
  readonly adds: readonly MixAdd[];
}

export const POOLS = 'ipam.berth.dev/pools';
export const IPS = 'ipam.berth.dev/ips';

/** Nodes of every mix; each has the label `kubernetes.io/hostname` with its name, and no other that matters. */
export const NODES: readonly string[] = ['node-1', 'node-2', 'node-3', 'node-4'];

/** Pools that every mix has in common: large, open to all, and what is used where nobody names anything. */
export const COMMON_POOLS: readonly MixPool[] = [
  {
    name: 'common-v6',
    deleting: false,
    spec: { network: 'default', subnet: 'fd00:ff::/64', default: true, cooldown: '0s' },
  },
  {
    name: 'common-v4',
    deleting: false,
    spec: {
      network: 'default',
      subnet: '10.255.0.0/16',
      gateway: '10.255.0.1',
      default: true,
      cooldown: '0s',
    },
  },
];

/** What an ADD answered. */
export interface MixAnswer {
  /** 0 for a success. */
  readonly code: number;
  readonly stdout: string;
  readonly output: Readonly<Record<string, unknown>>;
}
