/** The kind that Multus brings, for a control plane without Multus. */
import { join } from 'node:path';
import type { ControlPlane } from './controlplane.ts';

/** Applies the CustomResourceDefinition of NetworkAttachmentDefinitions and waits until it is served. */
export async function applyNetworkAttachmentDefinitions(controlPlane: ControlPlane): Promise<void> {
  const file = join(import.meta.dirname, 'nad.yaml');
  await controlPlane.kubectl(['apply', '-f', file]);
  await controlPlane.kubectl(['wait', '--for=condition=Established', '--timeout=60s', '-f', file]);
}
