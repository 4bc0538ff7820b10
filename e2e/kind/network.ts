/**
 * What the nodes' networks need besides CNI: a person or another tool makes it in a real cluster.
 *
 * - `stretched`: one layer 2 over all nodes, a bridge on each that a VXLAN connects. One pool serves every node.
 *   The gateway's address is on every node's bridge: a pod's packets to Services leave by its own node. ARP and
 *   neighbour solicitations for it stay on the node (`neigh_suppress` passes none on for a bridge's own address).
 * - `routed`: a subnet for each node, and a route to each other node's.
 */
import { join } from 'node:path';
import type { Docker } from './docker.ts';

/** A node's container and its addresses in docker's network. */
export interface NodeAddresses {
  readonly name: string;
  readonly v4: string;
  readonly v6: string;
  /** From 1, in the order of the nodes. */
  readonly index: number;
}

/** A bridge over all nodes. */
export interface Stretched {
  readonly bridge: string;
  /** VXLAN network identifier. */
  readonly id: number;
  /** First half of the subnets, such as `10.64` for 10.64.0.0/16, and `fd00:64` for fd00:64::/64. */
  readonly v4: string;
  readonly v6: string;
  /** Whether the nodes have the gateway's address, x.x.0.1 and x::1. */
  readonly gateway: boolean;
}

/** The cluster's own network, and a secondary one. */
export const STRETCHED: Readonly<Record<'primary' | 'secondary', Stretched>> = {
  primary: { bridge: 'berth0', id: 64, v4: '10.64', v6: 'fd00:64', gateway: true },
  secondary: { bridge: 'berth1', id: 66, v4: '10.66', v6: 'fd00:66', gateway: false },
};

/** Bytes; a VXLAN's headers take 50 of 1500 over IPv4. */
export const STRETCHED_MTU = 1450;

/** Addresses of the nodes' containers. */
export async function nodeAddresses(docker: Docker, names: readonly string[]): Promise<NodeAddresses[]> {
  const format = '{{with .NetworkSettings.Networks.kind}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}';
  return Promise.all(
    names.map(async (name, position) => {
      const text = await docker.run(['inspect', `--format=${format}`, name]);
      const [v4 = '', v6 = ''] = text.trim().split(' ');
      if (v4 === '' || v6 === '')
        throw new Error(`node ${name} has no address of each family: ${text.trim()}`);
      return { name, v4, v6, index: position + 1 };
    }),
  );
}

/** Idempotent: a node that was restarted has lost all of it, and CNI may have made the bridge again. */
function stretchScript(network: Stretched, node: NodeAddresses, all: readonly NodeAddresses[]): string {
  const { bridge, id, v4, v6 } = network;
  const vxlan = `vx-${bridge}`;
  const host = 10 + node.index;
  const lines = [
    `ip link show ${bridge} >/dev/null 2>&1 || ip link add ${bridge} type bridge`,
    `ip link show ${vxlan} >/dev/null 2>&1 || ip link add ${vxlan} type vxlan id ${id} dstport 4789 local ${node.v4} dev eth0`,
    `ip link set ${vxlan} master ${bridge} up`,
    `bridge link set dev ${vxlan} neigh_suppress on`,
    `ip link set ${bridge} up`,
    // First: the address that the node itself uses for what it sends to pods.
    `ip address replace ${v4}.0.${host}/16 dev ${bridge}`,
    `ip address replace ${v6}::${host}/64 dev ${bridge} nodad`,
  ];
  if (network.gateway) {
    lines.push(
      `ip address replace ${v4}.0.1/16 dev ${bridge}`,
      `ip address replace ${v6}::1/64 dev ${bridge} nodad preferred_lft 0`,
    );
  }
  for (const peer of all.filter((each) => each.name !== node.name)) {
    lines.push(
      `bridge fdb show dev ${vxlan} | grep -q '^00:00:00:00:00:00 dst ${peer.v4} ' || ` +
        `bridge fdb append 00:00:00:00:00:00 dev ${vxlan} dst ${peer.v4}`,
    );
  }
  return lines.join('\n');
}

/** Makes both stretched bridges on every node, or what is missing of them. */
export async function stretch(docker: Docker, nodes: readonly NodeAddresses[]): Promise<void> {
  for (const node of nodes) {
    // A node forwards its pods' packets; the machine may not forward any.
    await docker.shell(node.name, 'sysctl --write net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1');
    for (const network of Object.values(STRETCHED)) {
      await docker.shell(node.name, stretchScript(network, node, nodes));
    }
  }
}

/** Subnets of a node in the routed variant. */
export function routedSubnets(index: number): { readonly v4: string; readonly v6: string } {
  return { v4: `10.65.${index}.0/24`, v6: `fd00:65:${index}::/64` };
}

/** Routes to every other node's subnets. */
export async function route(docker: Docker, nodes: readonly NodeAddresses[]): Promise<void> {
  for (const node of nodes) {
    const lines = nodes
      .filter((each) => each.name !== node.name)
      .flatMap((peer) => [
        `ip route replace ${routedSubnets(peer.index).v4} via ${peer.v4}`,
        `ip route replace ${routedSubnets(peer.index).v6} via ${peer.v6}`,
      ]);
    await docker.shell(node.name, lines.join('\n'));
  }
}

/** What pods' interfaces are made by. */
export type Variant = 'stretched' | 'routed';

/** The network configuration of the cluster's own network, whose pools are the defaults of their network. */
export function conflist(variant: Variant): Readonly<Record<string, unknown>> {
  const plugin =
    variant === 'stretched'
      ? { type: 'bridge', bridge: STRETCHED.primary.bridge, hairpinMode: true, mtu: STRETCHED_MTU }
      : { type: 'ptp' };
  return {
    cniVersion: '1.1.0',
    name: variant,
    plugins: [{ ...plugin, ipam: { type: 'berth', network: variant } }],
  };
}

/** Copies the main plugins to a node; a published node image has only some of them. */
export async function copyPlugins(docker: Docker, node: string, plugins: string): Promise<void> {
  for (const name of ['bridge', 'macvlan', 'ptp']) {
    await docker.run(['cp', join(plugins, name), `${node}:/opt/cni/bin/${name}`]);
  }
}

/** On a node: what Multus makes of the network's configuration for the runtime, which takes the first by name. */
export const MULTUS_CONFIGURATION = '/etc/cni/net.d/00-multus.conflist';

/** Writes the cluster's network configuration on a node: whole, as the runtime reads it when it changes. */
export async function configureCni(docker: Docker, node: string, variant: Variant): Promise<void> {
  const place = '/etc/cni/net.d/10-berth.conflist';
  const text = JSON.stringify(conflist(variant), null, 2);
  await docker.shell(node, `cat >${place}.new && mv ${place}.new ${place}`, text);
}
