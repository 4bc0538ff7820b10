/** What the agent keeps of the objects that it watches: the rest would only cost memory. */
import type { KubeObject, ObjectMeta } from '../../kube/api.ts';
import { MIRROR_ANNOTATION, type Node, type Pod } from '../../kube/core.ts';

const OUR_ANNOTATIONS = 'ipam.berth.dev/';

function annotationsOf(metadata: ObjectMeta): Record<string, string> {
  const kept = Object.entries(metadata.annotations ?? {}).filter(
    ([key]) => key.startsWith(OUR_ANNOTATIONS) || key === MIRROR_ANNOTATION,
  );
  return Object.fromEntries(kept);
}

function identity(metadata: ObjectMeta): ObjectMeta {
  const { namespace, name, uid, resourceVersion, labels } = metadata;
  return {
    ...(namespace !== undefined && { namespace }),
    ...(name !== undefined && { name }),
    ...(uid !== undefined && { uid }),
    ...(resourceVersion !== undefined && { resourceVersion }),
    ...(labels !== undefined && { labels }),
  };
}

export function trimPod(pod: Pod): Pod {
  const { ownerReferences, deletionTimestamp } = pod.metadata;
  const phase = pod.status?.phase;
  return {
    metadata: {
      ...identity(pod.metadata),
      // An empty map says that there are others.
      ...(pod.metadata.annotations !== undefined && { annotations: annotationsOf(pod.metadata) }),
      ...(deletionTimestamp !== undefined && { deletionTimestamp }),
      ...(ownerReferences !== undefined && { ownerReferences }),
    },
    ...(pod.spec?.nodeName !== undefined && { spec: { nodeName: pod.spec.nodeName } }),
    ...(phase !== undefined && { status: { phase } }),
  };
}

export function trimNamespace(namespace: KubeObject): KubeObject {
  return { metadata: { ...identity(namespace.metadata), annotations: annotationsOf(namespace.metadata) } };
}

export function trimNode(node: Node): Node {
  return { metadata: identity(node.metadata) };
}
