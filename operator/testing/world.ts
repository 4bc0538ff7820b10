/** An API in memory and caches that follow it only when told to: staleness is the tests' choice. */
import { ipPools, ipReservations } from '../../crds/resources.ts';
import type { IPPool, IPReservation } from '../../crds/types.ts';
import type { KubeObject, Resource } from '../../kube/api.ts';
import { keyOf, type Node, nodes, type Pod, pods } from '../../kube/core.ts';
import { MemoryApi } from '../../kube/memory.ts';
import { Store } from '../../kube/store.ts';
import { FakeClock } from '../../kube/testing/fakeclock.ts';
import { POD_BY_UID, trimNode, trimPod, trimReservation, uidsOf } from '../caches.ts';

export class World {
  readonly clock: FakeClock = new FakeClock();
  readonly api: MemoryApi = new MemoryApi({
    clock: this.clock,
    resources: [
      { resource: ipPools, statusSubresource: true },
      { resource: ipReservations, selectableFields: ['spec.pool'] },
    ],
  });
  readonly pools: Store<IPPool> = new Store<IPPool>();
  readonly reservations: Store<IPReservation> = new Store<IPReservation>();
  readonly pods: Store<Pod> = new Store<Pod>({ [POD_BY_UID]: uidsOf });
  readonly nodes: Store<Node> = new Store<Node>();

  /** What reconcilers are made of. */
  parts(): Pick<World, 'clock' | 'api' | 'pools' | 'reservations' | 'pods' | 'nodes'> {
    const { clock, api, pools, reservations, pods, nodes } = this;
    return { clock, api, pools, reservations, pods, nodes };
  }

  /** Brings every cache up to date. */
  sync(): void {
    follow(this.api, ipPools, this.pools, (pool) => pool);
    follow(this.api, ipReservations, this.reservations, trimReservation);
    follow(this.api, pods, this.pods, trimPod);
    follow(this.api, nodes, this.nodes, trimNode);
  }

  /** Creates an object and its status. */
  async create<T extends KubeObject>(resource: Resource<T>, object: T): Promise<T> {
    const created = await this.api.create(resource, object);
    const status: unknown = Reflect.get(object, 'status');
    if (status === undefined) {
      return created;
    }
    return this.api.update(resource, { ...created, status }, { subresource: 'status' });
  }

  /** The live reservation, undefined if there is none. */
  reservation(name: string): IPReservation | undefined {
    return this.api.objects(ipReservations).find((each) => each.metadata.name === name);
  }

  /** The live pool, undefined if there is none. */
  pool(name: string): IPPool | undefined {
    return this.api.objects(ipPools).find((each) => each.metadata.name === name);
  }
}

function follow<T extends KubeObject>(
  api: MemoryApi,
  resource: Resource<T>,
  store: Store<T>,
  trim: (object: T) => T,
): void {
  const live = api.objects(resource);
  const keys = new Set(live.map(keyOf));
  for (const key of store.keys()) {
    if (!keys.has(key)) store.delete(key);
  }
  for (const object of live) store.set(trim(object));
}
