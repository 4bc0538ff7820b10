/** Puts mixes into a cluster, sends their ADDs, and looks at what is reserved. */
import { ipPools, ipReservations } from '../../crds/resources.ts';
import type { IPReservationSpec } from '../../crds/types.ts';
import { parseAddress } from '../../ipam/address.ts';
import { reservationName } from '../../ipam/name.ts';
import { namespaces } from '../../kube/core.ts';
import { type Cluster, createTestPod } from '../harness/cluster.ts';
import { type CniCall, codeOf } from '../harness/cni.ts';
import { inParallel } from '../harness/parallel.ts';
import { waitFor } from '../harness/wait.ts';
import {
  attachmentOf,
  COMMON_POOLS,
  type Mix,
  type MixAdd,
  type MixAnswer,
  type MixPod,
  type MixPool,
  type MixReservation,
} from './mix.ts';
import { isOfUse } from './model.ts';

const WIDTH = 16;

function ownerOf({ attachment, state, holder }: MixReservation): IPReservationSpec['owner'] | undefined {
  if (attachment === undefined)
    return state === 'Held' && holder === undefined ? { kind: 'External' } : undefined;
  const [containerID = '', ifname = ''] = attachment.split('/');
  const pod = { namespace: 'elsewhere', name: 'earlier', uid: `uid-${containerID}` };
  return { kind: 'Pod', ...pod, node: 'node-elsewhere', containerID, ifname };
}

