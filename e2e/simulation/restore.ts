/** An API server that is not what it was: restored from an older snapshot, or a replica that is behind. */
import { ipReservations } from '../../crds/resources.ts';
import { MIRROR_ANNOTATION, pods } from '../../kube/core.ts';
import { MemoryApi } from '../../kube/memory.ts';
import { berthResources } from '../../plugin/agent/testing/world.ts';
import type { Cluster } from './cluster.ts';
import { NAMESPACE } from './oracle.ts';
import type { Action } from './schedule.ts';

/** What a person adds to versions who follows the book (etcd: 1,000,000,000). */
const BUMP = 1_000_000_000;

/** Goes back to the state of a while ago, pods and nodes included. */
export async function restoreApi(
  cluster: Cluster,
  { agoMs, isBumped, watches }: Extract<Action, { do: 'restore' }>,
): Promise<void> {
  const { server, oracle, time, setup } = cluster;
  const snapshot = cluster.snapshotOf(time.monotonic() - agoMs);
  if (snapshot === undefined) return;
  const nodesBefore = setup.nodes.filter((name) => cluster.hasNode(name));
  const poolsBefore = setup.pools.filter((name) => cluster.hasPool(name));
  cluster.forgetSnapshots();
  for (const link of cluster.links) link.replica = undefined;
  oracle.restored.begin();
  if (watches === 'break') {
    for (const link of cluster.links) {
      if (link.watches.size > 0) oracle.restored.noticed(link.name, time.monotonic());
      link.breakWatches();
    }
  }
  server.memory.restore(snapshot, { bump: isBumped ? BUMP : 0, watches });
  cluster.note(`the API server is back at version ${snapshot.version}`);
  oracle.apiRestored();
  // Kubelets register their nodes and look after their mirror pods; pools come from somebody's files.
  for (const name of nodesBefore) await cluster.createNode(name);
  for (const name of poolsBefore) await cluster.createPool(name);
  for (const { metadata } of server.memory.objects(pods)) {
    const hash = metadata.annotations?.[MIRROR_ANNOTATION];
    const { name = '' } = metadata;
    if (hash !== undefined && cluster.manifests.get(name)?.uid !== hash) {
      await server.memory.delete(pods, { namespace: NAMESPACE, name });
    }
  }
  cluster.podsChanged();
  for (const manifest of cluster.manifests.values()) await cluster.createMirror(manifest);
  cluster.note(`reservations: ${server.memory.objects(ipReservations).length}`);
}

/** What the place lists and watches comes from a replica that is behind, until it is gone. */
export function fallBehind(
  cluster: Cluster,
  { at, backMs }: Extract<Action, { do: 'stale' }>,
): (() => void) | undefined {
  const link = cluster.link(at);
  const snapshot = cluster.snapshotOf(cluster.time.monotonic() - backMs);
  if (link === undefined || snapshot === undefined) return undefined;
  const replica = new MemoryApi({ clock: cluster.time, resources: berthResources });
  replica.restore(snapshot);
  link.replica = replica;
  link.breakWatches();
  return () => {
    if (link.replica !== replica) return;
    link.replica = undefined;
    link.breakWatches();
  };
}
