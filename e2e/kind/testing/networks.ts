/** Pools and networks that the suite uses, and reaching pods over them. */
import type { IPPoolSpec } from '../../../crds/types.ts';
import { waitFor } from '../../harness/wait.ts';
import { routedSubnets, STRETCHED, STRETCHED_MTU } from '../network.ts';
import { inPod } from './workloads.ts';
import { PATIENCE_MS, type TestPod, type World } from './world.ts';

/** Pools of the cluster's own network in its stretched variant: the defaults of the network. */
export const PRIMARY_POOLS: Readonly<Record<string, IPPoolSpec>> = {
  'stretched-v4': {
    network: 'stretched',
    subnet: '10.64.0.0/16',
    ranges: ['10.64.1.0-10.64.9.255'],
    gateway: '10.64.0.1',
    routes: [{ dst: '0.0.0.0/0' }],
    default: true,
    cooldown: '5s',
  },
  'stretched-v6': {
    network: 'stretched',
    subnet: 'fd00:64::/64',
    ranges: ['fd00:64::1:0-fd00:64::1:ffff'],
    gateway: 'fd00:64::1',
    routes: [{ dst: '::/0' }],
    default: true,
    cooldown: '5s',
  },
};

/** Pools of the two secondary networks. */
export const SECONDARY_POOLS: Readonly<Record<string, IPPoolSpec>> = {
  'bridge-v4': { network: 'bridge', subnet: '10.66.0.0/16', ranges: ['10.66.1.0/24'], cooldown: '5s' },
  'bridge-v6': { network: 'bridge', subnet: 'fd00:66::/64', ranges: ['fd00:66::1:0/112'], cooldown: '5s' },
  'macvlan-v4': { network: 'macvlan', subnet: '10.67.0.0/16', ranges: ['10.67.1.0/24'], cooldown: '5s' },
  'macvlan-v6': { network: 'macvlan', subnet: 'fd00:67::/64', ranges: ['fd00:67::1:0/112'], cooldown: '5s' },
};

/** Pools of a node in the routed variant of the cluster's own network. */
export function routedPools(node: string, index: number): Readonly<Record<string, IPPoolSpec>> {
  const { v4, v6 } = routedSubnets(index);
  const common = {
    network: 'routed',
    default: true,
    cooldown: '5s',
    nodeSelector: { matchLabels: { 'kubernetes.io/hostname': node } },
  };
  return {
    [`routed-v4-${index}`]: {
      ...common,
      subnet: v4,
      gateway: v4.replace('.0/24', '.1'),
      routes: [{ dst: '0.0.0.0/0' }],
    },
    [`routed-v6-${index}`]: {
      ...common,
      subnet: v6,
      gateway: v6.replace('::/64', '::1'),
      routes: [{ dst: '::/0' }],
    },
  };
}

/** Creates pools, and waits until each is Ready. */
export async function createPools(world: World, pools: Readonly<Record<string, IPPoolSpec>>): Promise<void> {
  await Promise.all(Object.entries(pools).map(([name, spec]) => world.pool(name, spec)));
}

/** NetworkAttachmentDefinitions `bridge` and `macvlan`, in the namespace `default`. */
export async function createAttachmentDefinitions(world: World): Promise<void> {
  const plugins = {
    bridge: { type: 'bridge', bridge: STRETCHED.secondary.bridge, mtu: STRETCHED_MTU },
    macvlan: { type: 'macvlan', master: process.env['E2E_MASTER'] ?? 'eth0', mode: 'bridge' },
  };
  await world.apply(
    Object.entries(plugins).map(([name, plugin]) => ({
      apiVersion: 'k8s.cni.cncf.io/v1',
      kind: 'NetworkAttachmentDefinition',
      metadata: { name, namespace: 'default' },
      spec: {
        config: JSON.stringify({
          cniVersion: '1.0.0',
          name,
          ...plugin,
          ipam: { type: 'berth', network: name, pools: [`${name}-v4`, `${name}-v6`] },
        }),
      },
    })),
  );
}

/** Takes away what the suite has made on a cluster that stays. */
export async function removeNetworks(world: World): Promise<void> {
  const gone = ['--ignore-not-found', '--timeout=120s'];
  await world.kubectl([
    'delete',
    'network-attachment-definitions',
    'bridge',
    'macvlan',
    '--namespace=default',
    ...gone,
  ]);
  await world.kubectl(['delete', 'ippools', ...Object.keys(SECONDARY_POOLS), ...gone]);
  await world.kubectl([
    'delete',
    'pods',
    '--selector=app=berth-e2e-node',
    '--namespace=kube-system',
    ...gone,
  ]);
}

/** The annotation that gives a pod both secondary networks: `net1` is the bridge, `net2` macvlan. */
export const SECONDARY: Readonly<Record<string, string>> = {
  'k8s.v1.cni.cncf.io/networks': 'default/bridge, default/macvlan',
};

/** What a pod's annotation `network-status` says, by interface. */
export function statusAddresses({ metadata }: TestPod): Record<string, string[]> {
  const text = metadata.annotations?.['k8s.v1.cni.cncf.io/network-status'] ?? '[]';
  // The format of the Network Plumbing Working Group's specification.
  const entries = JSON.parse(text) as { interface?: string; ips?: string[] }[];
  return Object.fromEntries(entries.map((entry) => [entry.interface ?? 'eth0', entry.ips ?? []]));
}

/** Every address of a pod, of all its interfaces. */
export function allAddresses(pod: TestPod): string[] {
  const primary = (pod.status?.podIPs ?? []).map(({ ip }) => ip);
  return [...new Set([...primary, ...Object.values(statusAddresses(pod)).flat()])];
}

/**
 * What a pod answers to another one: its name.
 * @param port that of the pod or of its Service
 */
export async function askName(world: World, from: TestPod, host: string, port: number): Promise<string> {
  const { namespace = '', name = '' } = from.metadata;
  // busybox' own wget crashes where it is linked statically.
  const request = `printf 'GET /hostname HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 10 ${host} ${port}`;
  const answer = await inPod(world, namespace, name, request);
  return answer.trimEnd().split('\n').at(-1) ?? '';
}

/** Waits until `from` gets `to`'s own name from each of its addresses. */
export async function whenReachable(
  world: World,
  from: TestPod,
  to: TestPod,
  addresses: readonly string[] = allAddresses(to),
): Promise<void> {
  for (const address of addresses) {
    await waitFor(
      `${from.metadata.name} reaches ${to.metadata.name} at ${address}`,
      async () => (await askName(world, from, address, 8080)) === to.metadata.name,
      { timeoutMs: PATIENCE_MS, everyMs: 500 },
    );
  }
}