/** The stage of some mixes. */
export class Stage {
  readonly #cluster: Cluster;
  readonly #uids = new Map<MixPod, string>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** Creates everything and waits until every agent knows it. */
  async set(mixes: readonly Mix[]): Promise<void> {
    const { api } = this.#cluster;
    const pools = [...COMMON_POOLS, ...mixes.flatMap((mix) => mix.pools)];
    await inParallel(WIDTH, pools, async ({ name, spec }) => {
      await api.create(ipPools, {
        apiVersion: 'ipam.berth.dev/v1alpha1',
        kind: 'IPPool',
        metadata: { name },
        spec,
      });
    });
    const all = mixes.flatMap((mix) => mix.namespaces);
    await inParallel(WIDTH, all, async ({ name, labels, annotations }) => {
      await api.create(namespaces, {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name, labels, annotations },
      });
    });
    await inParallel(
      WIDTH,
      mixes.flatMap((mix) => mix.pods),
      async (pod) => {
        const { node, name, namespace, labels, annotations } = pod;
        const made = await createTestPod(api, node, name, { namespace, labels, annotations });
        this.#uids.set(pod, made.uid);
      },
    );
    await inParallel(
      WIDTH,
      mixes.flatMap((mix) => mix.reservations),
      (row) => this.#reserve(row),
    );
    await this.#agentsKnow(pools, (pool, entry) => entry.ready === (isOfUse(pool) ? 'True' : 'False'));
    const going = pools.filter((pool) => pool.deleting);
    await inParallel(WIDTH, going, ({ name }) => api.delete(ipPools, { name }));
    await this.#agentsKnow(going, (_pool, entry) => entry.deleting);
    const held = mixes.flatMap((mix) => mix.reservations).filter((row) => row.holder !== undefined);
    await this.#agentsKnow(pools, (pool, entry) =>
      held
        .filter((row) => row.pool === pool.name)
        .every((row) => entry.heldFor[row.holder ?? '']?.includes(row.address) === true),
    );
  }

  async #reserve(row: MixReservation): Promise<void> {
    const { network, address, pool, state, holder } = row;
    const owner = ownerOf(row);
    await this.#cluster.api.create(ipReservations, {
      apiVersion: 'ipam.berth.dev/v1alpha1',
      kind: 'IPReservation',
      metadata: { name: reservationName(network, parseAddress(address)) },
      spec: {
        network,
        address,
        pool,
        state,
        ...(holder !== undefined && { holder }),
        ...(owner !== undefined && { owner }),
        ...(state !== 'Held' && { since: new Date().toISOString().replace(/\.\d+Z$/, 'Z') }),
      },
    });
  }

  async #agentsKnow(
    pools: readonly MixPool[],
    condition: (pool: MixPool, entry: ShownPool) => boolean,
  ): Promise<void> {
    for (const agent of this.#cluster.agents.values()) {
      let missing: string[] = [];
      await waitFor(
        `the agent on ${agent.node} knows the pools`,
        async () => {
          // The agent's own format, of /v1/pools.
          const shown = JSON.parse(await agent.show('/v1/pools')) as ShownPool[];
          const entries = new Map(shown.map((entry) => [entry.name, entry]));
          missing = pools
            .filter((pool) => {
              const entry = entries.get(pool.name);
              return entry === undefined || !condition(pool, entry);
            })
            .map((pool) => `${JSON.stringify(pool)} ${JSON.stringify(entries.get(pool.name))}`);
          return missing.length === 0;
        },
        { timeoutMs: 60_000, everyMs: 200, onTimeout: () => missing.slice(0, 3).join('\n') },
      );
    }
  }

  /** Sends one ADD to the agent of its node. */
  async add(add: MixAdd): Promise<MixAnswer> {
    const agent = this.#cluster.agent(add.node);
    const outcome = await agent.call(this.#call(add, agent.ipam()));
    return { code: codeOf(outcome), stdout: outcome.stdout.trim(), output: outcome.output ?? {} };
  }

  #call(add: MixAdd, ipam: Record<string, unknown>): CniCall {
    const { pod, network, pools, argPools, argIps, runtimeIps, cniArgsIp } = add;
    const uid = pod === undefined ? undefined : this.#uids.get(pod);
    const cni = {
      ...(argPools !== undefined && { pools: argPools }),
      ...(argIps !== undefined && { ips: argIps }),
    };
    return {
      command: 'ADD',
      containerID: add.container,
      ifname: add.ifname,
      args: {
        IgnoreUnknown: '1',
        ...(pod !== undefined && { K8S_POD_NAMESPACE: pod.namespace, K8S_POD_NAME: pod.name }),
        ...(pod !== undefined &&
          add.uid !== 'absent' && { K8S_POD_UID: add.uid === 'right' ? (uid ?? '') : 'other' }),
        ...(cniArgsIp !== undefined && { IP: cniArgsIp.join(',') }),
      },
      config: {
        cniVersion: add.cniVersion,
        name: add.cniNetwork,
        type: 'macvlan',
        ipam: { ...ipam, ...(network !== undefined && { network }), ...(pools !== undefined && { pools }) },
        ...(Object.keys(cni).length > 0 && { args: { cni } }),
        ...(runtimeIps !== undefined && { runtimeConfig: { ips: runtimeIps } }),
      },
    };
  }

  /** The reservations of the mix's networks, and those that its ADDs have in the common pools. */
  async reservations(mix: Mix): Promise<MixReservation[]> {
    const own = new Set(mix.adds.map(attachmentOf));
    const networks = new Set([...mix.pools, ...COMMON_POOLS].map(({ spec }) => spec.network));
    const lists = [...networks].map((network) =>
      this.#cluster.reservations({ fieldSelector: `spec.network=${network}` }),
    );
    const rows = (await Promise.all(lists))
      .flatMap((list) => [...list.values()])
      .map(({ spec }) => rowOf(spec));
    return rows.filter((row) => row.network.startsWith(`${mix.id}-`) || own.has(row.attachment ?? ''));
  }
}

function rowOf({ network, address, pool, state, holder, owner }: IPReservationSpec): MixReservation {
  const { containerID, ifname } = owner ?? {};
  const attachment = containerID === undefined ? undefined : `${containerID}/${ifname}`;
  return { network, address, pool, state, holder, attachment };
}

/** A pool as an agent shows it. */
interface ShownPool {
  readonly name: string;
  readonly ready: string;
  readonly deleting: boolean;
  readonly heldFor: Readonly<Record<string, readonly string[]>>;
}
