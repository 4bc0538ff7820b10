/** The kind that Multus brings, for a control plane without Multus. */
import type { ControlPlane } from './controlplane.ts';

/** As much of the CustomResourceDefinition of the Network Plumbing WG as documents with the kind need. */
const networkAttachmentDefinitions = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'network-attachment-definitions.k8s.cni.cncf.io' },
  spec: {
    group: 'k8s.cni.cncf.io',
    scope: 'Namespaced',
    names: {
      plural: 'network-attachment-definitions',
      singular: 'network-attachment-definition',
      kind: 'NetworkAttachmentDefinition',
      shortNames: ['net-attach-def'],
    },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: 'object',
            properties: { spec: { type: 'object', properties: { config: { type: 'string' } } } },
          },
        },
      },
    ],
  },
};

/** Applies it and waits until it is served. */
export async function applyNetworkAttachmentDefinitions(controlPlane: ControlPlane): Promise<void> {
  const { name } = networkAttachmentDefinitions.metadata;
  await controlPlane.kubectl(['apply', '-f', '-'], JSON.stringify(networkAttachmentDefinitions));
  await controlPlane.kubectl(['wait', '--for=condition=Established', '--timeout=60s', 'crd', name]);
}
